"""Columns of too many values to list: hashed, or told by what became of earlier rows. The same on both engines, equal
to plain Python, and never by a label that was not known by then."""

from __future__ import annotations

import datetime
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.core.partitions import Partitions
from include.core.settings import EMBEDDED, HOME, SPARK
from include.core.settings import settings as of_installation
from include.features.hashing import bucket
from include.local import compare_engines
from tests.engines.macros import RefusedError, written

Ask = Callable[[str], Any]
Engines = tuple[Ask, Ask]
FEW = settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False)
FIRST = date(2024, 1, 10)


def literal(value: Any, type_: str) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"cast({'null' if value is None else f"'{text}'"} as {type_})"


def table(rows: Sequence[Sequence[Any]], **types: str) -> str:
    """``rows`` in SQL, columns in the order of ``types``; without rows a table that has none."""
    columns = ", ".join(f"cast(null as {type_}) as {name}" for name, type_ in types.items())
    if not rows:
        return f"(select {columns} where false)"
    lines = ["(" + ", ".join(map(literal, row, types.values())) + ")" for row in rows]
    return f"(select * from values {', '.join(lines)} as t ({', '.join(types)}))"


def answer(engines: Engines, query: str) -> list[str]:
    """What both engines answer."""
    spark, embedded = (ask(query) for ask in engines)
    assert embedded == spark, query
    assert not str(spark).startswith("error"), f"{query}: {spark}"
    return list(spark)


# --- hashed


@FEW
@given(
    texts=st.lists(st.none() | st.text(st.characters(exclude_characters="\0"), max_size=6), min_size=1, max_size=9),
    numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    days=st.lists(st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)), min_size=1, max_size=3),
    n=st.integers(2, 5000),
)
def test_a_bucket_is_the_same_in_sql_and_in_python(
    engines: Engines, texts: list[str | None], numbers: list[int | None], days: list[date | None], n: int
) -> None:
    """So a model that is served from Python sees what it was trained on."""
    for type_, values in (("string", texts), ("bigint", numbers), ("date", days)):
        of = table([[value] for value in values], v=type_)
        found = answer(engines, f"select {written('hashed', 'v', n)} as b from {of}")
        assert found == sorted(repr((bucket(value, n),)) for value in values)  # type: ignore[arg-type]


# --- target statistics


class Outcome(NamedTuple):
    day: date
    ingestion_date: date
    value: str | None
    label: float | None


Wanted = tuple[date, str | None]


class Case(NamedTuple):
    """The numbers of a use case, and the nights of a run."""

    nights: tuple[date, date]
    look_back_days: int
    label_days: int
    horizon_days: int
    prior_rows: int

    def knew(self, outcome: Outcome, day: date) -> bool:
        """Whether the label of ``outcome`` may tell about a row of ``day``."""
        made = day - timedelta(self.horizon_days)
        ripe = outcome.day + timedelta(self.label_days)
        return (
            outcome.label is not None
            and outcome.day < day
            and max(ripe, outcome.ingestion_date) <= made
            and (made - ripe).days < self.look_back_days
        )


def by_hand(case: Case, wanted: Sequence[Wanted], outcomes: Sequence[Outcome]) -> list[str]:
    """The rows of ``target_statistics``, worked out one by one."""
    found = []
    for day, value in {one for one in wanted if one[1] is not None}:
        known = [one for one in outcomes if case.knew(one, day)]
        own = [one.label for one in known if one.value == value]
        mean = None
        if known:
            of_all = sum(one.label for one in known) / len(known)  # type: ignore[misc]
            mean = (sum(own) + case.prior_rows * of_all) / (len(own) + case.prior_rows)  # type: ignore[arg-type]
        found.append(repr((day, value, mean, len(own), max((one.ingestion_date for one in known), default=None))))
    return sorted(found)


def in_sql(case: Case, wanted: Sequence[Wanted], outcomes: Sequence[Outcome], **more: Any) -> str:
    numbers = case._asdict()
    statistics = written(
        *("target_statistics", table(wanted, d="date", v="string")),
        table(outcomes, d="date", ingestion_date="date", v="string", y=more.pop("type_", "double")),
        **{"by": "v", "day": "d", "label": "y"} | numbers | more,
    )
    return f"select * from ({statistics})"


VALUES = (None, "a", "a", "b", "c")


def made_up(seed: int) -> list[Outcome]:
    """Labels of two weeks around the nights, so many that each limit has some on both sides; of few seeds none."""
    chance = random.Random(seed)
    days = [FIRST + timedelta(chance.randint(-10, 4)) for _ in range(0 if seed % 10 == 9 else 24)]
    return [
        Outcome(
            day,
            day + timedelta(chance.choice((0, 0, 0, 1, 2, 5))),
            chance.choice(VALUES),
            chance.choice((None, *(n / 4 for n in range(-8, 9)))),
        )
        for day in days
    ]


# Many rows that differ in every way at once: lists that are drawn one by one are mostly short, and show little.
OUTCOMES = st.integers(0, 10**6).map(made_up)
CASES = st.builds(
    Case,
    nights=st.integers(0, 3).map(lambda n: (FIRST, FIRST + timedelta(n))),
    look_back_days=st.integers(1, 6),
    label_days=st.integers(0, 3),
    horizon_days=st.integers(0, 2),
    prior_rows=st.sampled_from([1, 20]),
)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Case, list[Wanted]]:
    """A case, and rows to predict on the days that its run is for."""
    case = draw(CASES)
    ahead = st.integers(0, (case.nights[1] - case.nights[0]).days)
    days = ahead.map(lambda n: case.nights[0] + timedelta(n + case.horizon_days))
    return case, draw(st.lists(st.tuples(days, st.sampled_from((*VALUES, "new"))), min_size=2, max_size=6))


@FEW
@given(asked=asked(), outcomes=OUTCOMES)
def test_statistics_are_those_that_are_worked_out_by_hand(
    engines: Engines, asked: tuple[Case, list[Wanted]], outcomes: list[Outcome]
) -> None:
    """Late labels, unripe ones, rows without a label or a value, values without a row, look-backs of any length."""
    assert answer(engines, in_sql(*asked, outcomes)) == by_hand(*asked, outcomes)


@FEW
@given(asked=asked(), outcomes=OUTCOMES, others=OUTCOMES)
def test_a_label_that_was_not_known_by_then_changes_nothing(
    engines: Engines, asked: tuple[Case, list[Wanted]], outcomes: list[Outcome], others: list[Outcome]
) -> None:
    """Not one that comes late, nor a row's own, nor one of its day, nor one that no row to predict belongs to."""
    case, wanted = asked
    day = wanted[0][0]
    of_day = [one for one in wanted if one[0] == day]
    known = [one for one in outcomes if case.knew(one, day)]
    unknown = [one for one in (*outcomes, *others) if not case.knew(one, day)]
    turned = [one._replace(label=None if one.label is None else 7 - one.label) for one in unknown]
    assert answer(engines, in_sql(case, of_day, known + turned)) == answer(engines, in_sql(case, of_day, known))


NIGHT = (date(2024, 1, 31), date(2024, 1, 31))
PLAIN = Case(NIGHT, look_back_days=28, label_days=0, horizon_days=1, prior_rows=20)


def means(engines: Engines, outcomes: Sequence[Outcome], *values: str, **more: Any) -> dict[str, float]:
    """The statistic of each of ``values`` on the first of February."""
    wanted = [(date(2024, 2, 1), value) for value in values]
    answered = answer(engines, in_sql(PLAIN, wanted, outcomes, **more))
    return {row[1]: row[2] for row in (eval(one, {"datetime": datetime}) for one in answered)}


def january(*of: tuple[str, float]) -> list[Outcome]:
    return [Outcome(date(2024, 1, 20), date(2024, 1, 20), value, label) for value, label in of]


def test_a_new_value_has_the_mean_of_all(engines: Engines) -> None:
    """scikit-learn-contrib/category_encoders#235: it had none, and the model took it for missing."""
    assert means(engines, january(("a", 1), ("b", 0)), "new") == {"new": 0.5}


def test_one_label_tells_a_little_of_a_rare_value_and_many_tell_all_of_a_frequent_one(engines: Engines) -> None:
    """scikit-learn-contrib/category_encoders#275, #109: the only row of a value told its label, or nothing at all, and
    the weight that was asked for was not the one that was taken."""
    outcomes = january(("rare", 1), *[("often", 1)] * 200, *[("other", 0)] * 199)
    found = means(engines, outcomes, "rare", "often")
    prior = 201 / 400
    assert found == {"rare": (1 + 20 * prior) / 21, "often": (200 + 20 * prior) / 220}
    assert means(engines, outcomes, "rare", prior_rows=1) == {"rare": (1 + prior) / 2}


def test_no_prior_knows_the_label_of_the_row(engines: Engines) -> None:
    """bijay-odyssey/edaprep#36: the mean of all, to which a rare value is drawn, was that of the row itself, too."""
    own = Outcome(date(2024, 2, 1), date(2024, 2, 1), "single", 1)
    before = january(("a", 1), ("b", 0))
    assert means(engines, [*before, own], "single") == means(engines, [*before, own._replace(label=0)], "single")


def test_rows_of_a_day_share_their_statistic_whatever_their_labels_and_their_order(engines: Engines) -> None:
    """NVIDIA/cuml#4734: where a row is left out of the mean of its fold, the mean tells its label.
    scikit-learn-contrib/category_encoders#351: of two rows alike, the order decided."""
    of_day = [Outcome(date(2024, 2, 1), date(2024, 2, 1), "a", label) for label in (1, 0, 0)]
    before = january(("a", 1), ("a", 0), ("b", 0))
    assert len(answer(engines, in_sql(PLAIN, [(date(2024, 2, 1), "a")] * 3, before + of_day))) == 1
    assert means(engines, before + of_day, "a") == means(engines, [*reversed(of_day), *reversed(before)], "a")


def test_by_default_a_label_of_the_evening_before_counts_and_one_of_the_day_does_not(engines: Engines) -> None:
    """alteryx/featuretools#2227: windows over the label ended with the row itself, unless a gap was asked for."""
    eve, day = (Outcome(one, one, "a", 1) for one in (date(2024, 1, 31), date(2024, 2, 1)))
    before = january(("b", 0))
    assert means(engines, [*before, day], "a") == means(engines, before, "a") == {"a": 0.0}
    assert means(engines, [*before, eve], "a")["a"] > 0.5


def test_each_class_has_its_share(engines: Engines) -> None:
    outcomes = [one._replace(label=label) for one, label in zip(january(*[("a", 0)] * 4), "xxy?", strict=True)]
    outcomes = [one._replace(label=None if one.label == "?" else one.label) for one in outcomes]  # type: ignore[comparison-overlap]
    wanted = [(date(2024, 2, 1), "a")]
    found = answer(engines, in_sql(PLAIN, wanted, outcomes, type_="string", classes={"x": "'x'", "y": "'y'"}))
    shares = ((2 + 20 * (2 / 3)) / 23, (1 + 20 * (1 / 3)) / 23)
    assert found == [repr((date(2024, 2, 1), "a", *shares, 3, date(2024, 1, 20)))]


@pytest.mark.parametrize("odd", [{"look_back_days": 0}, {"label_days": -1}, {"horizon_days": -1}, {"prior_rows": 0}])
def test_a_number_that_would_leak_or_say_nothing_is_refused(odd: dict[str, int]) -> None:
    with pytest.raises(RefusedError, match="target_statistics by v: look_back_days and prior_rows must be positive"):
        in_sql(PLAIN._replace(**odd), [], [])


# --- as dbt has them

UNIT_TEST = """
unit_tests:
  - name: each_aircraft_is_told_by_what_became_of_it_before
    model: int_flight_delays__many_values
    overrides:
      vars: {from: "2013-06-29", to: "2013-06-29"}
      macros: {in_nights: "flight_date = date'2013-06-30'"}
    given:
      - input: ref('int_flight_delays__population')
        format: sql
        rows: |
          select flight_id, date'2013-06-30' as flight_date, aircraft, date'2013-06-20' as ingestion_date
          from values ('often', 'N1'), ('new', 'N9'), ('not planned', null) as flights (flight_id, aircraft)
      - input: ref('fct_flights')
        format: sql
        rows: |
          select
            cast(flight_date as date) as flight_date, aircraft, is_disrupted,
            cast(ingestion_date as date) as ingestion_date
          from values
            ('2013-06-29', 'N1', true, '2013-06-29'), ('2013-06-02', 'N1', true, '2013-06-05'),
            ('2013-06-10', 'N2', false, '2013-06-10'), ('2013-06-10', null, false, '2013-06-10'),
            ('2013-06-28', 'N1', false, '2013-06-30'), -- came too late
            ('2013-06-30', 'N1', false, '2013-06-30'), -- of the day itself
            ('2013-06-01', 'N1', false, '2013-06-01') -- too long ago
          as flights (flight_date, aircraft, is_disrupted, ingestion_date)
    expect:
      rows:
        - flight_id: often
          aircraft_disrupted_mean_28d: 0.6428571428571429
          aircraft_labels_28d: 2
          aircraft_bucket: "%(N1)s"
          known_from: "2013-06-29"
        - flight_id: new
          aircraft_disrupted_mean_28d: 0.5
          aircraft_labels_28d: 0
          aircraft_bucket: "%(N9)s"
          known_from: "2013-06-29"
        - flight_id: not planned
          aircraft_disrupted_mean_28d: null
          aircraft_labels_28d: null
          aircraft_bucket: null
          known_from: "2013-06-20"
"""


def example() -> str:
    """The model that the guide shows."""
    page = (HOME / "docs" / "change-a-feature.md").read_text()
    (found,) = [part.split("```")[0] for part in page.split("```sql\n")[1:]]
    return found


@pytest.mark.full
@pytest.mark.integration
def test_the_example_of_the_guide_passes_a_unit_test_of_dbt_on_both_engines(home: Path) -> None:
    folder = home / "repository"
    shutil.copytree(HOME / "dbt_project", folder / "dbt_project")
    models = folder / "dbt_project" / "models" / "intermediate" / "flight_delays"
    (models / "int_flight_delays__many_values.sql").write_text(example())
    buckets = {aircraft: bucket(aircraft, 64) for aircraft in ("N1", "N9")}
    (models / "_many_values.yml").write_text(UNIT_TEST % buckets)
    night = Partitions(date(2013, 6, 29), date(2013, 6, 29))
    for engine in (EMBEDDED, SPARK):
        own = compare_engines.beside(of_installation(), engine, home)
        with compare_engines.running(own) as environment:
            here = own.model_copy(update={"home": folder})
            compare_engines.dbt(here, environment, night, "", "test", "--select", "int_flight_delays__many_values")
            assert "1 of 1 PASS" in (own.log / "dbt.log").read_text()
