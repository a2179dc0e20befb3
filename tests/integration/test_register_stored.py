"""`tslc register MODEL VERSION`: straight from a real S3, by the environment's rules."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes import GOOD_PROMPT, Node, TinyArchives
from store_shop import Shop, weights

pytestmark = pytest.mark.integration
WEIGHTS = weights(3)
RULES = "environments: {production: {trusted_keys: [release.pub]}}\n"


@pytest.fixture
def serving(shop: Shop, node: Node) -> Iterator[Shop]:
    """A shop whose commands work on the running node; what is registered goes."""
    yield shop.on(node)
    for one in node.cli.ok("status", "--json").json["versions"]:
        if one["model"].startswith("stored"):
            node.cli.ok("unregister", one["model"], one["version"], "--force")


def build(archives: TinyArchives, version: str = "1.0.0", **more: object) -> Path:
    return archives.build("stored", version, weights=WEIGHTS, environment={"V": version}, **more)


def held(node: Node) -> set[str]:
    """What the node keeps for versions, by name."""
    folders = (node.root / "model_store", node.root / "weights")
    return {path.name for folder in folders for path in folder.iterdir()}


def test_it_is_served_from_the_store_and_its_weights_lie_on_the_disk_once(
    serving: Shop, node: Node, archives: TinyArchives
) -> None:
    foreign = node.root / "model_store" / "foreign.mar"
    with zipfile.ZipFile(foreign, "w") as others:  # it names no weights
        others.writestr("MAR-INF/MANIFEST.json", "{}")
    before = held(node)
    for version in ("1.0.0", "1.1.0"):
        serving.ok("push", build(archives, version))
    planned = serving.ok("register", "stored", "1.0.0", "--dry-run")
    assert planned["plan"]
    assert held(node) == before
    first = serving.ok("register", "stored", "1.0.0")
    assert "unsigned, which dev allows" in first["trust"]
    assert [one["passed"] for one in first["golden_prompts"]] == [True]
    (folder,) = {name for name in held(node) - before if not name.startswith("stored")}
    for name, content in WEIGHTS.items():
        placed = node.root / "weights" / folder / name
        assert placed.read_bytes() == content
        cached = [p for p in (serving.cache / "sha256").iterdir() if p.samefile(placed)]
        assert len(cached) == 1, "a second copy"
    assert serving.ok("register", "stored", "1.0.0")["already_registered"]

    serving.ok("register", "stored", "1.1.0")
    assert {name for name, one in node.versions("stored").items() if one["ready"]} == {
        "1.0.0",
        "1.1.0",
    }
    assert node.cli.ok("chat", "stored@1.1.0", "one two", "--max-tokens", "2").out == "one two \n"
    serving.ok("unregister", "stored", "1.0.0", "--force")
    assert folder in held(node), "1.1.0 needs the weights"
    serving.ok("unregister", "stored", "1.1.0")
    assert held(node) == before
    assert not list(node.root.glob(".scratch.*"))
    foreign.unlink()


def test_the_environments_rules_hold_for_archives_at_hand_as_well(
    serving: Shop, node: Node, archives: TinyArchives
) -> None:
    before = held(node)
    (serving.root / "tslc.yaml").write_text(RULES)
    serving.ok("keygen", "release")
    archive = build(archives)
    serving.ok("push", archive)
    production = ("--environment", "production")
    for source in ((archive,), ("stored", "1.0.0"), ("stored", "1.0.0", "--dist", archive.parent)):
        refused = serving("register", *source, *production)
        assert refused.code == 3, refused
        assert "stored 1.0.0 is not signed, and production takes signed" in refused.err
    serving.ok("push", archive, "--sign", "release.key")
    folder = Path(serving.ok("pull", "stored", "1.0.0", "out", *production)["folder"])
    assert held(node) == before
    at_hand = serving.ok("register", folder / "stored-1.0.0.mar", *production)
    assert "signed by release.pub" in at_hand["trust"]
    serving.ok("unregister", "stored", "1.0.0")
    stored = serving.ok("register", "stored", "1.0.0", *production)
    assert "signed by release.pub" in stored["trust"]


def test_a_version_that_fails_leaves_nothing_on_the_node(
    serving: Shop, node: Node, archives: TinyArchives
) -> None:
    before = held(node)
    wrong = {**GOOD_PROMPT, "expect": {"contains": ["never said"]}}
    serving.ok("push", build(archives, golden=[wrong]))
    failed = serving("register", "stored", "1.0.0")
    assert (failed.code, "never said" in failed.err) == (3, True)
    assert held(node) == before
    assert node.versions("stored") == {}
    assert not list(node.root.glob(".scratch.*"))


def test_what_the_store_does_not_have_is_named_with_the_nearest(
    serving: Shop, archives: TinyArchives
) -> None:
    serving.ok("push", build(archives))
    for words, near in ((("stored", "1.0.1"), "nearest: 1.0.0"), (("stord", "1.0.0"), "stored")):
        failed = serving("register", *words)
        assert failed.code == 2
        assert near in failed.err


def test_an_archive_that_others_built_is_refused_with_the_way_to_go(
    serving: Shop, archives: TinyArchives
) -> None:
    serving.ok("push", build(archives), "--model", "stored-foreign", "--version", "1")
    refused = serving("register", "stored-foreign", "1")
    assert refused.code == 3
    assert "tslc pull stored-foreign 1" in refused.err
