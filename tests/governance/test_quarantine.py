"""What the page of the quarantine is made of: counted by what is wrong, with samples that hide what is personal."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.contracts.source import Column, Feed, Mend, Pii, Source
from include.core.partitions import Partitions
from include.governance import quarantine
from include.ingestion import ingest, landing
from include.lake import delta

FIRST = date(2020, 6, 1)
CALLS = Feed(
    "calls",
    "calls",
    (
        Column("call", "int", "which", required=True),
        Column("email", "string", "who", required=True, pii=Pii.PERSONAL, values=("none",)),
        Column("minutes", "double", "how long", "minute", minimum=0),
    ),
    key=("call",),
    max_quarantined_share=0.99,
    mends=(Mend("minutes", "(.*) min", "${1}", "the unit is written"),),
)
SOURCE = Source("shop", "shop", "shop-team", "anybody", "0 0 * * *", 6, FIRST, (CALLS,))
LINES = ["7,none,1", "8,ann@example.org,2", "9,bob@example.org,-2", "10,none,-3", "11,none,4 min", "12,ann@example.org"]


def land(home: Path, night: date, header: str, *lines: str) -> None:
    path = home / "landing" / "shop" / "calls" / f"{night}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]))
    nights = Partitions(night, night)
    plan = landing.plan(SOURCE, nights)
    candidates = ingest.load(SOURCE, nights, plan)
    audited = ingest.audit(SOURCE, nights, plan, candidates)
    ingest.publish_all(SOURCE, nights, plan, candidates, audited, run="lakehouse_ingest_shop manual__1")


def shown(*, shows_all: bool, first: date = date.min, last: date = date.max) -> quarantine.OfFeed:
    return quarantine.of_feed(SOURCE, CALLS, first, last, shows_all=shows_all)


def test_before_the_first_broken_row_there_is_nothing(home: Path) -> None:
    found = quarantine.report(SOURCE, SOURCE.feeds, date.min, date.max, shows_all=True)
    assert (found.ranges, found.feeds[0].rows, found.feeds[0].nights) == ([], 0, [])
    assert found.feeds[0].rules == [("minutes: the unit is written", 0)]


def test_rows_are_counted_by_what_is_wrong_and_shown_with_their_place(home: Path) -> None:
    land(home, FIRST, "call,email,minutes", *LINES)
    found = shown(shows_all=True)
    assert {one.name: one.rows for one in found.kinds} == {
        "email: is not one of the known values": 1,
        "email: is not one of the known values; minutes: is below 0": 1,
        "minutes: is below 0": 1,
        "another number of columns": 1,
    }
    assert found.rules == [("minutes: the unit is written", 1)]
    (row,) = next(one for one in found.kinds if one.name == "minutes: is below 0").samples
    assert (row.file, row.line, row.raw) == ("shop/calls/2020-06-01.csv", 5, "10,none,-3")
    assert (row.reason, row.run) == ("minutes: '-3' is below 0", "lakehouse_ingest_shop manual__1")


def test_what_is_personal_is_shown_to_whoever_may_see_it_alone(home: Path) -> None:
    land(home, FIRST, "call,email,minutes", *LINES)
    assert "ann@example.org" in json.dumps(asdict(shown(shows_all=True)))
    found = shown(shows_all=False)
    assert "example" not in json.dumps(asdict(found))
    assert found.hidden
    raws = {row.raw for kind in found.kinds for row in kind.samples}
    assert raws == {"8,•••,2", "9,•••,-2", "10,•••,-3", "•••"}


def test_a_row_is_taken_apart_by_the_columns_that_its_file_had(home: Path) -> None:
    land(home, FIRST, "minutes,email,call", "2,ann@example.org,8", "1,none,7")
    (kind,) = shown(shows_all=False).kinds
    assert kind.samples[0].raw == "2,•••,8"


def test_a_row_of_an_earlier_version_is_hidden_as_a_whole(home: Path) -> None:
    """Nobody knows any more in which order its file had the columns."""
    rows = pl.DataFrame(
        {"partition_day": [FIRST], "ingestion_date": [FIRST], "source_file": ["shop/calls/x.csv"], "run": ["by hand"]}
    ).with_columns(pl.lit("call: missing").alias("reason"), pl.lit(",ann@example.org,1").alias("raw"))
    delta.replace_days("bronze", "shop__calls__quarantine", rows, FIRST, FIRST, day="ingestion_date")
    (kind,) = shown(shows_all=False).kinds
    assert [row.raw for row in kind.samples] == ["•••"]


def test_a_file_whose_name_says_what_is_personal_is_not_named(home: Path) -> None:
    feed = replace(CALLS, files="{email}/{day}.csv", least_files=1, mends=())
    rows = pl.DataFrame(
        {"partition_day": [FIRST], "ingestion_date": [FIRST], "source_file": ["shop/calls/ann@example.org/x.csv"]}
    ).with_columns(pl.lit("call: missing").alias("reason"), pl.lit(",1").alias("raw"))
    rows = rows.with_columns(pl.lit('["call", "minutes"]').alias("file_columns"), pl.lit(4, pl.Int32).alias("line"))
    delta.replace_days("bronze", "shop__calls__quarantine", rows, FIRST, FIRST, day="ingestion_date")
    for shows_all, file in ((True, "shop/calls/ann@example.org/x.csv"), (False, "•••")):
        (kind,) = quarantine.of_feed(SOURCE, feed, FIRST, FIRST, shows_all=shows_all).kinds
        assert [(row.file, row.line, row.raw) for row in kind.samples] == [(file, 4, ",1")]


def test_only_so_many_nights_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (0, 1, 3, 5):
        land(home, FIRST + timedelta(n), "call,email,minutes", "7,none,1", "10,none,-3")
    monkeypatch.setattr(quarantine, "NIGHTS", 2)
    found = shown(shows_all=True)
    assert ([night for night, _ in found.nights], found.older) == (["2020-06-04", "2020-06-06"], True)
    found = shown(shows_all=True, last=FIRST + timedelta(1))
    assert ([night for night, _ in found.nights], found.older) == (["2020-06-01", "2020-06-02"], False)


def test_nights_that_follow_each_other_are_released_together() -> None:
    rows = {FIRST + timedelta(n): 1 + n for n in (0, 1, 2, 4)}
    assert quarantine.ranges(rows) == [("2020-06-05", "2020-06-05", 5), ("2020-06-01", "2020-06-03", 6)]


# A personal value has letters that nothing else here has.
PERSON = st.text(alphabet="PQ'\"; ,:.", min_size=1, max_size=150).filter(lambda text: set(text) & set("PQ"))


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PERSON, min_size=10, max_size=30))
def test_a_personal_value_never_appears(home: Path, people: list[str]) -> None:
    lines = [f'{n},"{person.replace(chr(34), chr(34) * 2)}",{n % 3 - 1}' for n, person in enumerate(people)]
    land(home, FIRST, "call,email,minutes", "7777,none,1", *lines)
    found = asdict(shown(shows_all=False))
    said = [found["kinds"], found["rules"]]
    assert found["rows"] == len(people)
    assert not set(json.dumps(said, ensure_ascii=False)) & set("PQ")
