"""The IAM policies in deploy/iam: valid, least privilege, and what each role may not do."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import parliament
import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "iam"
ROLES = ("publisher", "releaser", "node", "auditor", "janitor")
OBJECTS = "arn:aws:s3:::EXAMPLE-BUCKET/EXAMPLE-PREFIX/"


def statements(role: str) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads((FOLDER / f"{role}.json").read_text())
    return list(document["Statement"])


def findings(text: str) -> list[str]:
    found = parliament.analyze_policy_string(text, include_community_auditors=True)
    return [f"{one.issue}: {one.detail} {one.location}" for one in found.findings]


def allows(role: str, action: str, key: str) -> bool:
    """Whether a role may do something with an object of the store, conditions aside."""
    return any(
        one["Effect"] == "Allow"
        and action in one["Action"]
        and any(fnmatchcase(f"{OBJECTS}{key}", resource) for resource in one["Resource"])
        for one in statements(role)
    )


def test_every_policy_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*ROLES, "bucket"}


def denials(role: str) -> dict[str, dict[str, Any]]:
    return {one["Sid"]: one for one in statements(role) if one["Effect"] == "Deny"}


def test_the_buckets_policy_tells_everybody_what_those_who_write_are_told() -> None:
    denied = denials("publisher") | denials("releaser")
    everybody = {one["Sid"]: one for one in statements("bucket")}
    assert everybody == {sid: {**one, "Principal": "*"} for sid, one in denied.items()}
    assert not findings((FOLDER / "bucket.json").read_text())


@pytest.mark.parametrize("role", ROLES)
def test_the_linter_finds_nothing(role: str) -> None:
    assert findings((FOLDER / f"{role}.json").read_text()) == []


def test_the_linter_would_find_something() -> None:
    text = (FOLDER / "node.json").read_text()
    assert findings(text.replace("s3:GetObject", "s3:GetObjekt"))
    assert findings(text.replace("s3:prefix", "s3:prefixx"))


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_allowed_by_a_star(role: str) -> None:
    for one in statements(role):
        if one["Effect"] == "Allow":
            assert not any("*" in action for action in one["Action"])
            assert all("EXAMPLE-BUCKET" in r or ":key/" in r for r in one["Resource"])


BLOB = "blobs/sha256/00"
MANIFEST = "models/bot/1.0.0/manifest.json"
STATE = "environments/production/state.json"
ENTRY = "environments/production/history/0000000007.json"
REPORT = "environments/production/nodes/n1.json"
RELEASE = "environments/production/releases/bot.json"
JOB = "environments/production/jobs/bot.json"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_versions(role: str) -> None:
    assert allows(role, "s3:GetObject", BLOB)
    assert allows(role, "s3:GetObject", MANIFEST)


def test_only_a_publisher_adds_versions_and_only_a_janitor_deletes_content() -> None:
    for key in (BLOB, MANIFEST):
        assert [role for role in ROLES if allows(role, "s3:PutObject", key)] == ["publisher"]
    assert [role for role in ROLES if allows(role, "s3:DeleteObject", BLOB)] == ["janitor"]
    assert not any(allows(role, "s3:DeleteObject", MANIFEST) for role in ROLES)


def test_a_node_writes_its_report_alone_and_nobody_else_writes_one() -> None:
    assert [role for role in ROLES if allows(role, "s3:PutObject", REPORT)] == ["node"]


def test_only_a_releaser_changes_an_environment_and_nobody_deletes_in_one() -> None:
    for key in (STATE, ENTRY, RELEASE, JOB):
        assert [role for role in ROLES if allows(role, "s3:PutObject", key)] == ["releaser"]
    for key in (STATE, ENTRY, REPORT, RELEASE, JOB):
        assert not any(allows(role, "s3:DeleteObject", key) for role in ROLES)


def test_whoever_releases_serves_or_audits_reads_environments() -> None:
    for key in (STATE, ENTRY, REPORT):
        found = [role for role in ROLES if allows(role, "s3:GetObject", key)]
        assert found == ["releaser", "node", "auditor", "janitor"]


def test_a_releaser_can_neither_replace_nor_delete_history() -> None:
    denied = denials("releaser")
    replaced, deleted = denied["NeverReplaceHistory"], denied["NeverDeleteHistory"]
    assert replaced["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert set(deleted["Action"]) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}
    for one in (replaced, deleted):
        assert fnmatchcase(f"{OBJECTS}{ENTRY}", one["Resource"][0])


def test_a_releaser_can_not_write_a_state_without_saying_which_it_replaces() -> None:
    denied = denials("releaser")["NeverOverwriteAStateUnseen"]
    # Both: a state is written where none is, or in the place of the one that was read.
    assert denied["Condition"] == {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}}
    assert fnmatchcase(f"{OBJECTS}{STATE}", denied["Resource"][0])


def test_a_publisher_can_not_replace_a_version_whatever_it_asks() -> None:
    (deny,) = (one for one in statements("publisher") if one["Sid"] == "NeverReplaceAVersion")
    assert deny["Effect"] == "Deny"
    assert deny["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert fnmatchcase(f"{OBJECTS}{MANIFEST}", deny["Resource"][0])
