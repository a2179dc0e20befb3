"""What supervisord is told, and what a program gets of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser, expand

from tslc.domain.node import NodePaths, NodeSettings
from tslc.domain.supervised import (
    Program,
    ProgramRun,
    render_supervisord,
    split_environment,
    stop_waves,
)
from tslc.domain.torchserve_command import java_command
from tslc.errors import BadInput

names = st.from_regex(r"[A-Z_]{1,8}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
environments = st.dictionaries(names, values, max_size=6)
printable = st.text(min_size=1, max_size=40).filter(str.isprintable)


def program(name: str = "one", priority: int = 1, **more: object) -> Program:
    about = {"command": ("true",), "environment": {}, "folder": Path("/f"), "log": Path("/l")}
    return Program.model_validate({"name": name, "priority": priority, **about, **more})


@given(printable)
def test_supervisord_reads_the_path_of_python_back_as_it_is(python: str) -> None:
    parser = UnhosedConfigParser()
    parser.read_string(render_supervisord([program()], python))
    command = expand(parser.get("program:one", "command"), {}, "command")
    assert shlex.split(command)[0] == python


def test_a_path_that_supervisord_cannot_read_is_refused() -> None:
    with pytest.raises(BadInput):
        render_supervisord([program()], "/a\nb/python")


def test_a_program_that_dies_is_never_given_up() -> None:
    text = render_supervisord([program(stop_signal="QUIT", stop_seconds=7)], "/usr/bin/python")
    for line in ("autorestart=true", "startretries=2147483647", "stopsignal=QUIT"):
        assert line in text.splitlines()
    assert "stopwaitsecs=7" in text
    assert "inet_http_server" not in text


@given(environments, environments)
def test_a_program_gets_the_very_environment_that_was_wanted(
    wanted: dict[str, str], supervisord: dict[str, str]
) -> None:
    own, inherited = split_environment(wanted, supervisord)
    one = program(environment=own, inherited=inherited)
    later = supervisord | {"SUPERVISOR_ENABLED": "1", "SUPERVISOR_PROCESS_NAME": "one"}
    assert one.exact(later) == wanted


@given(environments)
def test_no_value_that_supervisord_has_is_written_down(env: dict[str, str]) -> None:
    assert split_environment(env, env)[0] == {}


def test_what_a_supervisord_above_set_is_not_mixed_up_with_what_ours_sets() -> None:
    env = {"SUPERVISOR_PROCESS_NAME": "outer", "HF_TOKEN": "secret"}
    own, inherited = split_environment(env, env)
    assert (own, inherited) == ({"SUPERVISOR_PROCESS_NAME": "outer"}, ("HF_TOKEN",))


@given(environments, st.lists(values, min_size=1, max_size=4))
def test_a_program_reads_back_what_was_written_of_it(
    env: dict[str, str], command: list[str]
) -> None:
    one = program(environment=env, command=tuple(command), inherited=("PATH",))
    assert Program.parse(one.render(), "one.json") == one


def test_a_run_reads_back_what_was_written_of_it() -> None:
    run = ProgramRun(pid=7, created=1.5, since="2026-01-01T00:00:00+00:00", starts=2)
    assert ProgramRun.parse(run.render(), "one.run.json") == run


def test_the_highest_priority_is_stopped_first_and_equals_together() -> None:
    programs = [program("store"), program("agent", 30), program("torchserve"), program("router", 2)]
    waves = [[one.name for one in wave] for wave in stop_waves(programs)]
    assert waves == [["agent"], ["router"], ["store", "torchserve"]]


def test_java_is_started_as_torchserves_own_starter_would() -> None:
    paths, settings = NodePaths(Path("/h/nodes/n")), NodeSettings(heap="2g")
    assert java_command("/j/bin/java", Path("/site"), "/py", paths, settings) == (
        "/j/bin/java",
        "-Dmodel_server_home=/site",
        "-Dlog4j.configurationFile=file:///h/nodes/n/log4j2.xml",
        "-Djava.io.tmpdir=/h/nodes/n/tmp",
        "-Xmx2g",
        "-XX:+ExitOnOutOfMemoryError",
        "-cp",
        ".:/site/ts/frontend/*",
        "org.pytorch.serve.ModelServer",
        "--python",
        "/py",
        "-f",
        "/h/nodes/n/config.properties",
        "-s",
        "/h/nodes/n/model_store",
        "-ncs",
    )
