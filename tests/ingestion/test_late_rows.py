"""Rows that come late go to their own day, once, and the order in which files are ingested does not matter.

Every step of an ingestion as its DAG runs it, on real Delta tables.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include.contracts.source import Column, Feed, Source
from include.core.partitions import Partitions
from include.ingestion import ingest, landing
from include.ingestion.ingest import IncompleteError
from include.lake import commit, delta, publications, usage
from tests.killed import Killed, killed_at

TRIPS = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("trip", "int", "which", required=True),
        Column("amount", "double", "how much"),
    ),
    key=("trip",),
    day_column="day",
    late_days=5,
    lead_days=1,
    max_quarantined_share=0.9,
)
SOURCE = Source("toys", "toys", "toy-team", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (TRIPS,))
# The file of a day, which arrives in the night before.
FILES = {
    "2020-06-11": ["2020-06-11,1,1", "2020-06-11,2,2", "2020-06-11,3,3"],
    "2020-06-12": ["2020-06-12,1,1", "2020-06-12,2,2", "2020-06-11,4,4"],
    "2020-06-13": [
        "2020-06-13,1,1",
        "2020-06-11,4,4.0",  # again, as it was
        "2020-06-12,1,99",  # differs from the one that was in time
        "2020-06-11,6,6",
        "2020-06-11,06,6.0",  # the same in other letters
        "2020-06-11,7,much",
        "2020-06-07,8,8",  # a day too late
        "2020-06-14,9,9",  # a day too early
    ],
    "2020-06-14": [
        "2020-06-14,1,1",
        "2020-06-11,6,66",  # differs from an earlier late one
        "2020-06-13,1,1",
        "2020-06-12,5,5",
    ],
}
NIGHTS = ["2020-06-10", "2020-06-11", "2020-06-12", "2020-06-13"]
# (trip's day, trip, amount, the night in which it arrived)
PUBLISHED = [
    ("2020-06-11", 1, 1.0, "2020-06-10"),
    ("2020-06-11", 2, 2.0, "2020-06-10"),
    ("2020-06-11", 3, 3.0, "2020-06-10"),
    ("2020-06-11", 4, 4.0, "2020-06-11"),
    ("2020-06-11", 6, 6.0, "2020-06-12"),
    ("2020-06-12", 1, 1.0, "2020-06-11"),
    ("2020-06-12", 2, 2.0, "2020-06-11"),
    ("2020-06-12", 5, 5.0, "2020-06-13"),
    ("2020-06-13", 1, 1.0, "2020-06-12"),
    ("2020-06-14", 1, 1.0, "2020-06-13"),
]
DIFFERS = "another row has the same trip, arrived in the night of {} and differs"
QUARANTINED = [
    ("2020-06-11,6,66", DIFFERS.format("2020-06-12"), "2020-06-13"),
    ("2020-06-11,7,much", "amount: 'much' is no double", "2020-06-12"),
    ("2020-06-07,8,8", "day: 2020-06-07 is more than 5 days before the file's", "2020-06-12"),
    ("2020-06-12,1,99", DIFFERS.format("2020-06-11"), "2020-06-12"),
    ("2020-06-14,9,9", "day: 2020-06-14 is another day", "2020-06-12"),
]
# night → rows in, published, quarantined, deduplicated
EQUATION = {
    "2020-06-10": (3, 3, 0, 0),
    "2020-06-11": (3, 3, 0, 0),
    "2020-06-12": (8, 2, 4, 2),
    "2020-06-13": (4, 2, 1, 1),
}
ORDERS = {
    "backwards": NIGHTS[::-1],
    "as one range": ["2020-06-10..2020-06-13"],
    "mixed": ["2020-06-12", "2020-06-10", "2020-06-13", "2020-06-11", "2020-06-10"],
    "a night beside a range": ["2020-06-13", "2020-06-10..2020-06-12"],
}
SAMPLE = ["backwards", "as one range"]


def land() -> None:
    for day, lines in FILES.items():
        put(day, lines)


@pytest.fixture
def toys(home: Path) -> None:
    """An empty lake, and files in landing."""
    land()


def put(day: str, lines: list[str]) -> None:
    path = landing.path_of(SOURCE, TRIPS, date.fromisoformat(day))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["day,trip,amount", *lines]) + "\n")


class Run:
    """The tasks of one run of the DAG."""

    def __init__(self, key: str) -> None:
        self.nights = Partitions.parse(key)

    def judge(self) -> None:
        self.plan = landing.plan(SOURCE, self.nights)
        self.candidates = ingest.load(SOURCE, self.nights, self.plan)
        self.audited = ingest.audit(SOURCE, self.nights, self.plan, self.candidates)

    def publish(self) -> None:
        ingest.publish_all(SOURCE, self.nights, self.plan, self.candidates, self.audited, run=self.nights.key)

    def discard(self) -> None:
        ingest.discard(self.candidates, self.audited)


def run(key: str) -> None:
    one = Run(key)
    one.judge()
    one.publish()
    one.discard()


def bronze(name: str, *columns: str) -> list[tuple]:
    rows = delta.read_all("bronze", f"toys__{name}", columns=list(columns))
    return sorted(rows.with_columns(pl.col(pl.Date).cast(pl.String)).rows())


def published() -> list[tuple]:
    return bronze("trips", "partition_day", "trip", "amount", "ingestion_date")


def equation() -> dict[str, tuple]:
    rows = bronze("completeness", "ingestion_date", "rows_in", "published", "quarantined", "deduplicated")
    return {night: tuple(terms) for night, *terms in rows}


def check() -> None:
    """Each row is where it belongs, whatever the order in which the files were ingested."""
    assert published() == PUBLISHED
    assert bronze("trips__quarantine", "raw", "reason", "ingestion_date") == sorted(QUARANTINED)
    assert bronze("trips__quarantine", "source_file", "line") == [
        *(("toys/trips/2020-06-13.csv", line) for line in (4, 7, 8, 9)),
        ("toys/trips/2020-06-14.csv", 3),
    ]
    assert equation() == EQUATION


@pytest.mark.parametrize(
    "order", [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.full) for one in ORDERS]
)
def test_the_order_of_ingestion_does_not_matter(toys: None, order: str) -> None:
    for key in ORDERS[order]:
        run(key)
    check()
    assert usage.candidates() == []


def test_forwards_and_then_again(toys: None) -> None:
    """Nothing changes the second time: a late row makes no new revision of what was in time, nor does a rerun."""
    for key in (*NIGHTS, "2020-06-10..2020-06-13", NIGHTS[2]):
        run(key)
    check()
    lines = publications.read().filter(pl.col("table") == "bronze.toys__trips").sort("partition_day", "ingestion_date")
    assert lines["revision"].to_list() == [1] * lines.height
    assert {(str(day), str(night)) for day, night in lines.select("partition_day", "ingestion_date").rows()} == {
        (day, night) for day, _, _, night in PUBLISHED
    }
    # Each night tells the earlier ones of which rows arrived in it.
    touched = {night: [str(one) for one in ingest.touched(SOURCE, Partitions.parse(night))] for night in NIGHTS}
    assert touched == {
        "2020-06-10": [],
        "2020-06-11": ["2020-06-10"],
        "2020-06-12": ["2020-06-10"],
        "2020-06-13": ["2020-06-11"],
    }
    assert ingest.touched(SOURCE, Partitions.parse("2020-06-11..2020-06-13")) == [date(2020, 6, 10)]


def test_a_file_that_is_replaced_sets_right_what_hung_on_it(toys: None) -> None:
    """The row that it had brought first now comes from the file after it."""
    for night in NIGHTS:
        run(night)
    put("2020-06-13", ["2020-06-13,1,1"])
    run("2020-06-12")
    assert ("2020-06-11", 6, 66.0, "2020-06-13") in published()
    assert equation() == EQUATION | {"2020-06-12": (1, 1, 0, 0), "2020-06-13": (4, 3, 0, 1)}
    assert bronze("trips__quarantine", "raw") == []


def test_another_days_file_under_this_days_name_is_refused(toys: None) -> None:
    run("2020-06-10")
    put("2020-06-12", FILES["2020-06-11"])
    with pytest.raises(IncompleteError, match="trips 2020-06-12: all 3 rows are copies of others"):
        run("2020-06-11")
    assert published() == PUBLISHED[:3]


# Who makes the next step; A and B each judge, publish and discard.
CROSSINGS = ["ABBA", "ABAB", "AABB", "BABA", "BAAB"]


@pytest.mark.parametrize(
    "order", [one if one == "ABBA" else pytest.param(one, marks=pytest.mark.full) for one in CROSSINGS]
)
def test_runs_that_cross_end_as_one_after_the_other_does(toys: None, order: str) -> None:
    """Both bring late rows of the same days: what the second has published, the first must not take away."""
    for night in NIGHTS[:2]:
        run(night)
    runs = {"A": Run(NIGHTS[2]), "B": Run(NIGHTS[3])}
    steps = {name: iter((one.judge, one.publish)) for name, one in runs.items()}
    for name in order:
        next(steps[name])()
    for one in runs.values():
        one.discard()
    check()
    assert usage.candidates() == []


def test_the_first_late_row_of_all_crosses_the_file_of_its_own_day(toys: None) -> None:
    """Nothing had come late when the file was judged; it is judged again beside the row that came meanwhile."""
    run(NIGHTS[0])
    own, late = Run(NIGHTS[1]), Run(NIGHTS[2])
    own.judge()
    late.judge()
    late.publish()
    assert ("2020-06-12", 1, 99.0, "2020-06-12") in published(), "there is no other one of its key yet"
    own.publish()
    assert ("2020-06-12", 1, 1.0, "2020-06-11") in published(), "which was in time, and takes its place"
    run(NIGHTS[3])
    check()


@pytest.mark.parametrize("call", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(4, marks=pytest.mark.full)])
def test_a_kill_while_publishing_is_finished_by_whoever_publishes_next(
    toys: None, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    for night in NIGHTS[:2]:
        run(night)
    killed = Run(NIGHTS[2])
    killed.judge()
    with monkeypatch.context() as patch:
        killed_at(patch, commit, "commit", call, after=True)
        with pytest.raises(Killed):
            killed.publish()
    run(NIGHTS[3])
    assert equation() == EQUATION
    check()
    killed.publish()  # as the task does when it is tried again
    check()
    lines = publications.read().filter(pl.col("table") == "bronze.toys__trips")
    assert lines["revision"].to_list() == [1] * lines.height


def test_a_file_that_was_replaced_after_it_was_loaded_is_not_published(toys: None) -> None:
    """Another run may have published the newer one already."""
    older = Run(NIGHTS[0])
    older.judge()
    put("2020-06-11", [*FILES["2020-06-11"], "2020-06-11,33,3"])
    run(NIGHTS[0])
    with pytest.raises(landing.ChangedFileError, match=r"2020-06-11\.csv"):
        older.publish()
    assert ("2020-06-11", 33, 3.0, "2020-06-10") in published()


def test_what_a_night_writes_does_not_grow_with_the_nights_before_it(toys: None) -> None:
    """The counts of a night are written again where they change, and not because a late row came since."""
    for night in NIGHTS:
        run(night)

    def counts() -> dict[date, str]:
        files = usage.files_of(usage.opened("bronze.toys__completeness"))
        return dict(files.select("partition.ingestion_date", "path").iter_rows())

    before = counts()
    put("2020-06-15", ["2020-06-15,1,1", "2020-06-13,7,7"])
    run("2020-06-14")
    after = counts()
    assert {night for night in after if after[night] != before.get(night)} == {date(2020, 6, 14)}
