"""Laws of archives: digests, manifests, layouts, the judge."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import tempfile
import zlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tslc.adapters import archive_layout as layout
from tslc.adapters.archive_readers import read_entries
from tslc.adapters.hashing import hash_files
from tslc.domain.config_document import read_document, with_settings
from tslc.domain.golden import Expectation, GoldenPrompt, judge, parse_golden
from tslc.domain.manifest import FileEntry, Manifest, Weights, path_problem
from tslc.errors import BadFile

part = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda text: text not in (".", ".."))
path = st.lists(part, min_size=1, max_size=3).map("/".join).filter(lambda p: not path_problem(p))
entry = st.builds(
    FileEntry,
    st.binary(min_size=1).map(lambda b: hashlib.sha256(b).hexdigest()),
    st.integers(0, 1 << 50),
)


def no_file_is_a_folder(paths: dict[str, object]) -> bool:
    return not any(other.startswith(f"{p}/") for p in paths for other in paths)


files = st.dictionaries(path, entry, min_size=1, max_size=6).filter(no_file_is_a_folder)
name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda text: ".." not in text
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    fixed = {"h.py": draw(entry), "golden.jsonl": draw(entry)}
    paths = {f"x/{p}": e for p, e in draw(files).items()}
    weights = draw(st.none() | st.builds(Weights, files))
    every = {**paths, **fixed}
    return Manifest(draw(name), draw(name), "h.py", every, weights, "golden.jsonl")


@given(manifests())
def test_parsing_what_was_rendered_gives_the_manifest_back(manifest):
    assert Manifest.parse(manifest.render()) == manifest


@given(manifests(), st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order_of_files(manifest, rng):
    shuffled = list(manifest.files.items())
    rng.shuffle(shuffled)
    again = Manifest(
        *(manifest.model, manifest.version, manifest.handler),
        *(dict(shuffled), manifest.weights, manifest.golden),
    )
    assert again.digest == manifest.digest


@given(manifests(), st.binary(max_size=200))
def test_what_is_no_manifest_is_bad_input_and_nothing_else(manifest, noise):
    content = bytearray(manifest.render())
    position = len(content) // 2
    content[position : position + len(noise)] = noise
    with contextlib.suppress(BadFile):
        assert Manifest.parse(bytes(content)).render() == bytes(content)


contents = st.dictionaries(path, st.binary(max_size=2000), min_size=1, max_size=5).filter(
    no_file_is_a_folder
)


def written(folder: Path, parts: dict[str, bytes], order: random.Random) -> dict[str, Path]:
    """The parts as files, made in some order at some time; names of disk don't matter."""
    items = list(parts.items())
    order.shuffle(items)
    paths = {}
    for number, (key, content) in enumerate(items):
        paths[key] = folder / str(number)
        paths[key].write_bytes(content)
        seconds = order.randrange(2_000_000_000)
        os.utime(paths[key], (seconds, seconds))
        paths[key].chmod(order.choice([0o600, 0o755]))
    return paths


def packed(parts: dict[str, bytes], order: random.Random) -> tuple[bytes, bytes, str]:
    with tempfile.TemporaryDirectory() as scratch:
        paths = written(Path(scratch), parts, order)
        mar, tgz = Path(scratch, "m.mar"), Path(scratch, "m.tar.gz")
        layout.write_zip(paths, mar)
        layout.write_tgz(paths, tgz, "m")
        for archive in (mar, tgz):
            read = {e.path: b"".join(e.chunks) for e in read_entries(archive)}
            assert read == parts
        return mar.read_bytes(), tgz.read_bytes(), Weights(hash_files(paths)).digest


@settings(deadline=None, max_examples=60)
@given(contents, st.integers(0, 10**6), st.integers(0, 10**6))
def test_archives_do_not_depend_on_the_order_times_and_modes_of_files(parts, one, other):
    assert packed(parts, random.Random(one)) == packed(parts, random.Random(other))


@settings(deadline=None, max_examples=60)
@given(contents, st.data())
def test_any_changed_byte_changes_every_digest(parts, data):
    key = data.draw(st.sampled_from(sorted(parts)))
    position = data.draw(st.integers(0, len(parts[key])))
    changed = bytearray(parts[key] + b"\0")
    changed[position] ^= data.draw(st.integers(1, 255))
    if position < len(parts[key]):
        changed.pop()
    before, after = (packed(p, random.Random(0)) for p in (parts, {**parts, key: bytes(changed)}))
    assert all(a != b for a, b in zip(before, after, strict=True))


@given(st.lists(st.binary(max_size=70_000), max_size=4))
def test_stored_gzip_unpacks_to_what_was_written(chunks):
    stream = io.BytesIO()
    sink = layout.StoredGzip(stream)
    for chunk in chunks:
        sink.write(chunk)
    sink.finish()
    assert zlib.decompress(stream.getvalue(), wbits=31) == b"".join(chunks)
    whole = io.BytesIO()
    at_once = layout.StoredGzip(whole)
    at_once.write(b"".join(chunks))
    at_once.finish()
    assert whole.getvalue() == stream.getvalue()


texts = st.text(max_size=30)
expectations = st.builds(
    Expectation,
    contains=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    not_contains=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    exact=st.none() | texts,
    refusal=st.none() | st.booleans(),
    json_schema=st.none() | st.booleans(),
    status=st.sampled_from([200, 400]),
    within_seconds=st.none() | st.floats(0.1, 100),
)
prompts = st.builds(
    GoldenPrompt, name=texts, path=st.sampled_from(["/v1/chat/completions", "/v1/x"]),
    request=st.just({}), expect=expectations,
)  # fmt: skip


@given(prompts, st.integers(100, 599), st.binary(max_size=60), st.floats())
def test_the_judge_never_raises_and_no_unreadable_answer_meets_a_text(
    prompt, status, body, seconds
):
    reasons = judge(prompt, status, body, seconds)
    if status != prompt.expect.status or prompt.expect.of_text:
        assert reasons


@given(prompts, texts)
def test_asking_for_more_never_makes_an_answer_pass(prompt, text):
    body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    expect = prompt.expect
    fewer = GoldenPrompt(
        "p", prompt.path, {}, Expectation(contains=expect.contains, status=expect.status)
    )
    if not judge(prompt, 200, body, 0.0):
        assert not judge(fewer, 200, body, 0.0)


@given(st.text(min_size=1).filter(str.strip))
def test_an_answer_contains_and_is_itself(text):
    body = json.dumps({"choices": [{"text": text}]}).encode()
    expect = Expectation(contains=(text,), exact=text)
    assert judge(GoldenPrompt("p", "/v1/completions", {}, expect), 200, body, 0.0) == ()


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "path", "request", "expect", "contains", "prompt", "regex"])
        | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
).map(json.dumps))  # fmt: skip
def test_any_text_is_golden_prompts_or_bad_input(text):
    try:
        assert parse_golden(text, "golden.jsonl")
    except BadFile as error:
        assert error.mistakes


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_setting_is_changed_or_a_mistake(text, said):
    document, mistakes = with_settings(read_document(text), [said])
    assert bool(mistakes) != bool(document.changed) or document.problem
    again = read_document(document.text)
    assert document.problem or again.problem or again.root.value == document.root.value
