"""A node's settings, folders and memory of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.door import DoorName
from tslc.domain.node import (
    MAX_SOCKET_PATH,
    NodeSettings,
    NodeState,
    Ports,
    check_settings,
    check_socket_room,
    home_folder,
    longest_door,
    node_paths,
)
from tslc.errors import BadFile, BadInput

ports = st.integers(1, 65_534)
settings_of_any_kind = st.builds(
    NodeSettings,
    name=st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True),
    ports=st.builds(Ports, inference=ports, management=ports),
    heap=st.sampled_from(["64m", "2g"]),
    token_minutes=st.floats(0.01, 1e6),
    install_requirements=st.booleans(),
)
words = st.text(st.characters(codec="utf-8", exclude_characters="@/\0\n"), min_size=1)


@given(
    settings_of_any_kind,
    st.none() | st.integers(1, 2**22),
    st.none() | st.floats(0, 1e10),
    st.none() | st.text(),
)
def test_a_node_reads_back_what_it_wrote_of_itself(
    settings: NodeSettings, pid: int | None, created: float | None, java: str | None
) -> None:
    state = NodeState(settings=settings, pid=pid, created=created, java=java)
    assert NodeState.parse(state.render(), "node.json") == state


@given(words, words, st.integers(1, 10**7))
def test_a_door_reads_back_its_name(model: str, version: str, pid: int) -> None:
    name = DoorName(model, version, pid)
    assert DoorName.parse(str(name)) == name


@pytest.mark.parametrize(
    "file", ["m@1.sock", "m@1@x.sock", "m@1@0.sock", "m@1@7", "@1@7.sock", "m@1@2@7.sock", "x"]
)
def test_other_files_are_no_doors(file: str) -> None:
    assert DoorName.parse(file) is None


def test_a_spoiled_node_file_shows_every_mistake() -> None:
    with pytest.raises(BadFile) as caught:
        NodeState.parse('{"settings": {"heap": 1}, "pid": "x", "more": 1}', "node.json")
    assert {one.where for one in caught.value.mistakes} == {"settings.heap", "pid", "more"}


def test_every_wrong_setting_is_named_at_once() -> None:
    wrong = NodeSettings(
        ports=Ports(inference=8081, management=8081, metrics=70_000), heap="lots", token_minutes=0
    )
    with pytest.raises(BadFile) as caught:
        check_settings(wrong)
    where = [one.where for one in caught.value.mistakes]
    assert where == ["--management-port", "--metrics-port", "--heap", "--token-minutes"]


def test_the_defaults_are_settings_that_can_run() -> None:
    check_settings(NodeSettings())


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "a" * 33, "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        node_paths(Path("/home"), name)


def test_a_folder_too_long_for_sockets_is_refused_before_anything_starts() -> None:
    check_socket_room(node_paths(Path("/home/user/.local/state/tslc"), "default"))
    with pytest.raises(BadInput, match="too long a folder") as caught:
        check_socket_room(node_paths(Path("/" + "x" * 80), "default"))
    assert "TSLC_HOME" in str(caught.value.hint)


def test_the_longest_pid_of_a_version_counts() -> None:
    paths = node_paths(Path("/tmp/t"), "default")
    room = MAX_SOCKET_PATH - len(str(paths.run)) - 1 - len(str(longest_door("", "1")))
    check_socket_room(paths, longest_door("m" * room, "1"))
    with pytest.raises(BadInput):
        check_socket_room(paths, longest_door("m" * (room + 1), "1"))


def test_the_home_is_the_stated_one_or_where_state_belongs() -> None:
    assert home_folder({"TSLC_HOME": "/t", "HOME": "/h"}) == Path("/t")
    assert home_folder({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/tslc")
    assert home_folder({"HOME": "/h"}) == Path("/h/.local/state/tslc")
