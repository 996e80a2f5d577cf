"""Maintenance takes what is too old or not needed, nothing else, and says so. On real Delta, by both engines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import write_deltalake

from include.contracts.source import Column, Feed, Mode, Source
from include.core.settings import settings
from include.lake import delta, maintain, removals, usage
from include.lake.maintain import KEPT, RefusedError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MONDAY = date(2020, 6, 1)
DAYS = [MONDAY + timedelta(n) for n in range(10)]
RUN = "by_hand"


def feed(retention_days: int | None = None, **others: object) -> Feed:
    return Feed("rides", "Rides", (Column("a", "string", "a"),), ("a",), retention_days=retention_days, **others)


def source(*feeds: Feed) -> Source:
    return Source("buses", "Buses", "tests", "public", "0 0 * * *", 6, MONDAY, feeds)


@pytest.fixture(autouse=True)
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty lake, whose replaced files are free to go at once."""
    monkeypatch.setenv("NOCTURNE_VACUUM_HOURS", "0")
    settings.cache_clear()
    return home / "lake"


def by_spark(spark: SparkSession, table: str, *contents: str, days: list[date] = [MONDAY], checkpoint: int = 10) -> str:  # noqa: B006
    """A table that Spark writes: a row a day, and a version for each of ``contents``."""
    path = f"delta.`{usage.path_of(table)}`"
    rows = ", ".join(f"(DATE'{day}', '{contents[0]}')" for day in days)
    spark.sql(
        f"CREATE TABLE {path} USING delta PARTITIONED BY (partition_day) "
        f"TBLPROPERTIES ('delta.checkpointInterval' = '{checkpoint}') "
        f"AS SELECT * FROM VALUES {rows} AS rows(partition_day, value)"
    )
    for content in contents[1:]:
        overwrite(spark, table, content)
    return table


def overwrite(spark: SparkSession, table: str, content: str) -> None:
    spark.sql(
        f"INSERT INTO delta.`{usage.path_of(table)}` REPLACE WHERE partition_day = DATE'{MONDAY}' "
        f"SELECT DATE'{MONDAY}', '{content}'"
    )


def by_delta_rs(table: str, *contents: str) -> str:
    """The same by delta-rs."""
    for content in contents:
        rows = pl.DataFrame({"partition_day": [MONDAY], "value": [content]})
        delta.replace_days(*table.split("."), rows, MONDAY, MONDAY, day="partition_day")
    return table


def value(table: str, version: int | None = None) -> str:
    return delta.read_days(*table.split("."), MONDAY, MONDAY, day="partition_day", version=version)["value"].item()


def days_in(table: str) -> list[date]:
    return sorted(set(delta.read_all(*table.split("."))["partition_day"]))


def file_of(table: str, version: int) -> Path:
    (path,) = usage.files_of(usage.opened(table, version))["path"]
    return usage.path_of(table) / path


def ledger() -> list[tuple[str, str, str]]:
    return [(line["state"], line["what"], line["table"]) for line in removals.read().to_dicts()]


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def age_log(table: str) -> None:
    for entry in (usage.path_of(table) / "_delta_log").iterdir():
        age(entry, 60)


def everything(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


# --- vacuum ---


def test_vacuum_keeps_what_a_model_was_trained_on_and_no_other_old_version(spark: SparkSession) -> None:
    """Of a table of Spark's: its files, its log beyond the log's retention, and Spark's own way back to it."""
    table = by_spark(spark, "gold.t", "a", "b", "c", "d", checkpoint=2)
    before = delta.content_hash(delta.read_days("gold", "t", MONDAY, MONDAY, day="partition_day", version=1))
    a, b, c, d = (file_of(table, version) for version in range(4))
    pins = {table: [1], "gold.never_there": [3]}
    maintain.vacuum(pins, RUN)
    assert [path.exists() for path in (a, b, c, d)] == [False, True, False, True]
    assert [path.with_name(f".{path.name}.crc").exists() for path in (a, b, c, d)] == [False, True, False, True]
    assert usage.opened(table).version() == 4, "the property that keeps the log"
    age_log(table)
    overwrite(spark, table, "e")
    overwrite(spark, table, "f")  # a checkpoint, after which Delta drops what of the log is too old
    maintain.vacuum(pins, RUN)
    assert usage.opened(table).version() == 6, "the property is set once"
    assert [path.exists() for path in (b, d)] == [True, False]
    assert delta.content_hash(delta.read_days("gold", "t", MONDAY, MONDAY, day="partition_day", version=1)) == before
    assert (value(table, 1), value(table)) == ("b", "f")
    rows = spark.sql(f"SELECT value FROM delta.`{usage.path_of(table)}` VERSION AS OF 1").collect()
    assert [row["value"] for row in rows] == ["b"]


def test_a_table_of_delta_rs_keeps_its_pinned_version_too(spark: SparkSession) -> None:
    table = by_delta_rs("gold.t", "a", "b", "c", "d")
    usage.opened(table).create_checkpoint()
    a, b, c, d = (file_of(table, version) for version in range(4))
    maintain.vacuum({table: [1]}, RUN)
    assert [path.exists() for path in (a, b, c, d)] == [False, True, False, True]
    age_log(table)
    by_delta_rs(table, "e")
    usage.opened(table).create_checkpoint()
    usage.opened(table).cleanup_metadata()
    assert (value(table, 1), value(table)) == ("b", "e")
    assert usage.opened(table).metadata().configuration.items() >= KEPT.items()


def test_what_is_gone_is_not_removed_again(spark: SparkSession) -> None:
    by_delta_rs("gold.t", "a", "b")
    maintain.vacuum({}, RUN)
    maintain.vacuum({}, RUN)
    assert ledger() == [("begun", "vacuum", "gold.t"), ("done", "vacuum", "gold.t")]


def test_without_a_pin_the_log_of_a_version_goes_by_itself(spark: SparkSession) -> None:
    """What the property is there for."""
    table, other = by_spark(spark, "gold.t", "a", "b", checkpoint=2), by_delta_rs("gold.other", "a", "b")
    age_log(table)
    age_log(other)
    overwrite(spark, table, "c")
    overwrite(spark, table, "d")
    overwrite(spark, table, "e")
    by_delta_rs(other, "c")
    usage.opened(other).create_checkpoint()
    usage.opened(other).cleanup_metadata()
    assert [maintain._readable(one, 1) for one in (table, other)] == [False, False]


def test_the_wrong_registry_does_not_unpin(spark: SparkSession) -> None:
    """An MLflow that is empty or another one names no versions."""
    table = by_delta_rs("gold.t", "a", "b")
    maintain.vacuum({table: [0]}, RUN)
    maintain.vacuum({}, RUN)
    assert value(table, 0) == "a"
    with pytest.raises(RefusedError, match="the registry names none now"):
        maintain.require_nothing_refused([], {})


def test_a_pinned_version_that_is_lost_stops_the_vacuum_of_its_table(spark: SparkSession) -> None:
    table, other = by_delta_rs("gold.t", "a", "b"), by_delta_rs("gold.other", "a", "b")
    before = [file_of(table, 0), file_of(other, 0)]
    pins = {table: [0, 7]}
    maintain.vacuum(pins, RUN)
    assert [path.exists() for path in before] == [True, False]
    with pytest.raises(RefusedError, match=r"gold\.t: a registered model was trained on version 7, which"):
        maintain.require_nothing_refused([], pins)
    maintain.require_nothing_refused([], {table: [0]})


def test_vacuum_waits_for_those_still_reading(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is when a file was replaced, not when it was written."""
    monkeypatch.setenv("NOCTURNE_VACUUM_HOURS", "168")
    settings.cache_clear()
    table = by_delta_rs("gold.t", "a", "b")
    age(file_of(table, 0), 90)
    stray, fresh = (usage.path_of(table) / name for name in ("stray.parquet", "fresh.parquet"))
    for path in (stray, fresh):
        path.write_bytes(b"of a writer that was killed, or of one at work")
    age(stray, 8)
    maintain.vacuum({}, RUN)
    assert (file_of(table, 0).exists(), stray.exists(), fresh.exists()) == (True, False, True)


# --- compaction ---


@pytest.mark.parametrize("engine", ["spark", "delta-rs"])
def test_many_small_files_become_one(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(maintain, "MANY_FILES", 4)
    if engine == "spark":
        table = by_spark(spark, "silver.t", "0")
        for n in range(1, 4):
            spark.sql(f"INSERT INTO delta.`{usage.path_of(table)}` SELECT DATE'{MONDAY}', '{n}'")
    else:
        table = "gold.t"
        for n in range(4):
            delta.append("gold", "t", pl.DataFrame({"partition_day": [MONDAY], "value": [str(n)]}))
    assert usage.usage(table).mergeable == 4
    maintain.compact(spark, RUN)
    found = usage.usage(table)
    assert (found.files, found.mergeable) == (1, 0)
    assert usage.opened(table).history(1)[0]["operation"] == "OPTIMIZE"
    assert sorted(delta.read_all(*table.split("."))["value"]) == ["0", "1", "2", "3"]
    version = found.version
    maintain.compact(spark, RUN)
    assert usage.usage(table).version == version


def test_files_of_different_days_and_a_few_small_ones_are_left_alone() -> None:
    rows = pl.DataFrame({"partition_day": [MONDAY + timedelta(n) for n in range(50)], "value": ["x"] * 50})
    delta.replace_days("gold", "daily", rows, MONDAY, MONDAY + timedelta(49), day="partition_day")
    for _ in range(maintain.MANY_FILES - 1):
        delta.append("gold", "ledger", rows.head(1))
    assert (usage.usage("gold.daily").files, usage.usage("gold.daily").mergeable) == (50, 0)
    assert maintain.to_compact().removals == []
    delta.append("gold", "ledger", rows.head(1))
    assert [one.table for one in maintain.to_compact().removals] == ["gold.ledger"]


# --- retention ---


def test_retention_takes_the_oldest_days_in_one_commit_a_table(spark: SparkSession) -> None:
    table = by_spark(spark, "bronze.buses__rides", "x", days=DAYS)
    quarantine = by_spark(spark, "bronze.buses__rides__quarantine", "x", days=[DAYS[0], DAYS[1], DAYS[7]])
    counts = pl.DataFrame(
        [
            {"ingestion_date": day, "feed": name, "partition_day": day, "rows_in": 1}
            for day in DAYS
            for name in ("rides", "stops")
        ]
    )
    delta.replace_days("bronze", "buses__completeness", counts, DAYS[0], DAYS[-1], day="ingestion_date")
    ours = source(feed(retention_days=6), replace(feed(), name="stops"))
    for _ in range(2):
        maintain.retain(spark, [ours], RUN)
    assert days_in(table) == DAYS[3:]
    assert days_in(quarantine) == [DAYS[7]]
    assert [usage.opened(one).version() for one in (table, quarantine)] == [1, 1]
    assert usage.opened(table).history(1)[0]["operation"] == "DELETE"
    # transform refuses a night without counts; with them it would publish the night as empty
    left = delta.read_all("bronze", "buses__completeness")
    assert sorted(left.filter(pl.col("feed") == "rides")["partition_day"]) == DAYS[3:]
    assert left.filter(pl.col("feed") == "stops").height == 10
    assert usage.opened("bronze.buses__completeness").version() == 1

    lines = removals.read().filter(pl.col("state") == "done").to_dicts()
    assert [(line["table"], line["first_day"], line["last_day"], line["rows"]) for line in lines] == [
        ("bronze.buses__completeness", DAYS[0], DAYS[2], 3),
        (table, DAYS[0], DAYS[2], 3),
        (quarantine, DAYS[0], DAYS[1], 2),
    ]
    assert all(line["run"] == RUN and line["bytes"] > 0 for line in lines)


def test_nothing_goes_where_nobody_said_so(spark: SparkSession) -> None:
    by_spark(spark, "bronze.buses__rides", "x", days=DAYS)
    for days in (None, 0, 9, 5000):
        assert maintain.to_retain([source(feed(retention_days=days))]) == maintain.Plan()


TODAY = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        (DAYS, DAYS[4]),
        (DAYS[4:], None),
        ([], None),
        ([*DAYS, date(2031, 1, 1)], DAYS[4]),
        ([*DAYS, date(2026, 1, 2)], date(2026, 1, 2) - timedelta(5)),
    ],
    ids=["replayed years later", "not that many", "none", "one that cannot have arrived", "one that can"],
)
def test_days_count_from_the_newest_that_is_there(days: list[date], kept: date | None) -> None:
    assert maintain.first_kept(feed(retention_days=5, lead_days=1), days, TODAY) == kept


def test_the_snapshot_in_effect_stays() -> None:
    snapshots = [date(2013, 1, 1), date(2015, 1, 1), date(2020, 1, 1), date(2021, 6, 1)]
    of = feed(retention_days=730, mode=Mode.SNAPSHOT)
    assert maintain.first_kept(of, snapshots, TODAY) == date(2015, 1, 1)
    assert maintain.first_kept(of, snapshots[:1], TODAY) is None
    assert maintain.first_kept(of, snapshots[:3], TODAY) == date(2015, 1, 1)


def test_a_stray_late_day_does_not_take_all_others(spark: SparkSession) -> None:
    stray = datetime.now(UTC).date()
    table = by_spark(spark, "bronze.buses__rides", "x", days=[*DAYS, stray])
    ours = source(feed(retention_days=730))
    maintain.retain(spark, [ours], RUN)
    assert days_in(table) == [*DAYS, stray]
    with pytest.raises(RefusedError, match=f"keeping 730 days would remove 10 of 11.* {stray}, a mistake"):
        maintain.require_nothing_refused([ours], {})


# --- sweep ---


@pytest.fixture
def candidates(lake: Path) -> Callable[[str, float], Path]:
    """Makes a candidate of some age in days."""

    def make(name: str, days: float) -> Path:
        folder = lake / "candidate" / name
        folder.mkdir(parents=True)
        pl.DataFrame({"a": [1]}).write_parquet(folder / "part-0.parquet")
        for path in (*folder.rglob("*"), folder):
            age(path, days)
        return folder

    return make


def test_the_sweep_takes_old_candidates_only(candidates: Callable[[str, float], Path]) -> None:
    old = candidates("bronze__buses__rides__2020_06_01__0123abcd", 3.1)
    unknown = candidates("gold__t__2020_06_01_2020_06_30__0123abce", 9)
    young = candidates("bronze__buses__rides__2020_06_02__0123abcd", 2.9)
    written = candidates("bronze__buses__rides__2020_06_03__0123abcd", 9)
    (written / "part-1.parquet").write_bytes(b"just now")
    age(written, 9)
    by_hand = candidates("gold__flight_delays__features", 9)
    maintain.sweep(RUN)
    assert [one.exists() for one in (old, unknown, young, written, by_hand)] == [False, False, True, True, True]
    assert ledger() == [
        (state, "sweep", f"candidate.{one.name}") for one in (old, unknown) for state in ("begun", "done")
    ]


def test_the_sweep_takes_what_the_catalogue_does_not_know(spark: SparkSession, lake: Path) -> None:
    folder = lake / "candidate" / "bronze__buses__rides__2020_06_01__0123abcd"
    folder.mkdir(parents=True)
    age(folder, 4)
    maintain.sweep(RUN)
    assert not folder.exists()


# --- the ledger, and a kill in between ---


def test_a_plan_changes_nothing(spark: SparkSession, lake: Path) -> None:
    by_spark(spark, "bronze.buses__rides", "x", days=DAYS)
    table = by_delta_rs("gold.t", "a", "b")
    before = everything(lake)
    found = maintain.plan([source(feed(retention_days=6))], {table: [5]})
    assert [str(one).split(":")[0] for one in found.removals] == ["retention of bronze.buses__rides"]
    assert len(found.refused) == 1
    assert everything(lake) == before


def test_a_kill_between_removal_and_ledger_is_seen_and_closed(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = by_delta_rs("gold.t", "a", "b", "c", "d")
    old = [file_of(table, version) for version in range(3)]
    sizes, unlink, calls = {path: path.stat().st_size for path in old}, Path.unlink, []

    def killed(path: Path, missing_ok: bool = False) -> None:
        calls.extend([path] if path in old else [])
        if len(calls) == 2:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            maintain.vacuum({}, RUN)
    (gone,) = [path for path in old if not path.exists()]
    (open_,) = removals.unfinished()
    assert (open_.table, open_.files, open_.bytes) == (table, 3, sum(sizes.values()))

    maintain.vacuum({}, "the next try")
    assert removals.unfinished() == []
    assert not any(path.exists() for path in old)
    lines = removals.read().filter(pl.col("table") == table).to_dicts()
    assert [(line["state"], line["run"], line["files"], line["bytes"]) for line in lines] == [
        ("begun", RUN, 3, sum(sizes.values())),
        ("interrupted", "the next try", 1, sizes[gone]),
        ("begun", "the next try", 2, sum(sizes.values()) - sizes[gone]),
        ("done", "the next try", 2, sum(sizes.values()) - sizes[gone]),
    ]


@pytest.mark.parametrize("committed", [True, False])
def test_a_kill_around_a_commit_is_closed_with_what_happened(spark: SparkSession, committed: bool) -> None:
    table = by_spark(spark, "bronze.buses__rides", "x", days=DAYS)
    ours = source(feed(retention_days=6))
    (removal,) = maintain.to_retain([ours]).removals

    def killed() -> None:
        with removals.recorded(removal, RUN):
            if committed:
                spark.sql(f"DELETE FROM delta.`{usage.path_of(table)}` WHERE {removal.predicate}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    maintain.retain(spark, [ours], "the next try")
    assert days_in(table) == DAYS[3:]
    done = removals.read().filter(pl.col("state") != "begun")
    assert list(done.select("state", "files", "rows").rows()) == (
        [("interrupted", 3, 3)] if committed else [("interrupted", 0, 0), ("done", 3, 3)]
    )


def test_the_ledger_is_kept_as_any_other_table(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "MANY_FILES", 4)
    table = by_delta_rs("gold.t", "a", "b")
    maintain.vacuum({}, RUN)
    by_delta_rs(table, "c")
    maintain.vacuum({}, RUN)
    lines = removals.read().height
    maintain.compact(spark, RUN)
    assert removals.read().height == lines + 2
    assert usage.usage("ledger.removals").files == 2


# --- what is shown ---


def test_the_report_says_what_each_table_takes(spark: SparkSession) -> None:
    by_spark(spark, "bronze.buses__rides", "x", days=DAYS)
    by_delta_rs("gold.t", "a", "b")
    write_deltalake(str(usage.path_of("gold.empty")), pl.DataFrame({"a": []}, schema={"a": pl.Int64}))
    bronze, empty, gold = (usage.usage(table) for table in usage.tables())
    assert (bronze.table, bronze.rows, bronze.files, bronze.small) == ("bronze.buses__rides", 10, 10, 10)
    assert (gold.table, gold.rows, gold.files, gold.version) == ("gold.t", 1, 1, 1)
    assert gold.disk_bytes == gold.bytes + file_of("gold.t", 0).stat().st_size
    assert (empty.rows, empty.files, empty.bytes, empty.mergeable) == (0, 0, 0, 0)
    path = usage.write_report(run=RUN)
    assert path == settings().report / "lake.json"
    assert '"bronze.buses__rides"' in path.read_text()
