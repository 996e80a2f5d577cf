"""A day is one file, in a folder or in a bucket, which is replaced whole; nobody reads half of it."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest

from include.contracts.publishing import ToFiles
from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.ingestion.connectors.errors import RefusedError
from include.serving.publishing import content
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.files import Bucket, Folder
from tests import s3
from tests.serving.publishing.conftest import DAY, FIRST, SECOND, publish, score, verbs

PARQUET, CSV = ToFiles("out/scores"), ToFiles("out/scores", format="csv")
type Use = Callable[..., UseCase]


def scores(folder: Path, day: Any = DAY) -> dict[str, float]:
    return dict(pl.read_parquet(folder / f"{day}.parquet").select("coin_id", "score").iter_rows())


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_day_is_a_file_that_stands_alone(use: Use, home: Path) -> None:
    case = use(PARQUET)
    assert verbs(case) == ["sent", "sent"]
    folder = home / "out" / "scores"
    assert scores(folder) == FIRST
    read = pl.read_parquet(folder / "*.parquet")
    assert read.columns == ["flight_date", "coin_id", "score", "model_version", "scored_by", "revision"]
    assert read.height == 7


def test_again_the_file_is_not_touched_and_after_a_new_scoring_it_is_the_new_one(use: Use, home: Path) -> None:
    case, file = use(PARQUET), home / "out" / "scores" / f"{DAY}.parquet"
    publish(case)
    before = file.stat().st_mtime_ns
    assert verbs(case) == ["same", "same"]
    assert file.stat().st_mtime_ns == before
    score(case, DAY, SECOND)
    assert verbs(case) == ["sent", "same"]
    assert scores(file.parent) == SECOND
    assert set(pl.read_parquet(file)["revision"]) == {2}
    score(case, DAY, {})
    assert verbs(case) == ["sent", "same"]
    assert pl.read_parquet(file).height == 0


def test_csv_tells_nothing_from_empty(use: Use, home: Path) -> None:
    case = use(CSV)
    score(case, DAY, {"": 0.5}, reasons=pl.lit(None, pl.String))
    publish(case)
    assert (home / "out" / "scores" / f"{DAY}.csv").read_text().splitlines()[1] == '2020-02-01,"",0.5,1,champion,,1'


def test_a_file_that_was_lost_or_edited_is_made_again(use: Use, home: Path) -> None:
    case, file = use(PARQUET), home / "out" / "scores" / f"{DAY}.parquet"
    publish(case)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert verbs(case) == ["sent", "same"]
    assert scores(file.parent) == FIRST
    file.unlink()
    assert verbs(case) == ["sent", "same"]
    assert scores(file.parent) == FIRST


def test_what_is_older_never_comes_after_what_is_newer(use: Use, home: Path) -> None:
    case = use(PARQUET)
    publish(case)
    score(case, DAY, SECOND)
    older = next(content.days(case, [DAY]))
    score(case, DAY, FIRST)
    assert verbs(case) == ["same", "same"]
    assert Folder(case, PARQUET).send(older).verb == "newer"
    assert scores(home / "out" / "scores") == FIRST


def test_somebody_elses_file_and_use_case_are_left(use: Use, home: Path) -> None:
    case, folder = use(PARQUET), home / "out" / "scores"
    folder.mkdir(parents=True)
    (folder / f"{DAY}.parquet").write_text("mine")
    with pytest.raises(TargetRefusedError, match=f"{DAY}.parquet: it is there, and was not published by Nocturne"):
        publish(case)
    assert (folder / f"{DAY}.parquet").read_text() == "mine"
    (folder / f"{DAY}.parquet").unlink()
    publish(case)
    marker = folder / f".{DAY}.parquet.published"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"use_case": "other"}))
    with pytest.raises(TargetRefusedError, match="other publishes there too"):
        publish(case)


@contextmanager
def almost_full() -> Iterator[None]:
    """While this lasts, no file may become larger than a marker is: as on a disk that is full."""
    ignored, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def test_on_a_full_disk_the_file_before_stands(use: Use, home: Path) -> None:
    case, folder = use(PARQUET), home / "out" / "scores"
    publish(case)
    before, there = (folder / f"{DAY}.parquet").read_bytes(), listed(folder)
    score(case, DAY, SECOND)
    day = next(content.days(case, [DAY]))
    with pytest.raises(TargetAwayError, match=f"{DAY}.parquet: .*make room, and publish again"), almost_full():
        Folder(case, PARQUET).send(day)
    assert (folder / f"{DAY}.parquet").read_bytes() == before
    assert listed(folder) == there
    assert verbs(case) == ["sent", "same"]


def test_a_folder_that_is_not_ours_to_write_is_named(use: Use, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says then; root, as whom tests may run, it lets write anywhere."""

    def refuse(folder: Folder, path: Path, body: bytes) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    case = use(PARQUET)
    monkeypatch.setattr(Folder, "_whole", refuse)
    with pytest.raises(TargetRefusedError, match=r"Permission denied. Give the user of the services"):
        publish(case)


def test_a_path_through_a_file_is_named(use: Use, home: Path) -> None:
    case = use(PARQUET)
    (home / "out").write_text("a file")
    with pytest.raises(TargetRefusedError, match=f"scores/{DAY}.parquet"):
        publish(case)


# --- a bucket ---

ON_S3 = ToFiles("s3://nocturne/scores", connection="bucket")


@pytest.fixture
def bucket(home: Path, s3_server: Any, s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The S3 server's client, with the connection ``bucket``; nothing is under the prefix."""
    extra = {"endpoint_url": f"http://127.0.0.1:{s3_port}", "config_kwargs": {"s3": {"addressing_style": "path"}}}
    found = {"conn_type": "aws", "login": s3.USER, "password": s3.SECRET, "extra": extra | {"region_name": s3.REGION}}
    monkeypatch.setenv("AIRFLOW_CONN_BUCKET", json.dumps(found))
    for one in s3_server.list_objects_v2(Bucket="nocturne", Prefix="scores/").get("Contents", []):
        s3_server.delete_object(Bucket="nocturne", Key=one["Key"])
    return s3_server


def on_s3(client: Any, day: Any = DAY) -> dict[str, float]:
    body = client.get_object(Bucket="nocturne", Key=f"scores/{day}.parquet")["Body"].read()
    return dict(pl.read_parquet(body).select("coin_id", "score").iter_rows())


def test_a_bucket_has_a_day_as_one_object(use: Use, bucket: Any) -> None:
    case = use(ON_S3)
    assert verbs(case) == ["sent", "sent"]
    assert on_s3(bucket) == FIRST
    assert verbs(case) == ["same", "same"]
    score(case, DAY, SECOND)
    assert verbs(case) == ["sent", "same"]
    assert on_s3(bucket) == SECOND


def test_of_two_who_looked_at_once_one_is_told(use: Use, bucket: Any) -> None:
    """As two machines would, which share no lease."""
    case = use(ON_S3)
    older = next(content.days(case, [DAY]))
    late = Bucket(case, ON_S3)
    assert late._found(DAY) is None
    score(case, DAY, SECOND)
    publish(case)
    outcome = late._judged(older, None)
    assert outcome.verb == "sent"
    with pytest.raises(TargetAwayError, match="somebody else has put it since"):
        late._put(DAY, b"older", late._marker(older, 1, b"older"))
    assert on_s3(bucket) == SECOND
    assert late.send(older).verb == "newer"


def test_a_bucket_that_is_not_there_or_another_key_is_told(
    use: Use, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetRefusedError, match=r"s3://nowhere/scores/2020-02-01.parquet: .*the connection bucket"):
        publish(use(ToFiles("s3://nowhere/scores", connection="bucket")))
    monkeypatch.delenv("AIRFLOW_CONN_BUCKET")
    with pytest.raises(RefusedError, match="no Airflow connection 'bucket'"):
        publish(use(ON_S3))


def test_without_a_connection_it_is_whoever_the_machine_is(
    use: Use, bucket: Any, s3_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment(s3_port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    settings.cache_clear()
    assert verbs(use(ToFiles("s3://nocturne/scores"))) == ["sent", "sent"]
    settings.cache_clear()
