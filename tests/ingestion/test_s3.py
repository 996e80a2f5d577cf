"""Landing and the lake in S3, on a real server of it: what holds for folders holds there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.ingestion import landing
from include.ingestion.landing import UnreadableFileError
from include.lake import delta, maintain, usage
from include.local.checks import InstallationError, check_bucket
from tests import s3
from tests.ingestion.test_late_rows import FILES, NIGHTS, SOURCE, TRIPS, check, land, put, run

if TYPE_CHECKING:
    pass

DAY = date(2020, 6, 11)


@pytest.fixture
def bucket(s3_server: Any, s3_port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of a bucket, with landing and the lake below it."""
    prefix = f"s3://nocturne/{uuid4().hex}"
    for name, value in s3.environment(s3_port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NOCTURNE_LANDING_URI", f"{prefix}/landing")
    monkeypatch.setenv("NOCTURNE_LAKE_URI", f"{prefix}/lake/")
    settings.cache_clear()
    return prefix


@pytest.fixture
def toys(bucket: str) -> None:
    land()


def test_nights_are_ingested_from_there_to_there(toys: None, bucket: str, home: Path) -> None:
    """Late rows, quarantine, the equation, the ledger; then again, which changes nothing."""
    run(f"{NIGHTS[1]}..{NIGHTS[3]}")
    run(NIGHTS[0])
    check()
    before = {table: usage.opened(table).version() for table in usage.tables()}
    assert before.keys() == {
        *(f"bronze.toys__{name}" for name in ("trips", "trips__late", "trips__quarantine", "completeness")),
        "ledger.publications",
    }
    run(NIGHTS[2])
    assert {table: usage.opened(table).version() for table in usage.tables()} == before
    assert not list(home.rglob("*.parquet")), "something was written beside S3"
    # Any reader of Delta sees the same.
    options = {"aws_endpoint": settings().s3_endpoint, "aws_allow_http": "true", "aws_region": s3.REGION}
    assert pl.read_delta(f"{bucket}/lake/bronze/toys__trips", storage_options=options).height == 10


def test_upkeep_removes_there_what_nobody_needs(toys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run(NIGHTS[0])
    put("2020-06-11", FILES["2020-06-11"][:2])
    run(NIGHTS[0])
    monkeypatch.setenv("NOCTURNE_VACUUM_HOURS", "0")
    settings.cache_clear()
    (removal,) = (one for one in maintain.to_vacuum({}).removals if one.table == "bronze.toys__trips")
    assert (removal.files, removal.bytes > 0) == (1, True)
    maintain.vacuum({}, "tests")
    assert not any(one.table == "bronze.toys__trips" for one in maintain.to_vacuum({}).removals)
    assert delta.read_all("bronze", "toys__trips").height == 2
    candidate = settings().lake / "candidate" / "bronze__toys__trips__2020_06_01__0123abcd"
    (candidate / "part-1.parquet").write_bytes(b"of a try that failed")
    monkeypatch.setattr(maintain, "CANDIDATE_DAYS", -1)
    maintain.sweep("tests")
    assert usage.candidates() == []


def test_several_files_a_day_are_found_there_also_beyond_one_listing(bucket: str, s3_port: int) -> None:
    """A listing of S3 has a thousand keys; and what a client remembers of one is not what is there a moment later."""
    many = replace(TRIPS, files="{day}/part-*.csv", least_files=1001, lead_days=0)
    toys = replace(SOURCE, feeds=(many,))
    client = s3.client(s3_port)
    bucket_name, _, folder = str(landing.folder_of(toys, many) / str(DAY)).removeprefix("s3://").partition("/")

    def upload(number: int) -> None:
        client.put_object(Bucket=bucket_name, Key=f"{folder}/part-{number:04}.csv", Body=b"day,trip,amount\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(1001)))
    assert len(landing.files_of(toys, many, DAY)) == 1001
    assert landing.lacks(toys, many, DAY) == ""
    assert landing.landed_days(toys) == [DAY]
    upload(9999)
    assert len(landing.files_of(toys, many, DAY)) == 1002


def test_a_file_is_looked_through_there(bucket: str) -> None:
    assert landing.plan(SOURCE, Partitions.parse("2020-06-10")) == {}
    put("2020-06-11", FILES["2020-06-11"])
    (found,) = landing.plan(SOURCE, Partitions.parse("2020-06-10"))["trips"].values()
    assert found["rows"] == 3
    path = landing.path_of(SOURCE, TRIPS, DAY)
    path.write_bytes(b"day,trip,amount\n2020-06-11,1,1")
    with pytest.raises(UnreadableFileError, match=rf"{path}: half-written"):
        landing.plan(SOURCE, Partitions.parse("2020-06-10"))
    (path.parent / "a stranger.csv").write_bytes(b"")
    assert [one.name for one in landing.unexpected(SOURCE)] == ["a stranger.csv"]


def test_a_file_that_may_still_come_is_looked_for_there(bucket: str) -> None:
    night = TRIPS.night(DAY)
    nights, open_still = Partitions(night, night), SOURCE.ends(night)
    put(str(DAY - timedelta(3)), FILES[str(DAY)])  # it is a source that brings something
    assert landing.awaited(SOURCE, nights, open_still) == [landing.path_of(SOURCE, TRIPS, DAY)]
    put(str(DAY), FILES[str(DAY)])
    assert landing.awaited(SOURCE, nights, open_still) == []


def test_writers_of_a_ledger_do_not_undo_each_other(bucket: str) -> None:
    """A commit is a put that fails where somebody else's is: delta-rs then tries again."""
    rows = pl.DataFrame({"n": [1], "day": [DAY]})
    delta.append("ledger", "notes", rows)

    def write(n: int) -> None:
        delta.append("ledger", "notes", rows.with_columns(n=pl.lit(n, pl.Int64)))
        day = DAY + timedelta(n)
        delta.replace_days("gold", "days", pl.DataFrame({"day": [day], "n": [n]}), day, day, day="day")

    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(write, range(2, 8)))
    assert sorted(delta.read_all("ledger", "notes")["n"]) == [1, *range(2, 8)]
    assert sorted(delta.read_all("gold", "days")["n"]) == list(range(2, 8))


def test_a_bucket_that_cannot_be_reached_stops_the_set_up(bucket: str, s3_port: int) -> None:
    check_bucket(settings().lake)
    with pytest.raises(InstallationError, match=r"s3://nowhere/lake cannot be reached"):
        check_bucket(Settings(lake_uri="s3://nowhere/lake").lake)


@pytest.mark.parametrize("uri", ["gs://bucket/lake", "s3://", "s3:///lake"])
def test_any_other_place_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=f"{uri}' is neither a folder nor s3://"):
        Settings(lake_uri=uri)
