"""A fault of one column shows on its first day, by its name and its kind; sound days pass, and so does a short past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from include.contracts.use_case import Feature, UseCase
from include.quality import faults, profiles
from include.quality.profiles import DAY
from tests.ml.conftest import toy_case

FIRST, DAYS, ROWS = date(2019, 6, 1), 200, 150
KNOWN = FIRST + timedelta(140)

CASE = toy_case(
    task=replace(toy_case().task, baseline="flights"),
    context=(),
    features=(
        Feature("temperature"),
        Feature("hour"),
        Feature("miles"),
        Feature("late_share"),
        Feature("weekday"),
        Feature("flights"),
        Feature("daylight"),
        Feature("network_share"),
        Feature("crew"),
        Feature("fuel"),
        Feature("was_late"),
        Feature("carrier", "categorical", vocabulary=tuple("ABCDEF")),
    ),
)


def rows(day: date) -> pl.DataFrame:
    """A day of flights: weather of three airports, a schedule that a weekday has, shares and numbers that scatter."""
    at, random = (day - FIRST).days, np.random.default_rng(day.toordinal())
    weekend = day.isoweekday() > 5
    airport, route, carrier = (random.integers(0, number, ROWS) for number in (3, 30, 6))
    season = 60 + 25 * np.sin(at / 58) + random.normal(0, 4)
    late = np.random.default_rng((day.toordinal(), 1)).beta(2, 8, 6)
    found = pl.DataFrame(
        {
            "coin_id": [f"{day}-{n}" for n in range(ROWS)],
            "flight_date": [day] * ROWS,
            "temperature": (season + random.normal(0, 2, 3))[airport],
            "hour": random.choice(range(5, 23) if not weekend else range(7, 21), ROWS),
            "miles": np.random.default_rng(5).integers(100, 2600, 30)[route],
            "late_share": late[carrier],
            "weekday": [day.isoweekday()] * ROWS,
            "flights": random.poisson(40, ROWS),
            "daylight": at + random.normal(0, 0.3, ROWS),
            "network_share": [float(np.random.default_rng((day.toordinal(), 2)).beta(20, 80))] * ROWS,
            "carrier": np.array(list("ABCDEF"))[np.minimum(carrier, random.integers(2, 6, ROWS))],
        }
    )
    more = np.random.default_rng((day.toordinal(), 3))
    return found.with_columns(
        # Two that lie where each other lies, and go with another column each.
        crew=(pl.col("flights") - 40) / 6 + pl.Series(more.normal(more.normal(0, 0.3), 1, ROWS)),
        fuel=(pl.col("miles") - 1350) / 750 + pl.Series(more.normal(more.normal(0, 0.3), 1, ROWS)),
        was_late=pl.Series((more.random(ROWS) < more.uniform(0.1, 0.4)) * (1 + (more.random(ROWS) < 0.01))),
    )


def of(frames: list[pl.DataFrame], case: UseCase = CASE) -> pl.DataFrame:
    found = profiles.of_days(case, case.features, pl.concat(frames).lazy())
    return pl.concat([pl.DataFrame(schema=profiles.SCHEMA), found], how="diagonal")


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    """The profiles of all days, with how far each is from those before it."""
    found = of([rows(FIRST + timedelta(n)) for n in range(DAYS)])
    return faults.judge(found, set(found[DAY]), (), {}).profiles


def judged(
    year: pl.DataFrame,
    *broken: pl.DataFrame,
    accepted: faults.Accepted | None = None,
    since: date = FIRST,
    units: Mapping[str, str] | None = None,
) -> faults.Judged:
    """What is said of days that are ``broken``, beside the sound ones before them."""
    found = of(list(broken))
    days = set(found[DAY])
    past = year.filter((pl.col(DAY) >= since) & ~pl.col(DAY).is_in(days) & (pl.col(DAY) < max(days)))
    together = pl.concat([past, found], how="diagonal").sort(DAY, maintain_order=True)
    return faults.judge(together, days, days, accepted or {}, units)


def named(judged: faults.Judged) -> dict[str, str]:
    return {fault.feature: fault.kind for fault in judged.faults}


def test_no_sound_day_is_stopped(year: pl.DataFrame) -> None:
    days = set(year[DAY])
    found = faults.judge(year.select(profiles.MEASURED).pipe(_unmeasured), days, days, {})
    assert [fault.said for fault in found.faults] == []
    assert found.scores.height == DAYS


def _unmeasured(found: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=profiles.SCHEMA), found], how="diagonal")


BROKEN: Mapping[str, tuple[pl.Expr, str]] = {
    "°F to °C": ((pl.col("temperature") - 32) / 1.8, "another unit or scale, as if from °F to °C"),
    "miles to km": (pl.col("miles") * 1.609344, "miles to kilometres"),
    "hour to minute": (
        pl.col("hour") * 60,
        "another unit or scale, as if from hours to minutes",
    ),
    "share to percent": (pl.col("network_share") * 100, "another unit or scale, as if from shares to percent"),
    "a weekday's index": (pl.col("weekday") % 7 + 1, "other values"),
    "one value": (pl.lit(40).alias("flights"), "constant"),
    "one airport's": (pl.col("temperature").first().over("flight_date"), "constant"),
    "nothing": (pl.lit(None, pl.Float64).alias("late_share"), "empty"),
    "a third of it": (pl.when(pl.int_range(pl.len()) % 3 > 0).then("miles").alias("miles"), "nulls"),
    "another column": (pl.col("flights").alias("miles"), "another column's values, the same as of flights"),
    "others' names": (pl.col("carrier").str.to_lowercase(), "values never seen"),
    "one name": (pl.lit("A").alias("carrier"), "constant"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_day_of_one_column_is_named(year: pl.DataFrame, name: str) -> None:
    change, kind = BROKEN[name]
    day = KNOWN + timedelta(20)
    found = judged(year, rows(day).with_columns(change))
    (fault,) = found.faults
    assert fault.feature == change.meta.output_name()
    assert kind in fault.kind
    assert f"It was on {day - timedelta(1)} " in fault.said
    assert (found.scores[fault.feature] > 1).all()


def test_two_columns_with_each_others_values_are_told_by_what_they_go_with(year: pl.DataFrame) -> None:
    """Each lies where the other does, so that neither shows by itself."""
    day = KNOWN + timedelta(20)
    found = judged(year, rows(day).with_columns(crew="fuel", fuel="crew"))
    assert named(found) == {
        "crew": "another column's values, as if of fuel",
        "fuel": "another column's values, as if of crew",
    }
    # Whoever accepts it hears of it no more, and of the way back once that is known again.
    accepted = {(day, one.feature): one.changes for one in found.faults}
    days = [day + timedelta(n) for n in range(5)]
    later = [rows(one).with_columns(crew="fuel", fuel="crew") for one in days]
    assert named(judged(year, *later, accepted=accepted)) == {}


def test_a_copy_is_the_same_as_another_column(year: pl.DataFrame) -> None:
    """The name of the one that it is a copy of; that one is no fault where only the copy is unlike itself."""
    day = KNOWN + timedelta(20)
    found = judged(year, rows(day).with_columns(crew="fuel"))
    assert named(found)["crew"] == "another column's values, the same as of fuel"
    assert named(judged(year, rows(day).with_columns(crew="flights"))) == {
        "crew": "another column's values, the same as of flights"
    }


def test_one_value_for_nights_on_end_is_found_within_a_week(year: pl.DataFrame) -> None:
    """A share of a network stays for nights, and a flag with two values has one: neither shows on its first day."""
    days = [KNOWN + timedelta(n) for n in range(7)]
    stays = rows(days[0] - timedelta(1))["network_share"]
    share = judged(year, *(rows(day).with_columns(stays) for day in days))
    flag = judged(year, *(rows(day).with_columns(was_late=0) for day in days))
    assert (named(share), named(flag)) == ({"network_share": "stuck"}, {"was_late": "constant"})
    assert days[0] < share.faults[0].day <= days[-1]
    assert days[0] < flag.faults[0].day <= days[-1]


def test_what_is_usual_in_another_unit_is_at_fault_sooner() -> None:
    """A wind of three airports that scatters from day to day about as much as another unit is."""
    case = toy_case(task=replace(CASE.task, baseline=None), context=(), features=(Feature("wind"),))
    random = np.random.default_rng(1)
    strength = 15 * np.exp(random.normal(0, 0.07, DAYS))
    days = [rows_of_wind(FIRST + timedelta(n), strength[n] + random.normal(0, 1, 3)) for n in range(DAYS)]
    known = of(days, case)
    known = faults.judge(known, set(known[DAY]), (), {}).profiles

    def found(units: Mapping[str, str]) -> int:
        stopped = 0
        for day in days[140::5]:
            broken = of([day.with_columns(pl.col("wind") * 0.44704)], case)
            past = known.filter(pl.col(DAY) < broken[DAY][0])
            today = set(broken[DAY])
            together = pl.concat([past, broken], how="diagonal")
            stopped += len(faults.judge(together, today, today, {}, units).faults)
        return stopped

    # Of twelve days.
    assert (found({}), found({"wind": "mile per hour"})) == (0, 11)


def rows_of_wind(day: date, of_airport: npt.NDArray[np.float64]) -> pl.DataFrame:
    names = [f"{day}-{n}" for n in range(30)]
    return pl.DataFrame({"coin_id": names, "flight_date": [day] * 30, "wind": of_airport[np.arange(30) % 3]})


def test_a_column_that_stays_what_it_was_yesterday_is_stuck(year: pl.DataFrame) -> None:
    """But for one that has a single value a day, which may well be the same again."""
    yesterday = rows(KNOWN - timedelta(1))
    stale = rows(KNOWN).with_columns(yesterday["temperature"], yesterday["network_share"])
    assert named(judged(year, stale)) == {"temperature": "stuck"}


def test_too_few_days_are_told_and_stop_nothing(year: pl.DataFrame) -> None:
    day = KNOWN + timedelta(20)
    changed, since = rows(day).with_columns(miles=pl.col("miles") * 1.6), day - timedelta(60)
    found = judged(year, changed, since=since)
    assert (found.faults, [fault.feature for fault in found.told]) == ([], ["miles"])


@pytest.mark.parametrize(
    ("change", "kind"), [(pl.lit(None, pl.Float64).alias("miles"), "empty"), (pl.lit(40).alias("miles"), "constant")]
)
def test_after_two_weeks_what_was_never_empty_or_constant_stops(year: pl.DataFrame, change: pl.Expr, kind: str) -> None:
    day = FIRST + timedelta(20)
    assert named(judged(year, rows(day).with_columns(change))) == {"miles": kind}
    assert named(judged(year, rows(day).with_columns(change), since=day - timedelta(13))) == {}


def test_a_column_that_begins_is_no_fault(year: pl.DataFrame) -> None:
    before = year.with_columns(
        pl.when(pl.col("feature") == "miles")
        .then(None if name not in ("nulls", "distinct") else pl.lit(value))
        .otherwise(name)
        .alias(name)
        for name, value in {
            "nulls": ROWS,
            "distinct": 0,
            "quantiles": None,
            "values": None,
            "lowest": None,
            "highest": None,
            "top": None,
            "counts": None,
        }.items()
    )
    assert named(judged(before, rows(KNOWN))) == {}


def test_of_what_goes_on_in_a_range_the_first_day_is_told(year: pl.DataFrame) -> None:
    days = [KNOWN + timedelta(n) for n in range(5)]
    found = judged(year, *(rows(day).with_columns(miles=pl.col("miles") * 1.609344) for day in days))
    assert [(fault.feature, fault.day) for fault in found.faults] == [("miles", days[0])]


def test_what_is_accepted_is_what_later_days_are_compared_with(year: pl.DataFrame) -> None:
    days = [KNOWN + timedelta(n) for n in range(12)]
    broken = [rows(day).with_columns(miles=pl.col("miles") * 1.609344) for day in days]
    (fault,) = judged(year, broken[0]).faults
    accepted = {(days[0], "miles"): fault.changes}
    found = judged(year, *broken, accepted=accepted)
    assert found.faults == []
    assert [one.feature for one in found.accepted] == ["miles"]
    # And back again, two weeks later, is a fault again: what was accepted is no measure of sound days.
    again = [*broken, rows(days[-1] + timedelta(1)).cast({"miles": pl.Float64})]
    assert set(named(judged(year, *again, accepted=accepted))) == {"miles"}


def test_an_acceptance_is_of_what_was_shown(year: pl.DataFrame) -> None:
    (fault,) = judged(year, rows(KNOWN).with_columns(miles=pl.col("miles") * 1.609344)).faults
    accepted = {(KNOWN, "miles"): fault.changes}
    farther = rows(KNOWN).with_columns(miles=pl.col("miles") * 1000)
    assert named(judged(year, farther, accepted=accepted)) == {
        "miles": "another unit or scale, as if from a thousand times"
    }
    assert set(named(judged(year, rows(KNOWN).with_columns(miles=None), accepted=accepted))) == {"miles"}


def test_days_of_a_calendar_with_gaps_are_compared_with_the_last_ones(year: pl.DataFrame) -> None:
    """Closed on weekends: Monday's day before is Friday."""
    open_days = year.filter(pl.col(DAY).dt.weekday() <= 5)
    days = set(open_days[DAY])
    found = faults.judge(_unmeasured(open_days.select(profiles.MEASURED)), days, days, {})
    assert [fault.said for fault in found.faults] == []
    monday = next(day for day in sorted(days) if day > KNOWN and day.isoweekday() == 1)
    changed = rows(monday).with_columns(miles=pl.col("miles") * 1.609344)
    assert set(named(judged(found.profiles, changed))) == {"miles"}


def test_after_missing_nights_a_day_has_had_more_time_to_change(year: pl.DataFrame) -> None:
    """As where nights run at the same time, or one waits for somebody: a sound day passes, a fault does not."""
    day = KNOWN + timedelta(20)
    known = year.filter(pl.col(DAY) < day - timedelta(5))
    assert named(judged(known, rows(day))) == {}
    assert set(named(judged(known, rows(day).with_columns(pl.col("miles") * 1.609344)))) == {"miles"}
    assert named(judged(known, rows(day).with_columns(pl.col("daylight") + 20))) == {"daylight": "other values"}


def test_after_weeks_without_a_day_nothing_is_known(year: pl.DataFrame) -> None:
    day = KNOWN + timedelta(20)
    found = judged(year.filter(pl.col(DAY) < day - timedelta(15)), rows(day).with_columns(pl.col("miles") * 1.609344))
    assert (named(found), {fault.feature for fault in found.told}) == ({}, {"miles"})


def test_probability_of_several() -> None:
    assert faults.at_least(1, 3, 0.1) == pytest.approx(1 - 0.9**3)
    assert faults.at_least(3, 3, 0.1) == pytest.approx(0.001)


SINGLE = toy_case(
    task=replace(toy_case().task, baseline=None),
    context=(),
    features=(Feature("highest"), Feature("lowest"), Feature("rain_7d"), Feature("wind")),
)


def one_a_day(number: int, seed: int) -> pl.DataFrame:
    """A station's days, a row each, told to a tenth: highest and lowest meet now and then, a dry week is followed by
    another, and a storm has five times the wind of the day before."""
    random = np.random.default_rng(seed)
    season = 8 * np.sin(np.arange(number) / 58)
    rain = np.where(random.random(number) < 0.25 + 0.2 * np.sin(np.arange(number) / 58), random.gamma(1, 5, number), 0)
    days = [FIRST + timedelta(n) for n in range(number)]
    return pl.DataFrame(
        {
            "coin_id": [str(day) for day in days],
            "flight_date": days,
            "highest": (15 + season + random.normal(0, 4, number)).round(1),
            "lowest": (8 + season + random.normal(0, 3, number)).round(1),
            "rain_7d": np.convolve(rain.round(1), np.ones(7) / 7)[:number].round(4),
            "wind": random.gamma(4, 0.8, number).round(1),
        }
    )


def stopped(days: pl.DataFrame) -> list[faults.Fault]:
    found = of([days], SINGLE)
    every = set(found[DAY])
    return faults.judge(found, every, every, {}, {"wind": "metre per second"}).faults


def test_days_of_one_row_are_alike_by_chance_and_stop_nothing() -> None:
    """Some 1,300 days that are sound: columns that meet, weeks without rain, storms."""
    assert [fault.said for seed in (1, 2) for fault in stopped(one_a_day(650, seed))] == []


def test_a_copy_of_one_value_a_day_is_found_within_a_week() -> None:
    days = one_a_day(300, 1)
    since = FIRST + timedelta(290)
    copied = days.with_columns(highest=pl.when(pl.col("flight_date") >= since).then("lowest").otherwise("highest"))
    found = [fault for fault in stopped(copied) if fault.day >= since]
    assert found[0].kind == "another column's values, the same as of lowest"
    assert found[0].day < since + timedelta(7)
