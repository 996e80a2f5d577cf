import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.features import point_in_time
from include.features.point_in_time import FeatureTable, UnfitInputError
from include.lake import delta

INSTANT = pl.Datetime("us", "UTC")
NEW_YORK = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)


def at(hour: float, day: int = 1) -> datetime:
    return datetime(2020, 6, day, tzinfo=UTC) + timedelta(hours=hour)


def spine(*rows: tuple[str | None, datetime | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"plane": pl.String, "timestamp": INSTANT}, orient="row")


def facts(*rows: tuple[str | None, datetime | None, datetime | None, float | None]) -> pl.LazyFrame:
    """Plane, when it was so, when that became known, and the value."""
    schema = {"plane": pl.String, "at": INSTANT, "known": INSTANT, "delay": pl.Float64}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def delays(rows: pl.LazyFrame, **changes: Any) -> FeatureTable:
    given = {"entity": ("plane",), "event_time": "at", "known_from": "known", "columns": ("delay",)} | changes
    return FeatureTable("f", rows, **given)


def values(found: pl.DataFrame) -> list[Any]:
    return found["f__delay"].to_list()


def looked_up(rows: pl.LazyFrame, *cut_offs: datetime, exact: bool = True, **changes: Any) -> list[Any]:
    """The delays of plane ``a`` at some moments."""
    asked = spine(*(("a", cut_off) for cut_off in cut_offs))
    return values(point_in_time.join(asked, [delays(rows, **changes)], allow_exact_matches=exact))


def test_the_latest_event_that_is_known_counts() -> None:
    rows = facts(
        ("a", at(2), at(2), 2.0), ("a", at(1), at(1), 1.0), ("a", at(3), at(3), 3.0), ("b", at(2.5), at(2.5), 9.0)
    )
    assert looked_up(rows, at(0.5), at(1.5), at(2.75), at(99)) == [None, 1.0, 2.0, 3.0]


def test_a_late_fact_counts_from_its_arrival() -> None:
    rows = facts(("a", at(1), at(1), 1.0), ("a", at(2), at(10), 2.0), ("b", at(5), at(5), 9.0))
    assert looked_up(rows, at(5), at(9.99), at(10)) == [1.0, 1.0, 2.0]


def test_a_late_fact_that_is_overtaken_never_counts() -> None:
    """What arrives last is not what is true last: here a join on the time of arrival alone gives 1."""
    rows = facts(("a", at(2), at(2), 2.0), ("a", at(1), at(10), 1.0))
    assert looked_up(rows, at(1.5), at(5), at(11)) == [None, 2.0, 2.0]


def test_a_correction_counts_from_its_arrival() -> None:
    rows = facts(("a", at(1), at(6), 1.5), ("a", at(1), at(1), 1.0), ("a", at(1), at(8), 1.75))
    assert looked_up(rows, at(5), at(6), at(7), at(8)) == [1.0, 1.5, 1.5, 1.75]


def test_a_fact_known_ahead_counts_from_its_event() -> None:
    """Of two plans for the same moment, the one that was known last counts."""
    rows = facts(("a", at(1), at(0), 1.0), ("a", at(9), at(3), 8.0), ("a", at(9), at(2), 9.0))
    assert looked_up(rows, at(0.5), at(5), at(9)) == [None, 1.0, 8.0]


def test_without_a_time_of_arrival_the_event_counts_at_once() -> None:
    rows = facts(("a", at(2), at(51), 2.0), ("a", at(1), at(50), 1.0))
    assert looked_up(rows, at(1), at(3), known_from=None) == [1.0, 2.0]


def test_at_the_cut_off_or_before_it() -> None:
    rows = facts(("a", at(1), at(1), 1.0), ("a", at(1.5), at(2), 2.0))
    assert looked_up(rows, at(2), exact=True) == [2.0]
    assert looked_up(rows, at(2), exact=False) == [1.0]
    just_after = at(2) + timedelta(microseconds=1)
    assert looked_up(rows, just_after, exact=False) == [2.0]


def test_time_to_live_runs_from_the_event() -> None:
    rows = facts(("a", at(1), at(3), 1.0))
    assert looked_up(rows, at(3), at(5), at(5.01), time_to_live=4 * HOUR) == [1.0, 1.0, None]
    # An expired value is not replaced by one that is older still.
    rows = facts(("a", at(1), at(1), 1.0), ("a", at(0), at(4), 0.0))
    assert looked_up(rows, at(6), time_to_live=4 * HOUR) == [None]


def test_a_null_stays_null() -> None:
    rows = facts(("a", at(1), at(1), 1.0), ("a", at(2), at(2), None))
    assert looked_up(rows, at(1), at(3)) == [1.0, None]


def test_each_spine_row_is_kept_once_and_in_order() -> None:
    asked = spine(("b", at(3)), ("a", at(9)), ("nobody", at(5)), ("a", at(2)), ("b", at(3)), ("a", at(9)))
    asked = asked.with_columns(label=pl.int_range(6))
    rows = facts(("a", at(1), at(1), 1.0), ("a", at(4), at(4), 4.0), ("b", at(3), at(3), 3.0))
    found = point_in_time.join(asked, [delays(rows)], allow_exact_matches=True)
    assert found.drop("f__delay").equals(asked)
    assert values(found) == [3.0, 4.0, None, 1.0, 3.0, 4.0]


def test_several_tables_each_by_its_own_entity() -> None:
    asked = pl.DataFrame(
        {"plane": ["a", "b"], "airport": [1, 2], "timestamp": [at(5), at(5)]}, schema_overrides={"timestamp": INSTANT}
    )
    weather = pl.LazyFrame(
        {"airport": [2, 1], "at": [at(1), at(1)], "rain": [0.5, 0.25]}, schema_overrides={"at": INSTANT}
    )
    routes = pl.LazyFrame(
        {"plane": ["a", "b"], "airport": [2, 2], "at": [at(1), at(2)], "flights": [7, 8]},
        schema_overrides={"at": INSTANT},
    )
    found = point_in_time.join(
        asked,
        [
            delays(facts(("a", at(1), at(1), 1.0))),
            FeatureTable("weather", weather, ("airport",), "at"),
            FeatureTable("routes", routes, ("airport", "plane"), "at"),
        ],
        allow_exact_matches=True,
    )
    assert found.drop(asked.columns).rows(named=True) == [
        {"f__delay": 1.0, "weather__at": at(1), "weather__rain": 0.25, "routes__at": None, "routes__flights": None},
        {"f__delay": None, "weather__at": at(1), "weather__rain": 0.5, "routes__at": at(2), "routes__flights": 8},
    ]


def test_empty_sides() -> None:
    assert looked_up(facts(), at(1)) == [None]
    empty = point_in_time.join(spine(), [delays(facts(("a", at(1), at(1), 1.0)))], allow_exact_matches=True)
    assert empty.schema == {"plane": pl.String, "timestamp": INSTANT, "f__delay": pl.Float64}


def test_instants_are_compared_whatever_their_zone() -> None:
    """On 2013-11-03 New York's clocks show half past one twice; the instants are an hour apart."""
    first, second = (datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold).astimezone(UTC) for fold in (0, 1))
    asked = spine(("a", first), ("a", second)).with_columns(pl.col("timestamp").dt.convert_time_zone(NEW_YORK.key))
    assert asked["timestamp"].dt.hour().to_list() == [1, 1]
    rows = facts(("a", first, first, 1.0), ("a", second, second, 2.0))
    assert values(point_in_time.join(asked, [delays(rows)], allow_exact_matches=True)) == [1.0, 2.0]


def test_a_day_to_live_has_24_hours() -> None:
    """The night of 2013-11-03 has 25 in New York: a day after midnight its clocks show eleven in the evening."""
    midnight = datetime(2013, 11, 3, tzinfo=NEW_YORK).astimezone(UTC)
    eleven = datetime(2013, 11, 3, 23, tzinfo=NEW_YORK).astimezone(UTC)
    rows = facts(("a", midnight, midnight, 1.0))
    just_after = eleven + timedelta(microseconds=1)
    assert looked_up(rows, eleven, just_after, time_to_live=timedelta(days=1)) == [1.0, None]


def test_reads_a_table_of_the_lake_at_a_version(home: Path) -> None:
    rows = facts(("a", at(1), at(1), 1.0)).with_columns(day=pl.col("at").dt.date()).collect()
    delta.append("gold", "delays", rows)
    delta.append("gold", "delays", rows.with_columns(pl.lit(at(2)).cast(INSTANT).alias("at"), delay=pl.lit(2.0)))
    assert looked_up(delta.scan("gold", "delays"), at(3)) == [2.0]
    assert looked_up(delta.scan("gold", "delays", version=0), at(3)) == [1.0]


ONE = facts(("a", at(1), at(1), 1.0))
ASKED = spine(("a", at(5)))


@pytest.mark.parametrize(
    ("asked", "table", "message"),
    [
        (ASKED.drop("plane"), delays(ONE), r"the spine has no column plane; it has timestamp"),
        (ASKED.drop("timestamp"), delays(ONE), r"the spine has no column timestamp"),
        (ASKED, delays(ONE, columns=("dealy",)), r"table f has no column dealy; it has plane, at, known, delay"),
        (ASKED, delays(ONE, event_time="when"), r"table f has no column when"),
        (ASKED, delays(ONE, known_from="night"), r"table f has no column night"),
        (ASKED, delays(ONE, entity=()), r"table f names no entity"),
        (ASKED, delays(ONE, time_to_live=timedelta(0)), r"table f: time_to_live is 0:00:00"),
        (
            ASKED.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
            delays(ONE),
            r"timestamp of the spine .* no time zone.*replace_time_zone",
        ),
        (ASKED.cast({"timestamp": pl.Date}), delays(ONE), r"timestamp of the spine is Date.*"),
        (
            ASKED.cast({"timestamp": pl.Datetime("ns", "UTC")}),
            delays(ONE),
            r"timestamp of the spine .* nanoseconds.*cast_time_unit",
        ),
        (ASKED, delays(ONE.with_columns(known=pl.lit("2020"))), r"known of table f is String"),
        (ASKED, delays(ONE.with_columns(plane=pl.lit(1))), r"plane is String in the spine and Int32 in table f"),
        (
            ASKED.with_columns(plane=pl.lit(1.5)),
            delays(ONE.with_columns(plane=pl.lit(1.5))),
            r"plane is Float64.*no key",
        ),
        (spine(("a", at(1)), (None, at(1))), delays(ONE), r"the spine has 1 rows without plane"),
        (spine(("a", None)), delays(ONE), r"the spine has 1 rows without timestamp"),
        (ASKED, delays(facts((None, at(1), at(1), 1.0))), r"table f has 1 rows without plane"),
        (ASKED, delays(facts(("a", None, at(1), 1.0))), r"table f has 1 rows without at"),
        (ASKED, delays(facts(("a", at(1), None, 1.0))), r"table f has 1 rows without known"),
        (
            ASKED,
            delays(facts(("a", at(1), at(2), 1.0), ("b", at(1), at(2), 1.0), ("a", at(1), at(2), 2.0))),
            r"table f has more than one row for plane=a, at=2020-06-01 01:00:00\+00:00, known=.* \(2 such rows",
        ),
        (ASKED.with_columns(f__delay=1), delays(ONE), r"two columns f__delay"),
    ],
)
def test_unfit_input_is_refused(asked: pl.DataFrame, table: FeatureTable, message: str) -> None:
    with pytest.raises(UnfitInputError, match=message):
        point_in_time.join(asked, [table], allow_exact_matches=True)


# A fact as the oracle sees it: entity, event time, time of arrival, value.
type Fact = tuple[str, datetime, datetime, float | None]


def oracle(
    asked: Sequence[tuple[str, datetime]], rows: Sequence[Fact], exact: bool, time_to_live: timedelta | None
) -> list[float | None]:
    """What each spine row must get, by looking at every fact of its entity."""
    by_entity: dict[str, list[Fact]] = defaultdict(list)
    for row in rows:
        by_entity[row[0]].append(row)
    answers = []
    for entity, cut_off in asked:
        latest, answer = None, None
        for _, event, known, value in by_entity[entity]:
            counts = max(event, known) <= cut_off if exact else max(event, known) < cut_off
            if counts and (latest is None or (event, known) > latest):
                latest, answer = (event, known), value
        expired = latest is not None and time_to_live is not None and cut_off - latest[0] > time_to_live
        answers.append(None if expired else answer)
    return answers


def answers(asked: Sequence[tuple[str, datetime]], rows: Sequence[Fact], exact: bool, **changes: Any) -> list[Any]:
    return values(point_in_time.join(spine(*asked), [delays(facts(*rows), **changes)], allow_exact_matches=exact))


# Where something may go wrong: midnights of both zones, an hour that clocks skip and one that they show twice.
TURNS = [
    datetime(2013, 3, 9, tzinfo=UTC),
    datetime(2013, 3, 10, tzinfo=NEW_YORK),
    datetime(2013, 3, 10, 3, tzinfo=NEW_YORK),
    datetime(2013, 11, 3, tzinfo=NEW_YORK),
    datetime(2013, 11, 3, 1, tzinfo=NEW_YORK, fold=0),
    datetime(2013, 11, 3, 1, tzinfo=NEW_YORK, fold=1),
    datetime(2013, 11, 4, tzinfo=UTC),
]
STEPS = [timedelta(0), timedelta(microseconds=1), -timedelta(microseconds=1), HOUR, -HOUR, timedelta(days=1)]
MOMENTS = st.builds(lambda turn, step: turn.astimezone(UTC) + step, st.sampled_from(TURNS), st.sampled_from(STEPS))
ENTITIES = st.sampled_from(["a", "b", "c"])
FACTS = st.lists(
    st.tuples(ENTITIES, MOMENTS, MOMENTS, st.none() | st.integers(0, 99).map(float)),
    max_size=12,
    unique_by=lambda fact: fact[:3],
)


@given(
    asked=st.lists(st.tuples(ENTITIES, MOMENTS), max_size=8),
    rows=FACTS,
    exact=st.booleans(),
    time_to_live=st.sampled_from([None, HOUR, timedelta(days=1), timedelta(days=240)]),
)
def test_agrees_with_the_oracle(
    asked: list[tuple[str, datetime]], rows: list[Fact], exact: bool, time_to_live: timedelta | None
) -> None:
    assert answers(asked, rows, exact, time_to_live=time_to_live) == oracle(asked, rows, exact, time_to_live)
    at_once = list({row[:2]: (row[0], row[1], row[1], row[3]) for row in rows}.values())
    assert answers(asked, at_once, exact, known_from=None) == oracle(asked, at_once, exact, None)


@pytest.mark.parametrize("exact", [True, False])
def test_agrees_with_the_oracle_on_100_000_rows(exact: bool) -> None:
    """Ties in plenty: times are full quarters of an hour; a third of the facts is late, some are known ahead."""
    chance = random.Random(20130101)
    quarters = [at(n / 4) for n in range(4 * 24 * 30)]

    def fact() -> Fact:
        event = chance.choice(quarters)
        delay = chance.choice([0, 0, 0, 0, chance.randrange(-8, 200), chance.randrange(200)])
        return f"p{chance.randrange(2000)}", event, event + delay * HOUR / 4, chance.choice([None, chance.random()])

    rows = list({row[:3]: row for row in (fact() for _ in range(40_000))}.values())
    asked = [(f"p{chance.randrange(2100)}", chance.choice(quarters)) for _ in range(50_000)]
    life = timedelta(days=6)
    assert answers(asked, rows, exact, time_to_live=life) == oracle(asked, rows, exact, life)
