"""Which rights of the store are tried for which role, and what is made of the outcomes."""

from __future__ import annotations

import json
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tslc.adapters.doctor.answers import Late, Question, answers
from tslc.domain.doctor.finding import Verdict
from tslc.domain.doctor.store import (
    CONTENT,
    RIGHTS,
    Outcome,
    Right,
    Role,
    StoreFacts,
    judge_delete,
    judge_rights,
    judge_store,
    scratch_key,
)
from tslc.domain.release.report import NodeReport
from tslc.domain.store_plan import versions_in

IAM = Path(__file__).parents[3] / "deploy" / "iam"
ACTIONS = {
    Right.LIST: "s3:ListBucket",
    Right.GET: "s3:GetObject",
    Right.PUT: "s3:PutObject",
    Right.ABSENT: "s3:PutObject",
    Right.MATCH: "s3:PutObject",
    Right.MULTIPART: "s3:AbortMultipartUpload",
    Right.DELETE: "s3:DeleteObject",
    Right.UPLOADS: "s3:ListBucketMultipartUploads",
}
OF_BUCKET = (Right.LIST, Right.UPLOADS)
POLICIES = tuple(role for role in Role if role is not Role.ALL)


def resources(role: Role, action: str) -> list[str]:
    document = json.loads((IAM / f"{role}.json").read_text())
    return [
        resource
        for one in document["Statement"]
        if one["Effect"] == "Allow" and action in one["Action"]
        for resource in one["Resource"]
    ]


@pytest.mark.parametrize("role", POLICIES)
def test_what_is_tried_for_a_role_is_what_its_policy_allows_where_it_allows_it(role: Role) -> None:
    key = f"arn:aws:s3:::EXAMPLE-BUCKET/EXAMPLE-PREFIX/{scratch_key(role, 'production', 'x')}"
    for right in RIGHTS[role]:
        place = "arn:aws:s3:::EXAMPLE-BUCKET" if right in OF_BUCKET else key
        allowed = resources(role, ACTIONS[right])
        assert any(fnmatchcase(place, one) for one in allowed), (right, allowed)


def test_a_scratch_document_that_stays_names_nothing_and_is_no_nodes_report() -> None:
    assert list(versions_in(json.loads(CONTENT))) == []
    assert NodeReport.parse(CONTENT) is None


def facts(role: Role = Role.ALL, **problems: str) -> StoreFacts:
    outcomes = {right: Outcome() for right in RIGHTS[role]}
    denied = "let the caller's policy allow s3:PutObject"
    outcomes |= {Right[name]: Outcome(said, denied) for name, said in problems.items()}
    return StoreFacts(role, "s3://b", outcomes=outcomes)


def test_a_right_that_is_missing_is_a_fault_and_one_that_a_role_needs_not_is_none() -> None:
    rights = {Right.PUT: "written"}
    assert judge_rights(facts(), rights).verdict is Verdict.OK
    denied = judge_rights(facts(PUT="access denied: s3:PutObject"), rights)
    assert denied.verdict is Verdict.FAULT
    assert "s3:PutObject" in denied.fix
    assert "--role" in denied.fix
    assert judge_rights(facts(Role.AUDITOR), rights).verdict is Verdict.NOT_APPLICABLE


def test_a_store_that_could_not_be_used_is_said_once() -> None:
    gone = StoreFacts(
        Role.ALL, "s3://b", outcomes={Right.LIST: Outcome("no answer", "tslc config")}
    )
    assert judge_store(gone).verdict is Verdict.FAULT
    assert judge_rights(gone, {Right.GET: "read"}).verdict is Verdict.NOT_APPLICABLE


def test_the_store_of_a_node_that_is_down_is_no_fault_and_one_of_a_node_that_is_up_is() -> None:
    down = StoreFacts(Role.ALL, problem="it is not running", hint="tslc up", local=True)
    assert judge_store(down).verdict is Verdict.NOT_APPLICABLE
    up = StoreFacts(Role.ALL, problem="it is not running", hint="tslc up", local=True, node_up=True)
    assert (judge_store(up).verdict, judge_store(up).fix) == (Verdict.FAULT, "tslc up")


def test_a_scratch_object_that_stayed_is_told() -> None:
    denied = facts(DELETE="access denied")
    found = judge_delete(StoreFacts(**{**vars(denied), "left": ("s3://b/doctor/x",)}))
    assert found.verdict is Verdict.FAULT
    assert "s3://b/doctor/x" in found.found


def test_questions_are_asked_side_by_side_and_one_that_goes_wrong_stops_no_other() -> None:
    def wrong() -> int:
        raise KeyError("gone")

    began = time.monotonic()
    found = answers(
        {
            "late": Question(0.3, lambda: time.sleep(30) or 1),
            "wrong": Question(5.0, wrong),
            "good": Question(5.0, lambda: 7),
        }
    )
    assert time.monotonic() - began < 3
    assert found["late"] == Late(0.3)
    assert isinstance(found["wrong"], KeyError)
    assert found["good"] == 7
