"""A log followed while it is written."""

from pathlib import Path

from tslc.adapters.log_follower import LogFollower


def test_each_line_comes_once_and_only_when_it_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    assert follower.lines() == ()
    with log.open("w") as file:
        file.write("one\ntw")
        file.flush()
        assert follower.lines() == ("one",)
        assert follower.lines() == ()
        file.write("o\nthree\n")
        file.flush()
        assert follower.lines() == ("two", "three")


def test_a_log_that_was_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    follower = LogFollower(log)
    assert follower.lines() == ("old",)
    log.rename(tmp_path / "log.1")
    log.write_text("new, and longer than the old one\n")
    assert follower.lines() == ("new, and longer than the old one",)
