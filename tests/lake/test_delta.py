import threading
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from include.lake import delta

MONDAY, TUESDAY, WEDNESDAY = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)


def rows(*values: tuple[date, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"flight_date": pl.Date, "key": pl.String, "value": pl.Float64}, orient="row")


@pytest.fixture(autouse=True)
def lake(home: Path) -> Path:
    return home / "lake"


def test_missing_table_is_named() -> None:
    with pytest.raises(delta.TableMissingError, match=r"table gold\.nope is missing: no Delta table at .*/gold/nope"):
        delta.read_days("gold", "nope", MONDAY, TUESDAY)
    with pytest.raises(delta.TableMissingError, match=r"gold\.nope"):
        delta.version("gold", "nope")


def test_write_creates_a_table_partitioned_by_day() -> None:
    done = delta.replace_days("gold", "t", rows((MONDAY, "a", 1.0), (TUESDAY, "b", None)), MONDAY, TUESDAY)
    assert done == delta.Replaced(version=0, rows=2, changed=True)
    assert DeltaTable(str(delta.table_path("gold", "t"))).metadata().partition_columns == ["flight_date"]
    assert delta.read_days("gold", "t", TUESDAY, TUESDAY).rows(named=True) == [
        {"flight_date": TUESDAY, "key": "b", "value": None}
    ]


def test_replacing_days_leaves_the_others() -> None:
    delta.replace_days("gold", "t", rows((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0), (TUESDAY, "c", 3.0)), MONDAY, TUESDAY)
    delta.replace_days("gold", "t", rows((TUESDAY, "d", 4.0)), TUESDAY, TUESDAY)
    assert sorted(delta.read_days("gold", "t", MONDAY, WEDNESDAY)["key"]) == ["a", "d"]
    delta.replace_days("gold", "t", rows(), MONDAY, MONDAY)
    assert delta.read_days("gold", "t", MONDAY, WEDNESDAY)["key"].to_list() == ["d"]


def test_the_same_content_makes_no_version() -> None:
    content = rows((MONDAY, "a", 1.0), (MONDAY, "b", None), (TUESDAY, "c", 3.0))
    delta.replace_days("gold", "t", content, MONDAY, TUESDAY)
    assert delta.replace_days("gold", "t", content.reverse(), MONDAY, TUESDAY) == delta.Replaced(0, 3, False)
    # Types are the table's: an integer column in the frame does not make it different.
    whole = rows((TUESDAY, "c", 3.0)).with_columns(pl.col("value").cast(pl.Int64))
    assert not delta.replace_days("gold", "t", whole, TUESDAY, TUESDAY).changed
    assert delta.version("gold", "t") == 0


def test_rows_outside_the_range_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows lie outside 2020-06-01 to 2020-06-01"):
        delta.replace_days("gold", "t", rows((TUESDAY, "a", 1.0)), MONDAY, MONDAY)
    assert not delta.exists("gold", "t")


def test_older_version_can_be_read() -> None:
    delta.replace_days("gold", "t", rows((MONDAY, "a", 1.0)), MONDAY, MONDAY)
    delta.replace_days("gold", "t", rows((MONDAY, "b", 1.0)), MONDAY, MONDAY)
    assert delta.read_days("gold", "t", MONDAY, MONDAY, version=0)["key"].to_list() == ["a"]


def test_concurrent_nights_all_arrive() -> None:
    days = [date(2020, 7, day) for day in range(1, 9)]
    threads = [
        threading.Thread(target=delta.replace_days, args=("gold", "t", rows((day, "a", 1.0)), day, day)) for day in days
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(delta.read_all("gold", "t")["flight_date"]) == days


def test_append_adds() -> None:
    delta.append("gold", "ledger", rows((MONDAY, "a", 1.0)))
    assert delta.append("gold", "ledger", rows((MONDAY, "a", 1.0))) == 1
    assert delta.read_all("gold", "ledger", columns=["key"])["key"].to_list() == ["a", "a"]


LINES = st.lists(
    st.tuples(st.sampled_from([MONDAY, TUESDAY]), st.text(max_size=3), st.none() | st.floats(allow_nan=False)),
    max_size=6,
)


@given(lines=LINES, data=st.data())
def test_hash_ignores_order(lines: list[tuple[date, str, float | None]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(lines))
    columns = data.draw(st.permutations(["flight_date", "key", "value"]))
    assert delta.content_hash(rows(*lines)) == delta.content_hash(rows(*shuffled).select(columns))


@pytest.mark.parametrize(
    "other",
    [
        rows((MONDAY, "a", 1.0)),
        rows((MONDAY, "a", 1.0), (MONDAY, "a", 1.0), (MONDAY, "a", 1.0)),
        rows((MONDAY, "a", 1.0), (MONDAY, "a", None)),
        rows((MONDAY, "a", 1.0), (MONDAY, "a", 1.0000000000000002)),
        rows((MONDAY, "a", 1.0), (MONDAY, "a", 1.0)).rename({"value": "worth"}),
        rows((MONDAY, "a", 1.0), (MONDAY, "a", 1.0)).cast({"value": pl.Float32}),
    ],
    ids=["fewer", "more", "null", "last bit", "name", "type"],
)
def test_hash_sees_differences(other: pl.DataFrame) -> None:
    assert delta.content_hash(rows((MONDAY, "a", 1.0), (MONDAY, "a", 1.0))) != delta.content_hash(other)


def test_hash_tells_empty_from_null() -> None:
    schema = {"key": pl.String}
    assert delta.content_hash(pl.DataFrame({"key": [""]}, schema)) != delta.content_hash(
        pl.DataFrame({"key": [None]}, schema)
    )
