"""The lines that a log gains are told once each, also where the supervisor begins the file anew."""

from pathlib import Path

from include.local.follow import Followed


def test_what_was_there_before_is_not_told_again(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("of an earlier start\n")
    followed = Followed(log)
    assert list(followed.lines()) == []
    with log.open("a") as file:
        file.write("one\ntwo\n")
    assert list(followed.lines()) == ["one", "two"]
    assert list(followed.lines()) == []


def test_a_line_is_told_when_it_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    followed = Followed(log)
    assert list(followed.lines()) == []  # not there yet
    log.write_text("one\nha")
    assert list(followed.lines()) == ["one"]
    with log.open("a") as file:
        file.write("lf\n")
    assert list(followed.lines()) == ["half"]


def test_nothing_is_lost_where_a_long_log_is_renamed_and_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()
    followed = Followed(log)
    with log.open("a") as file:
        file.write("last of the old\n")
    log.rename(tmp_path / "a.log.1")
    log.write_text("first of the new\n")
    assert list(followed.lines()) == ["last of the old", "first of the new"]


def test_a_log_that_was_emptied_is_told_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("a long line of an earlier start\n")
    followed = Followed(log)
    log.write_text("new\n")
    assert list(followed.lines()) == ["new"]
