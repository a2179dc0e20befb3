"""What `tslc build` says about wrong input: each mistake once, with its place, no traceback."""

from __future__ import annotations

import json
import os

import pytest

from tslc.adapters.archive_file import open_archive


def mistakes(done):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return [
        line for line in done.stderr.splitlines() if line.startswith("  ") and "fix:" not in line
    ]


def use(workshop, old, new):
    spec = (workshop.folder / "spec/archive.yaml").read_text()
    assert old in spec
    workshop.write("archive.yaml", spec.replace(old, new))


def test_weights_whose_variable_is_not_set_are_one_mistake(workshop):
    use(workshop, "weights: weights", "weights: ${NO_SUCH_VARIABLE}")
    (only,) = mistakes(workshop.build())
    assert "the environment has no NO_SUCH_VARIABLE" in only


def test_five_mistakes_are_five(workshop):
    workshop.write(
        "archive.yaml",
        "model: tiny/er\nhandlr: vllm\nhandler: vllm\nmodel_config: config.yaml\n"
        "weights: ${NO_SUCH_VARIABLE}\ngolden: golden.jsonl\nextra_files: [missing.txt]\n",
    )
    workshop.write("golden.jsonl", "")
    assert len(mistakes(workshop.build())) == 5
    assert "has 5 mistakes" in workshop.build().stderr


def test_one_wrong_option_does_not_hide_what_is_wrong_with_the_others(workshop):
    options = ("asyncCommunication=false", "a=!!bool x", "minWorkers=x")
    done = workshop.build(*(part for said in options for part in ("--set", said)))
    found = "\n".join(mistakes(done))
    assert "--set a=!!bool x" in found
    assert "--set asyncCommunication: " in found
    assert "--set minWorkers: " in found


def test_changing_a_setting_hides_no_key_written_twice_and_keeps_the_files_lines(workshop):
    config = "# a comment\n" + (workshop.folder / "spec/config.yaml").read_text()
    workshop.write("config.yaml", config + "minWorkers: 1\nmaxWorkrs: 1\n")
    found = "\n".join(mistakes(workshop.build("--set", "handler.system_prompt=Hi.")))
    assert "config.yaml:14 minWorkers: minWorkers is already on line 2" in found
    assert "config.yaml:15 maxWorkrs" in found


def test_a_changed_setting_keeps_the_allowance_of_its_line(workshop):
    config = (workshop.folder / "spec/config.yaml").read_text()
    allowed = config.replace("dtype: bfloat16", "enable_lora: 5 # tslc: allow wrong-type")
    workshop.write("config.yaml", allowed)
    workshop.built()
    workshop.built("--force", "--set", "handler.vllm_engine_config.enable_lora=6")


@pytest.mark.parametrize(
    "said", ["a=!!bool x", 'a="\\UFFFFFFFF"', "a=!!timestamp x", 'a=!!int ""', "a={", "a=1=2: ["]
)
def test_an_option_that_is_no_yaml_is_bad_input(workshop, said):
    assert any(f"--set {said}" in line for line in mistakes(workshop.build("--set", said)))


@pytest.mark.parametrize("value", ["!!bool x", '"\\UFFFFFFFF"', "!!timestamp x", '!!int ""'])
def test_files_that_are_no_yaml_are_bad_input(workshop, value):
    config = (workshop.folder / "spec/config.yaml").read_text()
    workshop.write("config.yaml", config + f"jobQueueSize: {value}\n")
    assert "config.yaml" in "".join(mistakes(workshop.build()))
    use(workshop, "golden: golden.jsonl", f"golden: {value}")
    assert mistakes(workshop.build())


LONG = "long" * 100


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("config.yaml", f"{LONG}.yaml"),
        ("golden.jsonl", f"{LONG}/golden.jsonl"),
        ("notes.txt", LONG),
        ("needs.txt", LONG),
        ("weights: weights", f"weights: {LONG}"),
        ("handler: vllm", f"handler: {LONG}.py"),
    ],
)
def test_names_that_no_system_takes_are_mistakes(workshop, old, new):
    use(workshop, old, new)
    assert any("File name too long" in line for line in mistakes(workshop.build()))


@pytest.mark.parametrize("arguments", [("-o", LONG), ("--model-config", LONG)])
def test_options_that_no_system_takes_are_bad_input(workshop, arguments):
    done = workshop.build(*arguments)
    assert (done.returncode, "File name too long" in done.stderr) == (2, True)
    assert workshop.build(spec=LONG).returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read_are_bad_input(workshop):
    for name in ("kb", "weights", "."):
        (workshop.folder / "spec" / name).chmod(0)
        try:
            assert "Permission denied" in workshop.build().stderr
        finally:
            (workshop.folder / "spec" / name).chmod(0o755)


def test_weights_links_that_lead_nowhere_or_to_folders_are_mistakes(workshop):
    (workshop.weights / "x.safetensors").symlink_to("nowhere")
    assert "No such file" in mistakes(workshop.build())[0]
    (workshop.weights / "x.safetensors").unlink()
    (workshop.weights / "more").symlink_to("../kb")
    assert "more is a link to a folder" in mistakes(workshop.build())[0]


def test_a_weights_file_that_no_manifest_can_name_is_a_mistake_before_anything_is_hashed(workshop):
    (workshop.weights / "a\\b.txt").write_text("x")
    (only,) = mistakes(workshop.build("--dry-run"))
    assert "not a relative path" in only
    assert "rename it, or move it out of the folder" in workshop.build("--dry-run").stderr


def test_a_file_where_the_weights_links_go_is_bad_input_and_nothing_is_published(workshop):
    workshop.dist.mkdir()
    (workshop.dist / "weights").write_text("a file")
    done = workshop.build()
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "weights" in done.stderr
    assert [path.name for path in workshop.dist.iterdir()] == ["weights"]


def test_a_link_may_not_lead_out_of_the_specs_folder_but_a_path_may(workshop, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (workshop.folder / "spec/kb/inside.txt").symlink_to("../notes.txt")
    workshop.built()
    (workshop.folder / "spec/kb/out.txt").symlink_to(secret)
    (only,) = mistakes(workshop.build())
    assert "out.txt is a link that leaves" in only
    (workshop.folder / "spec/kb/out.txt").unlink()
    use(workshop, "kb]", "../../secret.txt]")
    assert open_archive(workshop.built("--force")).read("secret.txt") == b"secret"


def test_an_extra_file_may_not_be_called_like_a_module_of_the_worker(workshop):
    workshop.write("typing_extensions.py", "")
    workshop.write("vllm/__init__.py", "")
    workshop.write("my_code/vllm.py", "")
    use(workshop, "kb]", "typing_extensions.py, vllm, my_code]")
    found = mistakes(workshop.build())
    assert len(found) == 2
    assert "typing_extensions.py: the worker has a module" in found[0]


def test_without_a_home_there_is_no_cache_of_digests(workshop, tmp_path):
    from tslc.adapters.digest_cache import DigestCache, cache_folder

    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "tslc" / "digests"
    file = workshop.weights / "model.safetensors"
    os.utime(file, (1, 1))
    nowhere = DigestCache(None)
    nowhere.put(file, file.stat(), "0" * 64)
    assert nowhere.get(file, file.stat()) is None


def test_messages_name_files_the_short_way(workshop):
    workshop.write("../shared/config.yaml", "minWorkers: x\n")
    use(workshop, "model_config: config.yaml", "model_config: ../shared/config.yaml")
    assert all("spec/.." not in line for line in mistakes(workshop.build()))


def test_the_plan_names_weights_of_the_hub_as_the_spec_does(workshop):
    use(workshop, "weights: weights", "weights: hf:org/name@main")
    plan = json.loads(workshop.build("--dry-run", "--json").stdout)
    assert plan["weights"] == "hf:org/name@main"
