"""Reading on executors ends as reading in the task's process does: on a real Spark Connect server, by mapInArrow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pyarrow import parquet
from upath import UPath

from include.contracts.source import Format, Source
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.ingestion import executors, ingest, kernel, landing
from include.ingestion.files import UnreadableFileError
from include.ingestion.reading import text
from include.lake import candidate, spark
from include.lake import executors as lake_executors
from include.local import jars, programs
from include.local.environment import SPARK_TOKEN
from tests.benchmarks.ingest import TRIPS, make_file
from tests.conftest import MISLEADING, installed
from tests.ingestion.corpus import CASES, DAY, FEED
from tests.s3 import free_port

pytestmark = pytest.mark.integration

NIGHTS = Partitions(DAY, DAY)
TOKEN = "a token of this test"
TRIES = 4  # of each task of Spark


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``var`` of an installation with Apache Spark, where only the Spark service runs."""
    with installed(tmp_path_factory.mktemp("executors")) as var, pytest.MonkeyPatch.context() as patch:
        for name in MISLEADING:
            patch.delenv(name, raising=False)
        patch.setenv("NOCTURNE_ENGINE", "spark")
        patch.setenv("NOCTURNE_SPARK_PORT", str(free_port()))
        settings.cache_clear()
        for folder in ("spark/tmp", "log", "secrets", "landing", "lake"):
            (var / folder).mkdir(parents=True)
        (var / "secrets" / "spark_token").write_text(TOKEN)
        yield var


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[subprocess.Popen]:
    """The service as the supervisor starts it, but for the number of tries that a task has."""
    jars.fetch(settings())
    program = programs.apache_spark(settings())
    argv = [f"local[2,{TRIES}]" if one.startswith("local[") else one for one in program.argv]
    environment = os.environ | program.environment | {SPARK_TOKEN: TOKEN}
    with (home / "log" / "spark.log").open("w") as log:
        running = subprocess.Popen(argv, cwd=program.folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while socket.socket().connect_ex(("127.0.0.1", settings().spark_port)):
                assert running.poll() is None, (home / "log" / "spark.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield running
        finally:
            running.kill()
            running.wait()


@pytest.fixture(scope="module")
def session(server: subprocess.Popen) -> Iterator[Any]:
    """What ``spark.session`` gives; its own builder refuses where a test before has had a classic session."""
    from pyspark.sql.connect.session import SparkSession as Connected

    connected = Connected.builder.remote(settings().spark_connection).create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark, "session", lambda: connected)
        spark.create_layers(connected)
        yield connected


@contextmanager
def reading_on(where: str, lake: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_READ_ON", where)
        patch.setenv("NOCTURNE_LAKE_URI", str(lake))
        settings.cache_clear()
        yield
    settings.cache_clear()


def published(source: Source) -> dict[str, Any]:
    """The tables of ``source`` after its files were ingested, sorted, and the hashes that the ledger has."""
    plan = landing.plan(source, NIGHTS)
    candidates = ingest.load(source, NIGHTS, plan)
    audited = ingest.audit(source, NIGHTS, plan, candidates)
    ingest.publish_all(source, NIGHTS, plan, candidates, audited)
    lake = Path(settings().lake)
    tables = {path.name: pl.read_delta(str(path)) for path in (lake / "bronze").iterdir()}
    ledger = pl.read_delta(str(lake / "ledger" / "publications")).sort("table", "partition_day")
    hashes = ledger.select(
        column for column in ledger.columns if column in ("table", "partition_day", "rows", "content")
    )
    return {name: rows.sort(pl.all().cast(pl.String)) for name, rows in tables.items()} | {"": hashes}


def both_ways(source: Source, home: Path, folder: Path) -> dict[str, pl.DataFrame]:
    found = {}
    for where in ("process", "spark"):
        with reading_on(where, folder / where):
            found[where] = published(source)
    here, there = found.values()
    assert here.keys() == there.keys()
    for name, rows in here.items():
        assert_frame_equal(rows, there[name], check_exact=True)
    return here


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.full)])
def test_the_corpus_ends_the_same_on_executors(every: int, session: Any, home: Path, tmp_path: Path) -> None:
    """Every dialect and format, with rows that are broken, and one feed whose rows have twins."""
    cases = {f"case_{number}": make() for number, make in enumerate([*CASES.values()][::every])}
    feeds = [replace(case.feed, name=name, max_quarantined_share=1) for name, case in cases.items()]
    toys = Source("toys", "", "", "", "0 0 * * *", 1, DAY, (*feeds, replace(FEED, name="twins")))
    contents = {name: case.content for name, case in cases.items()}
    row = "2024-06-01,{},plain,{},2024-06-01T12:00:00Z\n"
    contents["twins"] = (
        b"day,number,what,amount,seen_at\n"
        + "".join(
            row.format(*values) for values in [(1, 1.5), (1, 1.5), (2, 1.5), (2, 2.5), (3, 1), (4, "many")]
        ).encode()
    )
    for feed in toys.feeds:
        path = Path(landing.path_of(toys, feed, DAY))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[feed.name])
    tables = both_ways(toys, home, tmp_path)
    terms = (
        tables["toys__completeness"].filter(feed="twins").select("rows_in", "published", "quarantined", "deduplicated")
    )
    assert terms.rows() == [(6, 2, 3, 1)]


def land(name: str, rows: int) -> Path:
    """A file of so many trips, as that of a feed of its own."""
    made = Path(make_file(rows, DAY))
    path = Path(settings().landing / "trips" / name / f"{DAY}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    return made.rename(path)


def trips(*names: str) -> Source:
    return Source("trips", "", "", "", "0 0 * * *", 1, DAY, tuple(replace(TRIPS, name=name) for name in names))


def test_the_shares_of_a_file_are_all_of_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 2_000)
    path, feed = UPath(land("shares", 300)), replace(TRIPS, name="shares")
    files = {path: (DAY, [])}
    of_shares = [pl.concat(kernel.parts(feed, files, share, 3)) for share in range(3)]
    assert all(len(one) for one in of_shares)
    assert_frame_equal(pl.concat(of_shares).sort("trip"), pl.concat(kernel.parts(feed, files)).sort("trip"))


@pytest.mark.full
def test_a_large_file_is_read_in_shares(
    session: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "SHARE", 16 << 20)
    path = land("large", 600_000)
    with path.open("a") as file:  # one row twice, one that is broken, both at the other end of the file
        first = path.open().readlines(200)[1]
        file.write(first + first.replace(",0,", ",-1,", 1))
    plan = executors.works({UPath(path): (DAY, [])})
    assert [(work["share"], work["shares"]) for work in plan] == [(0, 3), (1, 3), (2, 3)]
    tables = both_ways(trips("large"), home, tmp_path)
    terms = tables["trips__completeness"].select("rows_in", "published", "quarantined", "deduplicated")
    assert terms.rows() == [(600_002, 600_000, 1, 1)]


@pytest.mark.parametrize(("where", "said"), [("spark", "set NOCTURNE_ENGINE=spark"), ("sail", "neither process nor")])
def test_executors_are_those_of_apache_spark(where: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(engine="embedded", read_on=where)


def test_small_files_are_read_together(tmp_path: Path) -> None:
    files = {}
    for number in range(5):
        path = UPath(tmp_path / f"{number}.csv")
        path.write_bytes(b"." * 10)
        files[path] = (DAY, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "SHARE", 25)
        assert [len(work["files"]) for work in executors.works(files)] == [2, 2, 1]


def test_a_file_that_cannot_be_read_is_named_as_in_process(session: Any, home: Path, tmp_path: Path) -> None:
    """Its page is damaged in a way that only the reader sees: what it raises reaches the task as what it is."""
    feed = replace(TRIPS, name="damaged", format=Format.PARQUET)
    path = UPath(settings().landing / "trips" / "damaged" / f"{DAY}.parquet")
    path.parent.mkdir(parents=True)
    rows = pl.DataFrame({"day": [DAY] * 9999, "trip": range(9999)}).to_arrow()
    parquet.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[1000:1060] = b"\xff" * 60
    path.write_bytes(content)
    said = []
    for where in ("process", "spark"):
        with reading_on(where, tmp_path / where), pytest.raises(UnreadableFileError) as raised:
            kernel.run(feed, {path: (DAY, ["day", "trip"])}, "candidate.damaged")
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert str(path) in said[0]


def workers(server: int) -> list[int]:
    """The Python processes below ``server`` that have none below them: those that carry tasks out."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue

    def below(pid: int) -> Iterator[int]:
        for child in (one for one, parent in parents.items() if parent == pid):
            yield child
            yield from below(child)

    found = [pid for pid in below(server) if "pyspark" in Path(f"/proc/{pid}/cmdline").read_text()]
    return [pid for pid in found if pid not in parents.values()]


def is_whole(path: Path) -> bool:
    """Whether a Parquet file has been written to its end."""
    return path.read_bytes()[-4:] == b"PAR1"


@pytest.mark.full
def test_a_worker_that_is_killed_doubles_nothing(
    session: Any, server: subprocess.Popen, home: Path, tmp_path: Path
) -> None:
    """It is killed when it has written a file of its candidate: Spark tries its task again, which writes all anew."""
    path, name = land("killed", 2_200_000), "candidate.killed"
    feed, killed = replace(TRIPS, name="killed"), []

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not any(map(is_whole, Path(candidate.folder(name)).glob("*.parquet"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in workers(server.pid):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with reading_on("spark", tmp_path):
        killer = Thread(target=kill)
        killer.start()
        assert kernel.run(feed, {UPath(path): (DAY, [])}, name) == 2_200_000
        killer.join()
        assert killed
        whole = [path for path in Path(candidate.folder(name)).glob("*.parquet") if is_whole(path)]
        assert pl.scan_parquet(whole).select(pl.len()).collect().item() > 2_200_000, "nothing was left of the first try"
        # and not made good again by judging all rows together with their doubles
        assert not candidate.exists(kernel.twins_of(name))
        rows = candidate.rows(name).select(pl.len(), pl.col("trip").n_unique()).collect().row(0)
    assert rows == (2_200_000, 2_200_000)


def test_executors_that_write_elsewhere_are_found_out(
    session: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake on the driver's own disk, where executors see another folder by that name."""
    path = land("elsewhere", 10)
    with reading_on("spark", tmp_path / "here"):
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "candidate" / "elsewhere").mkdir(parents=True)
        patched = {name: str(getattr(settings(), name)) for name in lake_executors.PLACES} | {
            "lake_uri": str(tmp_path / "there")
        }
        monkeypatch.setattr(lake_executors, "places", lambda: patched)
        with pytest.raises(executors.ElsewhereError, match="every machine of the cluster sees"):
            kernel.run(replace(TRIPS, name="elsewhere"), {UPath(path): (DAY, [])}, "candidate.elsewhere")
