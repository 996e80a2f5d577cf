"""A table that is followed by its log is the table that delta-rs opens, whatever was committed in between."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from include.lake import delta, tail
from include.lake.tail import OtherTableError
from include.web.tables import Tables

FIRST = date(2026, 11, 1)
SCHEMA = {"day": pl.Date(), "value": pl.Int64()}


def rows(*numbers: int, value: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"day": [FIRST + timedelta(n) for n in numbers], "value": [value] * len(numbers)}, SCHEMA)


def replace(frame: pl.DataFrame, name: str = "nights") -> None:
    delta.replace_days("gold", name, frame, min(frame["day"]), max(frame["day"]), day="day")


def read(one: tail.Tail) -> pl.DataFrame:
    return one.scan(one.files).select("day", "value").sort("day", "value").collect()


def truth(name: str = "nights") -> pl.DataFrame:
    return delta.read_all("gold", name).select("day", "value").sort("day", "value")


def test_a_table_that_is_followed_is_the_one_that_is_opened(home: Path) -> None:
    replace(rows(0, 1, 2))
    followed = tail.opened("gold", "nights")
    there = DeltaTable(str(delta.table_path("gold", "nights")))

    def written_by_days() -> None:
        replace(rows(1, 1, value=7))
        replace(rows(3))

    def taken() -> None:
        delta.opened("gold", "nights").delete("day = '2026-11-01'")

    def merged() -> None:
        write_deltalake(str(delta.table_path("gold", "nights")), rows(2, value=5), mode="append")
        delta.opened("gold", "nights").optimize.compact()

    for step in (written_by_days, taken, merged):
        step()
        tail.advance(followed)
        there.update_incremental()
        assert read(followed).equals(truth()), step.__name__
        assert followed.version == there.version()
        assert followed.days() == sorted(set(truth()["day"]))
    night = FIRST + timedelta(2)
    only = followed.scan(followed.of_days(night, night)).select("day", "value").collect()
    assert sorted(only["value"]) == [1, 5]


def test_nothing_but_new_commits_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(rows(0))
    of = Tables()
    assert of.days("gold.nights") == [FIRST]
    opened: list[str] = []
    monkeypatch.setattr(delta, "opened", lambda *args: opened.append(args[1]))
    monkeypatch.setattr(DeltaTable, "update_incremental", lambda one: opened.append(one.table_uri))
    write_deltalake(str(delta.table_path("gold", "nights")), rows(1), mode="append")
    assert of.days("gold.nights") == [FIRST, FIRST + timedelta(1)]
    assert of.rows("gold.nights", SCHEMA).height == 2
    assert not opened


def test_another_table_in_its_place_is_noticed_whatever_its_version(home: Path) -> None:
    of = Tables()
    for made_of in ((0, 1), (2,), (3, 4, 5)):
        for number in made_of:
            replace(rows(number))
        assert of.days("gold.nights") == [FIRST + timedelta(number) for number in made_of]
        shutil.rmtree(str(delta.table_path("gold", "nights")))
        if made_of == (2,):
            assert of.days("gold.nights") == []


def test_a_column_that_is_new_is_read(home: Path) -> None:
    of = Tables()
    replace(rows(0))
    assert of.rows("gold.nights", SCHEMA | {"more": pl.String()})["more"].to_list() == [None]
    replace(rows(1).with_columns(more=pl.lit("x")))
    found = of.rows("gold.nights", SCHEMA | {"more": pl.String()}).sort("day")
    assert found["more"].to_list() == [None, "x"]


def test_a_broken_commit_has_the_table_opened_anew_which_says_what_is_wrong(home: Path) -> None:
    replace(rows(0))
    followed = tail.opened("gold", "nights")
    (delta.table_path("gold", "nights") / "_delta_log" / f"{1:020}.json").write_text('{"add":')
    with pytest.raises(OtherTableError, match=r"0001\.json"):
        tail.advance(followed)


def test_a_table_with_deletion_vectors_is_left_to_delta_rs(home: Path) -> None:
    path = str(delta.table_path("gold", "nights"))
    write_deltalake(path, rows(0), partition_by=["day"], configuration={"delta.enableDeletionVectors": "true"})
    assert not tail.opened("gold", "nights").is_plain
    assert Tables().rows("gold.nights", SCHEMA)["day"].to_list() == [FIRST]


def test_of_a_ledger_only_new_lines_are_read_and_a_merge_of_its_files_brings_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, read_files = Tables(), list[int]()
    scan = tail.Tail.scan
    monkeypatch.setattr(
        tail.Tail, "scan", lambda one, paths: read_files.append(len(files := list(paths))) or scan(one, files)
    )

    def lines(since: int) -> list[date]:
        found = of.lines("ledger.lines", SCHEMA, ("day", "value"), ("day", FIRST + timedelta(since)))
        return sorted(found["day"])

    for number in range(4):
        delta.append("ledger", "lines", rows(number))
    assert (lines(1), read_files) == ([FIRST + timedelta(n) for n in (1, 2, 3)], [4])
    delta.append("ledger", "lines", rows(0, 4))
    delta.opened("ledger", "lines").optimize.compact()
    assert (lines(2), read_files) == ([FIRST + timedelta(n) for n in (2, 3, 4)], [4, 1])
    assert (lines(2), read_files) == ([FIRST + timedelta(n) for n in (2, 3, 4)], [4, 1])
    # earlier ones than were asked for before, and a ledger that somebody has taken lines from: all of it
    assert lines(0) == [FIRST + timedelta(n) for n in (0, 0, 1, 2, 3, 4)]
    delta.opened("ledger", "lines").delete("day = '2026-11-03'")
    assert lines(0) == [FIRST + timedelta(n) for n in (0, 0, 1, 3, 4)]


def test_many_commits_at_once_are_more_than_is_remembered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHANGES", 2)
    delta.append("ledger", "lines", rows(0))
    of, since = Tables(), ("day", FIRST)
    assert of.lines("ledger.lines", SCHEMA, ("day",), since).height == 1
    for number in range(1, 5):
        delta.append("ledger", "lines", rows(number))
    assert of.lines("ledger.lines", SCHEMA, ("day",), since).height == 5


def test_a_scrape_meanwhile_sees_each_table_at_one_version(home: Path) -> None:
    replace(rows(0))
    of = Tables()
    with of.once():
        assert of.days("gold.nights") == [FIRST]
        replace(rows(1))
        assert of.days("gold.nights") == [FIRST]
    assert of.days("gold.nights") == [FIRST, FIRST + timedelta(1)]
