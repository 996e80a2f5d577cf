"""A lake that an earlier release made is brought to the layout of now, and goes on as if it had always been of it.

The lakes are those of ``earlier/``, made by the code of two earlier commits; ``earlier/make.py`` says how.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import yaml
from deltalake import write_deltalake

from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.governance import verify
from include.ingestion import ingest, landing
from include.lake import chain, delta, migrations, usage
from include.lake import spark as lake
from include.local import control
from include.local.checks import InstallationError
from include.sources import sources

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAKES = ["day_alone", "day_and_night"]
ARCHIVES = Path(__file__).parent / "earlier"
MODELS = Path(__file__).parents[2] / "dbt_project" / "models" / "marts"


def unpack(name: str) -> None:
    """Make the lake of now the earlier one called ``name``, with its landing."""
    with tarfile.open(ARCHIVES / f"{name}.tar.xz") as archive:
        archive.extractall(settings().var, filter="data")


@pytest.fixture(params=LAKES)
def earlier(request: pytest.FixtureRequest, home: Path) -> str:
    unpack(request.param)
    return str(request.param)


def contents() -> dict[str, pl.DataFrame]:
    """Every table but the ledgers, its rows in an order."""
    tables = [table for table in usage.tables() if not table.startswith("ledger.")]
    frames = {table: delta.read_all(*table.split(".")) for table in tables}
    return {table: frame.sort(pl.all()) for table, frame in frames.items()}


def test_every_row_and_every_value_of_before_is_there(earlier: str) -> None:
    before = {table: frame.rename(delta.FORMER_NAMES, strict=False) for table, frame in contents().items()}
    migrations.migrate()
    for table, frame in contents().items():
        kept = [name for name in before[table].columns if name != "history_through"]
        assert frame.select(kept).sort(pl.all()).equals(before[table].select(kept).sort(pl.all())), table


def test_a_dry_run_names_the_tables_and_changes_none(earlier: str) -> None:
    versions = {table: usage.opened(table).version() for table in usage.tables()}
    would = migrations.migrate(dry_run=True)
    assert {table: usage.opened(table).version() for table in usage.tables()} == versions
    assert migrations.layout(settings()) == 0
    assert migrations.migrate() == would
    assert migrations.migrate() == []
    changed = {line.split(":")[0] for line in would}
    assert {table for table in versions if usage.opened(table).version() > versions[table]} == changed


def test_a_kill_after_any_table_is_made_up_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack("day_alone")
    overwrite, left = migrations.overwrite, [0]

    def killed(*arguments: object, **named: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        overwrite(*arguments, **named)

    monkeypatch.setattr(migrations, "overwrite", killed)
    changed = len(migrations.migrate(dry_run=True))
    for _ in range(changed - 1):
        left[0] = 1
        with pytest.raises(KeyboardInterrupt):
            migrations.migrate()
    left[0] = 1
    assert len(migrations.migrate()) == 1
    assert migrations.migrate() == []
    assert migrations.layout(settings()) == migrations.LAYOUT


def test_tables_have_the_columns_that_their_models_promise(earlier: str) -> None:
    migrations.migrate()
    models = [model for path in MODELS.rglob("*_models.yml") for model in yaml.safe_load(path.read_text())["models"]]
    promised = {model["name"]: {column["name"] for column in model["columns"]} for model in models}
    for table, frame in contents().items():
        layer, name = table.split(".")
        if layer != "bronze":
            assert set(frame.columns) == promised[name], table


def test_nothing_is_unknown_of_what_came_before(earlier: str) -> None:
    migrations.migrate()
    late = delta.read_all("bronze", "flights__schedule").filter(pl.col("ingestion_date") >= pl.col("partition_day"))
    assert late.is_empty()  # the schedule of a day comes the evening before
    for table in (*migrations.ARRIVED, migrations.FEATURES):
        column = "known_from" if table == migrations.FEATURES else "ingestion_date"
        assert delta.read_all(*table.split("."))[column].null_count() == 0, table


@pytest.fixture
def connected(spark: SparkSession, earlier: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSession]:
    """Spark, as it finds the earlier lake after the upgrade."""
    monkeypatch.setattr(lake, "session", lambda *_: spark)
    migrations.migrate()
    new, broken = lake.register_tables(spark)
    assert (set(new), broken) == (set(usage.tables()), {})
    yield spark
    for layer in lake.LAYERS:
        spark.sql(f"DROP SCHEMA IF EXISTS {layer} CASCADE")


def run(key: str) -> list[int]:
    """Ingest a night of flights; how many days changed in each feed."""
    source, nights = sources()["flights"], Partitions.parse(key)
    plan = landing.plan(source, nights)
    candidates = ingest.load(source, nights, plan)
    audited = ingest.audit(source, nights, plan, candidates)
    return [len(one.changed) for one in ingest.publish_all(source, nights, plan, candidates, audited, run=key)]


def test_a_night_of_before_changes_nothing_and_the_next_one_is_ingested(connected: SparkSession) -> None:
    for feed, day, following in (
        ("schedule", "2013-06-03", "2013-06-04"),
        ("actuals", "2013-06-02", "2013-06-03"),
        ("weather", "2013-06-02", "2013-06-03"),
    ):
        path = settings().landing / "flights" / feed / f"{day}.csv"
        path.with_name(f"{following}.csv").write_text(path.read_text().replace(day, following))
    assert set(run("2013-06-02..2013-06-03")) == {1}  # day of each feed: those of the night before are as they were
    assert ingest.ingested(sources()["flights"], Partitions.parse("2013-06-03")) == ["schedule", "actuals", "weather"]
    assert not any(verify.verify().values())
    rows = delta.read_all("bronze", "flights__completeness")
    assert rows["ingestion_date"].cast(pl.String).unique().sort().to_list() == [
        "2013-06-01",
        "2013-06-02",
        "2013-06-03",
    ]


def test_every_line_of_a_ledger_is_sealed(earlier: str) -> None:
    before = {table: delta.read_all(*table.split(".")) for table in verify.ledgers()}
    migrations.migrate()
    for table, lines in before.items():
        after = delta.read_all(*table.split("."))
        assert chain.broken(after) == []
        assert after["line"].sort().to_list() == list(range(1, lines.height + 1))
        lines = lines.rename(delta.FORMER_NAMES, strict=False)
        assert after.select(lines.columns).sort(pl.all()).equals(lines.sort(pl.all()))


def test_what_a_ledger_says_of_a_column_has_its_name_of_now(home: Path) -> None:
    lines = of_before("silver.t", columns='["key", "night"]')
    migrations.migrate()
    after = delta.read_all("ledger", "publications")
    assert after.select("table", "ingestion_date", "columns").rows() == [
        ("silver.t", lines["night"][0], '["key", "ingestion_date"]')
    ]
    assert chain.broken(after) == []


def test_a_ledger_that_was_changed_by_hand_is_not_sealed_anew(home: Path) -> None:
    of_before("silver.t", columns="[]")
    lines = delta.read_all("ledger", "publications").with_columns(rows=pl.lit(8, pl.Int64))
    write_deltalake(usage.opened("ledger.publications"), lines.to_arrow(), mode="overwrite")
    with pytest.raises(NeedsAttentionError, match=r"changed by hand.*line 1 is not as it was written"):
        migrations.migrate()
    assert "night" in delta.read_all("ledger", "publications").columns


def test_a_version_of_before_is_read_by_the_names_of_now(home: Path) -> None:
    of_before("silver.t", columns="[]")
    migrations.migrate()
    assert "ingestion_date" in delta.scan("ledger", "publications", version=0).collect_schema()


def of_before(table: str, columns: str) -> pl.DataFrame:
    """A ledger of publications of layout 5, with a line of ``table``."""
    line = {"table": table, "night": date(2013, 6, 1), "rows": 7, "columns": columns}
    lines = chain.sealed(pl.DataFrame([line]), 0, chain.FIRST)
    path = settings().lake / "ledger" / "publications"
    write_deltalake(str(path), lines.to_arrow())
    (settings().lake / migrations.RECORD).write_text(json.dumps({"version": 5}))
    return lines


def test_an_empty_lake_is_of_this_release(home: Path) -> None:
    settings().lake.mkdir()
    assert migrations.migrate() == []
    assert migrations.layout(settings()) == migrations.LAYOUT


def test_a_newer_lake_is_refused_in_a_line(home: Path) -> None:
    settings().lake.mkdir()
    (settings().lake / migrations.RECORD).write_text(json.dumps({"version": migrations.LAYOUT + 1}))
    with pytest.raises(NeedsAttentionError, match="a newer one has written it"):
        migrations.migrate()
    with pytest.raises(InstallationError, match="Check that one out again"):
        control.bring_lake_forward(settings(), print)


def test_a_table_of_nobody_is_named(home: Path) -> None:
    unpack("day_alone")
    shutil.copytree(usage.path_of("bronze.flights__actuals"), usage.path_of("bronze.gone__trips"))
    with pytest.raises(NeedsAttentionError, match=r"bronze\.gone__trips .* belongs to no feed"):
        migrations.migrate()


def test_what_keeps_an_older_version_readable_stays(home: Path) -> None:
    unpack("day_alone")
    table = usage.opened(migrations.FEATURES)
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 36500 days"})
    trained_on = usage.opened(migrations.FEATURES).version()
    migrations.migrate()
    there = usage.opened(migrations.FEATURES).metadata().configuration
    assert there["delta.logRetentionDuration"] == "interval 36500 days"
    assert "history_through" in delta.scan("gold", "flight_delays__features", trained_on).collect_schema()


def failing_at(number: int, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have the ``number``-th change of a table from now on fail."""
    overwrite, left = migrations.overwrite, [number]

    def fail(*arguments: object, **named: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise error
        overwrite(*arguments, **named)

    patch.setattr(migrations, "overwrite", fail)


def schemas() -> dict[str, tuple[object, list[str]]]:
    """Columns with their types, and what each table is partitioned by."""
    tables = {table: usage.opened(table) for table in usage.tables()}
    return {name: (table.schema().to_json(), table.metadata().partition_columns) for name, table in tables.items()}


def test_where_a_step_fails_all_tables_are_as_they_were(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack("day_alone")
    before, columns, would = contents(), schemas(), migrations.migrate(dry_run=True)
    with monkeypatch.context() as patch:
        failing_at(len(would) - 2, patch, OSError("No space left on device"))
        with pytest.raises(migrations.PutBackError, match=r"No space left .* tables had been changed, and hold again"):
            migrations.migrate()
    assert schemas() == columns
    now = contents()
    assert {table for table in before if not now[table].equals(before[table])} == set()
    assert migrations.layout(settings()) == 0
    assert not (settings().lake / migrations.BEFORE).exists()
    assert migrations.migrate() == would
    assert not (settings().lake / migrations.BEFORE).exists()


def test_after_a_kill_and_then_a_failure_all_is_as_before_the_first_try(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack("day_alone")
    before, columns, would = contents(), schemas(), migrations.migrate(dry_run=True)
    for error in (KeyboardInterrupt(), OSError("No space left on device")):
        with monkeypatch.context() as patch:
            failing_at(2 + len(would) // 3, patch, error)
            with pytest.raises((KeyboardInterrupt, migrations.PutBackError)):
                migrations.migrate()
    assert schemas() == columns
    now = contents()
    assert {table for table in before if not now[table].equals(before[table])} == set()
    assert migrations.layout(settings()) == 0
