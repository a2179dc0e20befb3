"""The rendered pipeline: what render writes, and what each of its roles may do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import parliament
import pytest
import yaml
from click.testing import CliRunner

from tslc.adapters import packaged_pipeline
from tslc.cli.pipeline import command
from tslc.domain.pipeline.action import ACTION_VERSION, KEYS, PROVIDER, QUERYABLE
from tslc.domain.pipeline.template import render
from tslc.domain.settings import resolve
from tslc.errors import BadFile, BadInput

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "codepipeline"
EXAMPLE = FOLDER / "tslc.yaml"
BUCKET = "arn:aws:s3:::EXAMPLE-BUCKET"
WITHIN = {
    "${StoreBucket}": "EXAMPLE-BUCKET",
    "${StorePrefix}": "EXAMPLE-PREFIX/",
    "${AWS::Partition}": "aws",
    "${AWS::Region}": "eu-central-1",
    "${AWS::AccountId}": "111122223333",
    "${PipelineName}": "support-bot-release",
    "${Artifacts.Arn}": "arn:aws:s3:::artifacts",
    "${StagingEnvironment}": "staging",
    "${ProductionEnvironment}": "production",
}
KEY = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-00000000000"
REFERENCES = {
    "StoreKeyArn": f"{KEY}1",
    "SigningKeyArn": f"{KEY}2",
    "AWS::AccountId": "111122223333",
    "AWS::NoValue": None,
    "ConnectionArn": "arn:aws:codeconnections:eu-central-1:111122223333:connection/1",
    "ApiKeySecretArn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:s-AbCdEf",
    "Topic": "arn:aws:sns:eu-central-1:111122223333:topic",
}
GOT = {
    "Key.Arn": f"{KEY}3",
    "Artifacts.Arn": "arn:aws:s3:::artifacts",
}


class _Loader(yaml.SafeLoader):
    """CloudFormation's short forms, resolved as for the example."""


def _sub(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    for name, value in WITHIN.items():
        text = text.replace(name, value)
    return text


def _get(loader: _Loader, node: yaml.ScalarNode) -> str:
    name = str(loader.construct_scalar(node))
    thing = name.removesuffix(".Arn")
    if thing.endswith("Logs"):
        return f"arn:aws:logs:eu-central-1:111122223333:log-group:/tslc/{thing}:*"
    if thing.endswith("Project"):
        return f"arn:aws:codebuild:eu-central-1:111122223333:project/{thing}"
    return GOT.get(name, name)


def _if(loader: _Loader, node: yaml.SequenceNode) -> Any:
    return loader.construct_sequence(node, deep=True)[1]


_Loader.add_constructor("!Sub", _sub)
_Loader.add_constructor("!GetAtt", _get)
_Loader.add_constructor("!If", _if)
_Loader.add_constructor(
    "!Ref", lambda loader, node: REFERENCES.get(str(node.value), str(node.value))
)
for other in ("!Not", "!Equals", "!Select", "!Split"):
    _Loader.add_constructor(other, lambda loader, node: loader.construct_sequence(node, deep=True))


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    document = yaml.load((FOLDER / "template.yaml").read_text(), _Loader)
    return dict(document["Resources"])


def statements(resources: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """All statements of a role or a policy."""
    properties = resources[name]["Properties"]
    documents = [one["PolicyDocument"] for one in properties.get("Policies", [properties])]
    return [one for document in documents for one in document["Statement"]]


def of_store(role: str, environment: str | None) -> list[dict[str, Any]]:
    """The statements of deploy/iam, writing to one environment alone."""
    text = (ROOT / "deploy" / "iam" / f"{role}.json").read_text()
    found = json.loads(text)["Statement"]
    for one in found:
        if environment and one["Effect"] == "Allow" and "s3:PutObject" in one["Action"]:
            one["Resource"] = [
                r.replace("environments/*/", f"environments/{environment}/")
                for r in one["Resource"]
            ]
    return list(found)


def test_the_example_is_what_render_writes(tmp_path: Path) -> None:
    words = ["render", "--config", str(EXAMPLE), "--out", str(tmp_path)]
    done = CliRunner().invoke(command, words, env={"TSLC_STORE_URL": ""})
    assert done.exit_code == 0, done.output
    written = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    there = {str(one.relative_to(FOLDER)) for one in FOLDER.rglob("*") if one.is_file()}
    assert written == there - {"tslc.yaml"}
    for name in written:
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), name


def test_nothing_is_left_to_be_filled_in_and_the_template_fits_into_a_request() -> None:
    text = (FOLDER / "template.yaml").read_text()
    assert "@@" not in text
    # `aws cloudformation create-stack --template-body`; larger ones need a bucket.
    assert len(text.encode()) <= 51_200


def test_without_a_section_or_with_the_local_store_nothing_is_rendered() -> None:
    home = {"HOME": "/h"}
    with pytest.raises(BadInput, match="no section pipeline"):
        render("", {}, resolve("", EXAMPLE, home, {}).settings)
    text = EXAMPLE.read_text()
    local = resolve(text, EXAMPLE, home, {"store.url": "local"}).settings
    with pytest.raises(BadInput, match="local store"):
        render(packaged_pipeline.template(), packaged_pipeline.buildspecs(), local)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  branch: main", "  brnch: main", "unknown key 'brnch'"),
        ("  model: support-bot\n", "", "pipeline.model: missing"),
        ("archives/support-bot/release", "../release", "leads out of"),
        ("test_on_cpu: true", "test_on_cpu: maybe", "neither true nor false"),
        ("tslc==0.1.0", "tslc; rm -rf /", "is not something pip can install"),
        ("  branch: main", "  production: prod", "'prod' is none of the environments"),
        ("key/00000000-0000-4000-8000-000000000002", "alias/x", "is not the ARN of a KMS key"),
    ],
)
def test_a_mistake_in_the_section_is_named_with_its_line(old: str, new: str, said: str) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    with pytest.raises(BadFile) as caught:
        resolve(text.replace(old, new, 1), EXAMPLE, {"HOME": "/h"}, {})
    assert said in caught.value.message
    assert "tslc.yaml:" in caught.value.message


@pytest.mark.parametrize(
    ("name", "role", "environment"),
    [
        ("PushRole", "publisher", None),
        ("StageRole", "releaser", "staging"),
        ("EvaluateRole", "auditor", None),
        ("WorkerPolicy", "releaser", "production"),
    ],
)
def test_what_a_role_may_do_with_the_store_is_what_deploy_iam_says(
    resources: dict[str, Any], name: str, role: str, environment: str | None
) -> None:
    found = {one["Sid"]: one for one in statements(resources, name)}
    wanted = {one["Sid"]: one for one in of_store(role, environment)}
    if name == "EvaluateRole":
        del wanted["ReadTheSigningKey"]  # it verifies no signature
    assert {sid: found.get(sid) for sid in wanted} == wanted
    of_the_store = {
        sid for sid, one in found.items() if "EXAMPLE-BUCKET" in json.dumps(one["Resource"])
    }
    assert of_the_store <= set(wanted)


def test_who_builds_and_tests_reaches_neither_the_store_nor_a_key_that_signs(
    resources: dict[str, Any],
) -> None:
    for name in ("BuildRole", "TestRole", "PipelineRole"):
        text = json.dumps(statements(resources, name))
        assert "EXAMPLE-BUCKET" not in text
        assert "kms:Sign" not in text
        assert f"{KEY}2" not in text


def test_only_who_pushes_signs_and_only_the_worker_changes_production(
    resources: dict[str, Any],
) -> None:
    names = [n for n, one in resources.items() if n.endswith("Role") or n == "WorkerPolicy"]
    texts = {name: json.dumps(statements(resources, name)) for name in names}
    assert [name for name, text in texts.items() if "kms:Sign" in text] == ["PushRole"]
    write = "environments/production/"
    assert [name for name, text in texts.items() if write in text] == ["WorkerPolicy"]


@pytest.mark.parametrize(
    "name",
    [
        *("BuildRole", "TestRole", "PushRole", "StageRole", "EvaluateRole"),
        *("EvaluateNetworkPolicy", "PipelineRole", "WorkerPolicy"),
    ],
)
def test_parliament_finds_nothing(resources: dict[str, Any], name: str) -> None:
    document = {"Version": "2012-10-17", "Statement": statements(resources, name)}
    found = parliament.analyze_policy_string(json.dumps(document))
    assert [f"{one.issue}: {one.detail} {one.location}" for one in found.findings] == []


def test_every_log_group_artifact_and_topic_is_encrypted_with_the_pipelines_key(
    resources: dict[str, Any],
) -> None:
    kinds = {name: one["Type"] for name, one in resources.items()}
    for name, kind in kinds.items():
        properties = resources[name]["Properties"]
        if kind == "AWS::Logs::LogGroup":
            assert properties["KmsKeyId"] == GOT["Key.Arn"]
        if kind == "AWS::CodeBuild::Project":
            assert properties["EncryptionKey"] == GOT["Key.Arn"]
            group = properties["LogsConfig"]["CloudWatchLogs"]["GroupName"]
            assert kinds[group] == "AWS::Logs::LogGroup"
        if kind == "AWS::SNS::Topic":
            assert properties["KmsMasterKeyId"] == "Key"


@pytest.mark.parametrize("name", ["build", "test", "push", "stage", "evaluate"])
def test_a_project_is_given_every_variable_its_buildspec_uses(
    resources: dict[str, Any], name: str
) -> None:
    project = f"{name.capitalize()}Project"
    environment = resources[project]["Properties"]["Environment"]["EnvironmentVariables"]
    given = {one["Name"] for one in environment if one is not None}
    actions = [
        one["Configuration"]
        for stage in resources["Pipeline"]["Properties"]["Stages"]
        for one in stage["Actions"]
        if one["Configuration"].get("ProjectName") == project
    ]
    assert len(actions) == 1
    given |= {one["name"] for one in json.loads(actions[0].get("EnvironmentVariables", "[]"))}
    text = re.sub(r"#.*", "", (FOLDER / "buildspecs" / f"{name}.yml").read_text())
    used = set(re.findall(r"\$\{?(\w+)", text)) | set(re.findall(r'"\$(\w+)"', text))
    made = set(re.findall(r"export (\w+)=", text))
    of_codebuild = {"CODEBUILD_RESOLVED_SOURCE_VERSION", "CODEBUILD_SRC_DIR_Built"}
    assert used - made - of_codebuild <= given
    # What is given is used, by a command or by tslc itself.
    assert {one for one in given if not one.startswith("TSLC_")} <= used


def test_what_is_asked_for_by_name_alone_is_made_before(resources: dict[str, Any]) -> None:
    assert "ReleaseAction" in json.dumps(resources["Pipeline"]["Properties"]["Tags"])
    assert "EvaluateNetworkPolicy" in json.dumps(resources["EvaluateProject"]["Properties"]["Tags"])
    release = resources["Pipeline"]["Properties"]["Stages"][-1]["Actions"][0]["ActionTypeId"]
    made = resources["ReleaseAction"]["Properties"]
    assert {key: made[key] for key in ("Category", "Provider", "Version")} == {
        key: release[key] for key in ("Category", "Provider", "Version")
    }
    assert (made["Provider"], made["Version"]) == (PROVIDER, ACTION_VERSION)
    assert tuple(one["Name"] for one in made["ConfigurationProperties"]) == KEYS
    asked = [one["Name"] for one in made["ConfigurationProperties"] if one.get("Queryable")]
    assert asked == [QUERYABLE]


def test_production_waits_for_an_approval_that_shows_the_brief(resources: dict[str, Any]) -> None:
    stages = resources["Pipeline"]["Properties"]["Stages"]
    names = [one["Name"] for one in stages]
    assert names == ["Source", "Build", "Push", "Staging", "Approval", "Production"]
    (approve,) = stages[4]["Actions"]
    assert approve["Configuration"]["CustomData"] == "#{Evaluated.BRIEF}"
    exported = yaml.safe_load((FOLDER / "buildspecs" / "evaluate.yml").read_text())["env"]
    assert "BRIEF" in exported["exported-variables"]
