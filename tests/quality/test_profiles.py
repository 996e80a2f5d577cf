"""What a day's columns look like, and the table that keeps it: published with the features, and by their discipline."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Feature, UseCase
from include.core.partitions import Partitions
from include.lake import candidate, delta, publications, usage
from include.quality import acceptance, features, profiles
from include.quality.gate import GateFailedError
from include.quality.profiles import DAY
from tests import commands
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows, write_days

CASE = toy_case(
    features=(Feature("weight"), Feature("metal", "categorical", vocabulary=("gold", "iron", "tin")), Feature("noise"))
)
TABLE = f"gold.{CASE.profiles_table}"


@pytest.fixture(autouse=True)
def _case(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {CASE.name: CASE})


def night(first: date, days: int = 1, change: pl.Expr | None = None, case: UseCase = CASE) -> dict[str, Any]:
    """What a build of the features of the event dates from ``first`` on leaves for the gate."""
    rows = toy_rows(first, days).drop("is_head")
    nights = Partitions(first, first + timedelta(days - 1)).shift(-1)
    name = candidate.name(f"gold.{case.features_table}", candidate.suffix(nights))
    candidate.write(name, [rows if change is None else rows.with_columns(change)])
    made = {"name": name, "table": f"gold.{case.features_table}", "day": "flight_date", "lead_days": 1, "whole": False}
    begun = "2030-01-01T00:00:00+00:00"
    return {"nights": nights.key, "also": [], "begun": begun, "engine": "tests", "candidates": [made]}


def run(first: date, days: int = 1, change: pl.Expr | None = None) -> list[str]:
    """Audit and publish; the tables in which something has changed."""
    build = night(first, days, change)
    features.audit(CASE.name, build)
    return [one.table for one in features.publish_built(CASE.name, build) if one.changed]


def test_a_profile_is_what_a_column_looks_like() -> None:
    values = [3.0, 1.0, 1.0, None, 2.0, 1.0, 2.0, None]
    rows = pl.DataFrame({"flight_date": [FIRST] * 8, "weight": values, "metal": [*"ggittttt"], "noise": [None] * 8})
    rows = rows.with_columns(coin_id=pl.int_range(pl.len()))
    weight, metal, noise = profiles.of_days(CASE, CASE.features, rows.lazy()).to_dicts()
    there = np.array([one for one in values if one is not None])
    assert weight["quantiles"] == pytest.approx(np.quantile(there, profiles.QUANTILES))
    assert {name: weight[name] for name in ("rows", "nulls", "distinct", "top", "lowest", "highest")} == {
        "rows": 8,
        "nulls": 2,
        "distinct": 3,
        "top": 3,
        "lowest": 1.0,
        "highest": 3.0,
    }
    assert (weight["values"], weight["counts"]) == ([1.0, 2.0, 3.0], [3, 2, 1])
    assert (metal["levels"], metal["counts"], metal["values"]) == (["t", "g", "i"], [5, 2, 1], None)
    assert (noise["nulls"], noise["distinct"], noise["quantiles"]) == (8, 0, None)


def test_profiles_are_published_with_the_features_and_once() -> None:
    assert run(FIRST, 20) == [f"gold.{CASE.features_table}", TABLE]
    assert run(FIRST, 20) == [], "a rerun makes no new version"
    version = usage.opened(TABLE).version()
    assert run(FIRST + timedelta(20)) == [f"gold.{CASE.features_table}", TABLE]
    assert usage.opened(TABLE).version() == version + 1
    found = profiles.read(CASE, FIRST, FIRST + timedelta(20))
    assert found.group_by(DAY).len()["len"].unique().to_list() == [3]
    assert set(publications.read()["table"]) == {f"gold.{CASE.features_table}", TABLE}
    assert usage.candidates() == [] or all("profiles" not in one.name for one in usage.candidates())


def test_a_refused_day_is_in_no_table_and_no_past() -> None:
    run(FIRST, 30)
    day, empty = FIRST + timedelta(30), pl.lit(None, pl.Float64).alias("noise")
    for _ in range(2):
        with pytest.raises(
            GateFailedError, match=r"noise 2020-01-31: empty\. It was on 2020-01-30 .* and is empty"
        ) as said:
            run(day, change=empty)
    assert "make accept use_case=toy partition=2020-01-30 feature=noise" in str(said.value)
    assert (
        usage.days_of(TABLE)
        == usage.days_of(f"gold.{CASE.features_table}")
        == {FIRST + timedelta(n) for n in range(30)}
    )
    (line,) = acceptance.read(CASE)
    assert (line.word, line.event_date, line.feature, line.kind, line.who) == (
        "refuse",
        day,
        "noise",
        "empty",
        acceptance.GATE,
    )
    assert run(day), "mended upstream"


def test_a_person_lets_through_what_was_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run(FIRST, 30)
    day, empty = FIRST + timedelta(30), pl.lit(None, pl.Float64).alias("noise")
    with pytest.raises(GateFailedError):
        run(day, change=empty)
    given = ("--use-case", "toy", "--partition", "2020-01-30", "--feature", "noise")
    assert commands.run("accept", *given) == 0
    assert "nothing was done" in capsys.readouterr().out
    with pytest.raises(GateFailedError):
        run(day, change=empty)
    assert commands.run("accept", *given, "--yes") == 2, "not without a reason"
    assert commands.run("accept", *given, "--yes", "--why", "the sensor is sold") == 0
    with pytest.raises(GateFailedError, match=r"weight .*: empty") as said:
        run(day, change=pl.lit(None, pl.Float64).alias("weight"))
    assert "noise" not in str(said.value).partition("\n")[2]
    capsys.readouterr()
    assert run(day, change=empty)
    assert "accepted: noise 2020-01-31: empty" in capsys.readouterr().out
    assert run(day + timedelta(1), change=empty), "and is part of the past from then on"
    words = [(one.word, one.feature, one.why) for one in acceptance.read(CASE)]
    assert words == [("refuse", "noise", ""), ("accept", "noise", "the sensor is sold"), ("refuse", "weight", "")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("2020-01-30", "weight"), "has refused no weight: refused, and not accepted yet, are: noise"),
        (("2020-01-29", "noise"), "has refused no noise: nothing else is refused there"),
    ],
)
def test_what_was_not_refused_cannot_be_accepted(
    given: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(FIRST, 30)
    with pytest.raises(GateFailedError):
        run(FIRST + timedelta(30), change=pl.lit(None, pl.Float64).alias("noise"))
    night, feature = given
    assert commands.run("accept", "--use-case", "toy", "--partition", night, "--feature", feature) == 2
    assert said in capsys.readouterr().err


def test_an_older_installation_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Features of before there were profiles: the first night makes them, of the days that it compares with."""
    write_days(CASE, FIRST, 40, labels=False)
    assert not delta.exists("gold", CASE.profiles_table)
    with pytest.raises(GateFailedError, match="noise 2020-02-10: empty"):
        run(FIRST + timedelta(40), change=pl.lit(None, pl.Float64).alias("noise"))
    assert "40 earlier days have got profiles, 2020-01-01 to 2020-02-09" in capsys.readouterr().out
    assert profiles.read(CASE, FIRST, FIRST + timedelta(50))["shape_change"].count() == 3 * (40 - 14)
    assert run(FIRST + timedelta(40)), "and the profiles are as a night makes them"
    found = profiles.read(CASE, FIRST, FIRST + timedelta(50))
    _empty_lake(TABLE)
    run(FIRST + timedelta(41))
    assert profiles.read(CASE, FIRST, FIRST + timedelta(40)).equals(found)


def _empty_lake(table: str) -> None:
    from include.core.storage import remove

    remove(usage.path_of(table))


def test_a_rerun_of_an_old_day_looks_at_the_days_before_it_alone() -> None:
    run(FIRST, 30)
    before = profiles.read(CASE, FIRST, FIRST + timedelta(15))
    run(FIRST + timedelta(30), 30)
    assert run(FIRST + timedelta(15)) == []
    assert profiles.read(CASE, FIRST, FIRST + timedelta(15)).equals(before)


def test_nights_in_another_order_end_with_the_same_content() -> None:
    """As both engines have to, whichever night of a backfill is audited first."""
    days = [FIRST + timedelta(20 + n) for n in range(3)]

    def content() -> list[Any]:
        lines = publications.read().filter(table=TABLE).sort("revision").group_by("partition_day").last()
        return lines.filter(pl.col("partition_day").is_in(days)).sort("partition_day")["content"].to_list()

    run(FIRST, 20)
    for day in days:
        run(day)
    in_order, version = content(), usage.opened(TABLE).version()
    _empty_lake(TABLE)
    _empty_lake("ledger.publications")
    run(FIRST, 20)
    for day in reversed(days):
        run(day)
    assert content() == in_order
    assert len(in_order) == len(days) < version + 1


def test_a_night_reads_a_bounded_number_of_days(monkeypatch: pytest.MonkeyPatch) -> None:
    run(FIRST, 170)
    asked = []
    read = delta.read_days
    monkeypatch.setattr(delta, "read_days", lambda *given, **also: asked.append(given[2:4]) or read(*given, **also))
    run(FIRST + timedelta(170))
    assert {(last - first).days for first, last in asked} == {148}


def test_of_a_closed_day_the_profiles_are_published_empty() -> None:
    assert ROWS
    run(FIRST, 3)
    build = night(FIRST + timedelta(3))
    candidate.remove([build["candidates"][0]["name"]])
    candidate.write(build["candidates"][0]["name"], [toy_rows(FIRST, 1).drop("is_head").clear()])
    features._keep(CASE, build, pl.DataFrame(schema=profiles.SCHEMA))
    features.publish_built(CASE.name, build)
    assert usage.days_of(TABLE) == {FIRST + timedelta(n) for n in range(3)}
