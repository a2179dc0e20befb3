"""`tslc pipeline brief`: what an approver is shown."""

from __future__ import annotations

from pathlib import Path

from nodes import TinyArchives
from store_shop import Shop


def test_a_brief_says_what_changes_in_place_of_what_is_served_and_how_it_was_evaluated(
    shop: Shop, archives: TinyArchives, tmp_path: Path
) -> None:
    prompt = {
        "name": "new",
        "request": {"messages": [{"role": "user", "content": "hi"}]},
        "expect": {"contains": ["hi"], "within_seconds": 30},
    }
    shop.ok("push", archives.build("briefed", "1"))
    shop.ok("push", archives.build("briefed", "2", golden=[prompt]))
    shop.ok("promote", "briefed", "1", "--env", "dev")
    evaluation = tmp_path / "evaluation.txt"
    evaluation.write_text("new  passed\n\n1 of 1 passed, p50 40 ms\n")
    words = ("briefed", "2", "--env", "dev", "--evaluation", evaluation)

    out = tmp_path / "brief.txt"
    said = shop.cli.ok("pipeline", "brief", *words, "--short", "--out", out, env=shop.env).out

    assert said.count("\n") == 1
    assert said.startswith("briefed 2 for dev, in place of 1; ")
    assert "golden prompts: " in said
    assert said.endswith("evaluation: new passed / 1 of 1 passed, p50 40 ms\n")
    text = out.read_text()
    assert "handler code: 0 changed" in text
    assert "1 of 1 passed, p50 40 ms" in text


def test_a_version_that_is_not_there_has_no_brief(shop: Shop) -> None:
    ran = shop("pipeline", "brief", "nobody", "1", "--env", "dev")
    assert ran.code == 2
    assert "no model nobody" in ran.err
