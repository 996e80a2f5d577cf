"""A feed without a key: rows that are equal are different things, and each is published. On real Delta tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from include.contracts.connectors import Stream
from include.contracts.source import Column, Copies, Feed, Mode, Source
from include.core.partitions import Partitions
from include.core.settings import settings
from include.lake import delta
from include.scaffold import night

SALES = Feed(
    "sales",
    "sales of a counter, which have no number",
    (
        Column("sold_on", "date", "the day", required=True),
        Column("what", "string", "what was sold"),
        Column("price", "double", "for how much"),
    ),
    key=(),
    copies=Copies.KEEP,
    day_column="sold_on",
    late_days=3,
    max_quarantined_share=0.5,
)
SOURCE = Source("counter", "a counter", "a team", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (SALES,))
COFFEE = "2020-06-01,coffee,2.5"
FILES = {
    "2020-06-01": [COFFEE, COFFEE, COFFEE, "2020-06-01,tea,2", "2020-06-01,tea,much", "2020-06-01,tea,much"],
    "2020-06-02": ["2020-06-02,coffee,2.5", COFFEE, COFFEE],  # two more coffees of the day before
}


def land(day: str, rows: list[str]) -> None:
    file = settings().landing / "counter" / "sales" / f"{day}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["sold_on,what,price", *rows, ""]))


def published() -> list[tuple[str, str, int]]:
    rows = delta.scan("bronze", "counter__sales").collect()
    return sorted((str(day), what, n) for day, what, n in rows.group_by("sold_on", "what").len().iter_rows())


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("order", [("2020-06-01", "2020-06-02", "2020-06-01"), ("2020-06-02", "2020-06-01")])
def test_every_copy_is_published_once_in_whatever_order_nights_come(order: tuple[str, ...]) -> None:
    for day, rows in FILES.items():
        land(day, rows)
    for day in order:
        night.ingest(SOURCE, Partitions.parse(day))
    assert published() == [("2020-06-01", "coffee", 5), ("2020-06-01", "tea", 1), ("2020-06-02", "coffee", 1)]
    counts = delta.read_all("bronze", "counter__completeness").sort("partition_day")
    # Of what is broken there is the text alone, and a text that comes twice is one line that came twice.
    terms = ("rows_in", "published", "quarantined", "deduplicated")
    assert counts.select(terms).rows() == [(6, 4, 1, 1), (3, 3, 0, 0)]


@pytest.mark.usefixtures("home")
def test_a_mended_file_replaces_its_own_rows() -> None:
    for day, rows in FILES.items():
        land(day, rows)
        night.ingest(SOURCE, Partitions.parse(day))
    land("2020-06-02", ["2020-06-02,coffee,2.5", COFFEE])
    night.ingest(SOURCE, Partitions.parse("2020-06-02"))
    assert published() == [("2020-06-01", "coffee", 4), ("2020-06-01", "tea", 1), ("2020-06-02", "coffee", 1)]


def test_who_has_no_key_says_so() -> None:
    with pytest.raises(ValueError, match="name the columns of its key; or, where equal rows are different things"):
        replace(SALES, copies=Copies.DROP)
    with pytest.raises(ValueError, match="name the columns of its key"):
        replace(SALES, key=("what",))


def test_what_has_to_tell_rows_apart_wants_a_key() -> None:
    with pytest.raises(ValueError, match="mode snapshot tells rows apart by a key"):
        replace(SALES, mode=Mode.SNAPSHOT, late_days=0)
    assert Stream.wants_key
