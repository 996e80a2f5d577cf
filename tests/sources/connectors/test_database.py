"""A night of a real PostgreSQL becomes one landing file: exactly its rows, whichever parts it is read in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from include.errors import NeedsAttentionError
from include.lake import spark as lake
from include.settings import settings
from include.sources import landing
from include.sources.connectors import Database, database
from include.sources.connectors.errors import RefusedError, UpstreamError
from include.sources.connectors.fetch import fetch
from include.sources.spec import Column, Feed, Format, Mode, Source, as_json
from spark_jobs import ingest as job

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
PASSWORD = "a-password-that-nobody-may-see"
DAY, NEXT = date(2020, 6, 1), date(2020, 6, 2)

BASE = Database(connection="toys_db", table="public.trips", watermark="happened_at")
TRIPS = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("number", "int", "which trip", required=True),
        Column("big", "bigint", "a number of 64 bits"),
        Column("kind", "string", "by what"),
        Column("amount", "double", "how much", "euro"),
        Column("flag", "boolean", "whether"),
        Column("day", "date", "the day"),
        Column("happened_at", "timestamp", "when", "UTC", required=True),
        Column("noted_at", "timestamp", "when it was noted", "UTC"),
    ),
    key=("number",),
    format=Format.PARQUET,
    connector=BASE,
)
CHANGES = Feed(
    name="changes",
    description="every change of a trip",
    columns=(
        Column("number", "int", "which trip", required=True),
        Column("kind", "string", "by what, after the change"),
        Column("op", "string", "what was done", required=True, values=("insert", "update", "delete")),
        Column("sequence", "bigint", "the order of changes", required=True),
        Column("changed_at", "timestamp", "when", "UTC", required=True),
    ),
    key=("number",),
    mode=Mode.UPSERT,
    op="op",
    sequence="sequence",
    format=Format.PARQUET,
    connector=Database(connection="toys_db", table="public.trip_changes", watermark="changed_at"),
)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (TRIPS, CHANGES))

TABLES = """
    ALTER DATABASE postgres SET timezone TO 'America/New_York';
    CREATE TABLE trips (
        number int PRIMARY KEY, big bigint, kind text, amount numeric(10, 2), flag boolean, day date,
        happened_at timestamptz NOT NULL, noted_at timestamp
    );
    INSERT INTO trips
    SELECT n, 10000000000 + n, CASE WHEN n % 3 > 0 THEN 'bus ' || n END, n / 4.0, n % 2 = 0, '2020-06-01',
        '2020-06-01 00:00:00+00'::timestamptz + n * interval '14 minutes', '2020-06-01 05:00:00.000001'
    FROM generate_series(0, 99) AS n;
    INSERT INTO trips (number, happened_at) VALUES
        (200, '2020-05-31 23:59:59.999999+00'), (201, '2020-06-01 23:59:59.999999+00'), (202, '2020-06-02 00:00:00+00');
    CREATE TABLE trip_changes (
        sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        number int, kind text, op text NOT NULL, changed_at timestamptz NOT NULL
    );
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO trip_changes (number, kind, op, changed_at)
        VALUES (coalesce(NEW.number, OLD.number), NEW.kind, lower(TG_OP), current_setting('toys.now')::timestamptz);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON trips FOR EACH ROW EXECUTE FUNCTION note();
    SET toys.now TO '2020-06-01 08:00:00+00';
    INSERT INTO trips (number, kind, happened_at) VALUES (300, 'bus', '2020-07-01');
    UPDATE trips SET kind = 'tram' WHERE number = 300;
    INSERT INTO trips (number, kind, happened_at) VALUES (301, 'bus', '2020-07-01');
    DELETE FROM trips WHERE number = 300;
    SET toys.now TO '2020-06-02 08:00:00+00';
    DELETE FROM trips WHERE number = 301;
"""


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL, which trusts nobody without the password."""

    bin: Path
    port: int

    def sql(self, text: str) -> str:
        command = [str(self.bin / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "toys", "-d", "postgres"]
        return subprocess.run(
            [*command, "-v", "ON_ERROR_STOP=1", "-qAt", "-c", text],
            env=os.environ | {"PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def answers(self) -> bool:
        asked = [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0


def programs() -> Path:
    """The folder with PostgreSQL's programs; a test that needs it is skipped where there is none."""
    found = [Path(path).parent for path in filter(None, [shutil.which("initdb")])]
    if config := shutil.which("pg_config"):
        found.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    for place in PLACES:
        root = Path("/")
        found += sorted(root.glob(place.lstrip("/")), reverse=True)
    for folder in found:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql", "pg_isready")):
            return folder
    pytest.skip("PostgreSQL is not installed: no initdb on PATH, by pg_config or in the usual places")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL of this module's own, on a free port of loopback. It refuses to run as root: then as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are for the user of the tests alone
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        found = Server(programs(), port)
        (secret := folder / "password").write_text(PASSWORD)
        secret.chmod(0o644)
        data = str(folder / "data")
        made = [str(found.bin / "initdb"), "-D", data, "-U", "toys", "-A", "scram-sha-256", "--pwfile", str(secret)]
        made += ["--no-sync", "-E", "UTF8", "--locale", "C"]
        subprocess.run(made, **who, check=True, capture_output=True, cwd=folder)
        start = [str(found.bin / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(start, **who, stdout=log, stderr=log, cwd=folder) as it,
        ):
            try:
                until = time.monotonic() + 60
                while not found.answers():
                    assert it.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.1)
                found.sql(TABLES)
                yield found
            finally:
                it.send_signal(signal.SIGINT)  # its fast way to stop: it sends its clients away
                try:
                    it.wait(10)
                except subprocess.TimeoutExpired:
                    it.kill()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _reached(
    server: Server, spark: SparkSession, home: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(
        "toys_db",
        conn_type="postgres",
        host="127.0.0.1",
        port=server.port,
        schema="postgres",
        login="toys",
        password=PASSWORD,
    )
    monkeypatch.setattr(lake, "session", lambda: spark)


def with_base(**values: Any) -> Feed:
    return replace(TRIPS, connector=replace(BASE, **values))


def fetched(feed: Feed = TRIPS, day: date = DAY) -> Path:
    path = fetch(SOURCE, feed, day)
    assert path
    return path


def left() -> list[Path]:
    return [path for path in landing.path_of(SOURCE, TRIPS, DAY).parent.iterdir() if path.is_file() or path.is_dir()]


def judged(spark: SparkSession, feed: Feed, path: Path) -> list[Row]:
    """The rows as they would come to bronze, each with its verdict."""
    load: job.Job = {
        "landing": str(settings().landing),
        "files": {str(path): []},
        "feed": as_json(feed),
        "candidate": "",
    }
    looked_at = job.look_at(job.extract(spark, load), as_json(feed))
    rows = job.together(looked_at, as_json(feed)).collect()
    assert landing.count_rows(path, feed) == len(rows)
    return rows


def test_a_night_is_its_rows_in_utc_from_midnight_to_midnight(home: Path) -> None:
    """The database itself lives in New York; the last microsecond of the day belongs to it, the next midnight not."""
    path = fetched()
    assert path == home / "landing" / "toys" / "trips" / "2020-06-01.parquet"
    assert pl.read_parquet(path)["number"].to_list() == [*range(100), 201]
    assert left() == [path]


def test_every_value_arrives_as_it_is(spark: SparkSession) -> None:
    rows = {row["number"]: row for row in judged(spark, TRIPS, fetched())}
    assert {row["_reason"] for row in rows.values()} == {None}
    row = rows[5]
    assert (row["big"], row["kind"], row["amount"], row["flag"]) == (10_000_000_005, "bus 5", 1.25, False)
    assert row["day"] == DAY
    assert row["happened_at"].astimezone(UTC) == datetime(2020, 6, 1, 1, 10, tzinfo=UTC)
    assert row["noted_at"].astimezone(UTC) == datetime(2020, 6, 1, 5, 0, 0, 1, tzinfo=UTC), "without a zone is UTC"
    assert rows[3]["kind"] is None
    assert rows[201]["happened_at"].astimezone(UTC) == datetime(2020, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.fixture
def far_away(spark: SparkSession) -> Iterator[None]:
    """A Spark whose JVM lives in another time zone than UTC, as a cluster's may."""
    zones = spark.sparkContext._jvm.java.util.TimeZone
    before = zones.getDefault()
    zones.setDefault(zones.getTimeZone("Asia/Tokyo"))
    yield
    zones.setDefault(before)


@pytest.mark.usefixtures("far_away")
def test_where_spark_lives_changes_nothing() -> None:
    night = pl.read_parquet(fetched(with_base(partition="number")))
    assert night["number"].to_list() == [*range(100), 201]
    assert night["happened_at"].dt.replace_time_zone(None)[5] == datetime(2020, 6, 1, 1, 10)
    assert night["noted_at"].dt.replace_time_zone(None)[5] == datetime(2020, 6, 1, 5, 0, 0, 1)
    assert night["day"][5] == DAY


def test_a_rerun_brings_the_same_file() -> None:
    path = fetched(with_base(partition="number"))
    before = path.read_bytes()
    path.unlink()
    assert fetched(with_base(partition="number", partitions=3)).read_bytes() == before


@pytest.mark.parametrize("partition", ["number", "big", "happened_at", "day"])
def test_in_parts_it_is_the_same_night(partition: str) -> None:
    """Also with nulls in the column that cuts it, as 201 has in some, and with only one value there."""
    assert pl.read_parquet(fetched(with_base(partition=partition)))["number"].to_list() == [*range(100), 201]


def test_parts_are_read_side_by_side(spark: SparkSession) -> None:
    base = replace(BASE, partition="number", partitions=5)
    login = database.options_of(base, database.connection("toys_db"))
    rows, bounds = database.look(spark, login, base, DAY)
    assert (rows, bounds) == (101, ("0", "201"))
    parts = database.read(spark, login, base, TRIPS, DAY, bounds).rdd.glom().map(len).collect()
    assert len(parts) == 5
    assert sum(parts) == 101
    assert sorted(parts)[-1] < 101


def test_bounds_cut_and_do_not_leave_out() -> None:
    feed = with_base(partition="number", bounds=("40", "60"))
    assert pl.read_parquet(fetched(feed))["number"].to_list() == [*range(100), 201]


def test_a_watermark_may_be_a_date_or_without_a_zone() -> None:
    assert len(pl.read_parquet(fetched(with_base(watermark="day")))) == 100
    landing.path_of(SOURCE, TRIPS, DAY).unlink()
    assert len(pl.read_parquet(fetched(with_base(watermark="noted_at")))) == 100


def test_a_night_without_rows_has_no_file() -> None:
    assert fetch(SOURCE, TRIPS, date(2019, 1, 1)) is None
    assert left() == []


def test_every_change_of_a_night_is_kept_in_its_order(spark: SparkSession) -> None:
    rows = judged(spark, CHANGES, fetched(CHANGES))
    found = sorted((row["sequence"], row["number"], row["op"], row["kind"], row["_reason"]) for row in rows)
    assert [change[1:] for change in found] == [
        (300, "insert", "bus", None),
        (300, "update", "tram", None),
        (301, "insert", "bus", None),
        (300, "delete", None, None),
    ]
    (row,) = judged(spark, CHANGES, fetched(CHANGES, NEXT))
    assert (row["number"], row["op"], row["_reason"]) == (301, "delete", None)


def test_a_night_without_changes_has_a_file_that_says_so(spark: SparkSession) -> None:
    assert judged(spark, CHANGES, fetched(CHANGES, date(2019, 1, 1))) == []


def test_a_table_that_changes_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """A row goes between the count and the reading."""
    look = database.look

    def then_deletes(*arguments: Any) -> Any:
        found = look(*arguments)
        server.sql("SET toys.now TO '2020-06-03'; DELETE FROM trips WHERE number = 7")
        return found

    monkeypatch.setattr(database, "look", then_deletes)
    try:
        with pytest.raises(UpstreamError, match=r"public\.trips 2020-06-01: 101 rows were there and 100 came"):
            fetched()
        assert left() == []
    finally:
        server.sql(
            "SET toys.now TO '2020-06-03'; INSERT INTO trips SELECT 7, 10000000007, 'bus 7', 1.75, false, "
            "'2020-06-01', '2020-06-01 01:38:00+00', '2020-06-01 05:00:00.000001'"
        )


def test_another_type_than_promised_is_named(server: Server) -> None:
    """The file stays: it is what the upstream said."""
    columns = (replace(TRIPS.columns[0], type="bigint"), replace(TRIPS.columns[1], type="int"), *TRIPS.columns[2:])
    feed = replace(TRIPS, columns=columns)
    with pytest.raises(landing.UnreadableFileError, match="column big is INT64, which is no int"):
        landing.count_rows(fetched(feed), feed)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"table": "public.nothing"}, "nothing"),
        ({"watermark": "no_such"}, "no_such"),
        ({"table": 'trips"; DROP TABLE trips; --'}, "does not exist"),
    ],
)
def test_what_is_not_there_is_named(server: Server, values: dict[str, str], said: str) -> None:
    with pytest.raises(Exception, match=said) as raised:
        fetched(with_base(**values))
    assert PASSWORD not in str(raised.value)
    assert left() == []
    assert server.sql("SELECT count(*) FROM trips").strip() != "0"


def test_a_wrong_password_is_not_said(connect: Callable[..., None], server: Server) -> None:
    wrong = {"login": "toys", "password": "another-password", "schema": "postgres", "port": server.port}
    connect("toys_db", conn_type="postgres", host="127.0.0.1", **wrong)
    with pytest.raises(Exception, match=r"public\.trips by the connection toys_db: .*t connect") as raised:
        fetched()
    assert "another-password" not in str(raised.value)
    assert left() == []


def test_a_connection_without_its_parts_is_refused(connect: Callable[..., None]) -> None:
    connect("toys_db", conn_type="postgres", host="127.0.0.1")
    with pytest.raises(RefusedError, match="the connection toys_db names no host, or no database"):
        fetched()
    assert issubclass(RefusedError, NeedsAttentionError)
