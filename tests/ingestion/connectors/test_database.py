"""A night of a real PostgreSQL becomes one landing file: exactly its rows, whichever parts it is read in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from include.contracts.connectors import Database
from include.contracts.source import Column, Feed, Format, Mode, Source
from include.core.errors import NeedsAttentionError
from include.ingestion import landing
from include.ingestion.connectors import database
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.connectors.fetch import fetch
from include.lake import spark as lake
from tests.ingestion.judged import rows
from tests.s3 import free_port

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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
def folder() -> Iterator[Path]:
    """Where the servers are. PostgreSQL refuses to run as root: then as nobody."""
    made = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are for the user of the tests alone
    if os.geteuid() == 0:
        shutil.chown(made, "nobody", "nogroup")
    yield made
    shutil.rmtree(made)


def who() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def running(found: Server, data: Path) -> Iterator[Server]:
    """A server on a free port of loopback, while this lasts."""
    start = [str(found.bin / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(found.port)]
    start += ["-k", str(data.parent), "-F"]
    log = data.with_suffix(".log")
    with log.open("w") as out, subprocess.Popen(start, **who(), stdout=out, stderr=out, cwd=data.parent) as it:
        try:
            until = time.monotonic() + 60
            while not found.answers():
                assert it.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield found
        finally:
            it.send_signal(signal.SIGINT)  # its fast way to stop: it sends its clients away
            try:
                it.wait(10)
            except subprocess.TimeoutExpired:
                it.kill()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A PostgreSQL of this module's own."""
    found = Server(programs(), free_port())
    (secret := folder / "password").write_text(PASSWORD)
    secret.chmod(0o644)
    made = [str(found.bin / "initdb"), "-D", str(folder / "data"), "-U", "toys", "-A", "scram-sha-256"]
    made += ["--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale", "C"]
    subprocess.run(made, **who(), check=True, capture_output=True, cwd=folder)
    with running(found, folder / "data"):
        found.sql(TABLES)
        yield found


@pytest.fixture
def replica(server: Server, folder: Path) -> Iterator[Server]:
    """A server that follows the other one."""
    made = [str(server.bin / "pg_basebackup"), "-D", str(folder / "replica"), "-R", "-h", "127.0.0.1"]
    made += ["-p", str(server.port), "-U", "toys", "-c", "fast"]
    environment = os.environ | {"PGPASSWORD": PASSWORD}
    subprocess.run(made, **who(), check=True, capture_output=True, cwd=folder, env=environment)
    with running(Server(server.bin, free_port()), folder / "replica") as found:
        yield found
    shutil.rmtree(folder / "replica")


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
    monkeypatch.setattr(lake, "session", lambda *_: spark)


def with_base(**values: Any) -> Feed:
    return replace(TRIPS, connector=replace(BASE, **values))


def fetched(feed: Feed = TRIPS, day: date = DAY) -> Path:
    path = fetch(SOURCE, feed, day)
    assert path
    return path


def left() -> list[Path]:
    return [path for path in landing.path_of(SOURCE, TRIPS, DAY).parent.iterdir() if path.is_file() or path.is_dir()]


def judged(feed: Feed, path: Path) -> list[dict[str, Any]]:
    """The rows as they would come to bronze, each with its verdict."""
    found = rows(feed, path)
    assert landing.look_through(path, feed)["rows"] == len(found)
    return found


def test_a_night_is_its_rows_in_utc_from_midnight_to_midnight(home: Path) -> None:
    """The database itself lives in New York; the last microsecond of the day belongs to it, the next midnight not."""
    path = fetched()
    assert path == home / "landing" / "toys" / "trips" / "2020-06-01.parquet"
    assert pl.read_parquet(path)["number"].to_list() == [*range(100), 201]
    assert left() == [path]


def test_every_value_arrives_as_it_is() -> None:
    found = {row["number"]: row for row in judged(TRIPS, fetched())}
    assert {row["_reason"] for row in found.values()} == {None}
    row = found[5]
    assert (row["big"], row["kind"], row["amount"], row["flag"]) == (10_000_000_005, "bus 5", 1.25, False)
    assert row["day"] == DAY
    assert row["happened_at"].astimezone(UTC) == datetime(2020, 6, 1, 1, 10, tzinfo=UTC)
    assert row["noted_at"].astimezone(UTC) == datetime(2020, 6, 1, 5, 0, 0, 1, tzinfo=UTC), "without a zone is UTC"
    assert found[3]["kind"] is None
    assert found[201]["happened_at"].astimezone(UTC) == datetime(2020, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)


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
    there = database.kinds(spark, login, base)
    night = database.night_of(base, SOURCE, DAY, there)
    rows, bounds = database.look(spark, login, base, night)
    assert (rows, bounds) == (101, ("0", "201"))
    parts = database.read(spark, login, base, TRIPS, night, bounds, there).rdd.glom().map(len).collect()
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


def test_a_night_is_the_business_day_of_its_source() -> None:
    """Of 06-01 in Tokyo the first nine hours are of 05-31 in UTC. A date has no zone."""
    source = replace(SOURCE, timezone="Asia/Tokyo")
    path = fetch(source, TRIPS, DAY)
    assert path
    assert pl.read_parquet(path)["number"].to_list() == [*range(65), 200]
    path.unlink()
    path = fetch(source, with_base(watermark="day"), DAY)
    assert path
    assert len(pl.read_parquet(path)) == 100


@contextmanager
def open_transaction(server: Server, statement: str, seconds: float = 60) -> Iterator[None]:
    """A transaction that has made ``statement`` and commits some seconds later; at the end it is cancelled, if open."""
    text = f"BEGIN; {statement}; SELECT pg_sleep({seconds}); COMMIT"
    asleep = "FROM pg_stat_activity WHERE query LIKE 'BEGIN;%' AND wait_event = 'PgSleep'"
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(server.sql, text)
        while not server.sql(f"SELECT pid {asleep}"):
            assert not done.done(), done.result()
            time.sleep(0.05)
        yield
        if server.sql(f"SELECT pg_cancel_backend(pid) {asleep}"):
            assert isinstance(done.exception(), subprocess.CalledProcessError)
        else:
            done.result()


LONG_AGO = "SET toys.now TO '2018-01-01 00:00+00'"  # for the trigger, and in no night of the others
INSERT = f"{LONG_AGO}; INSERT INTO trips (number, happened_at) VALUES (400, '2020-06-01 23:59:59+00')"
DELETE = f"{LONG_AGO}; DELETE FROM trips WHERE number = 400"


def test_a_row_that_is_not_committed_yet_is_waited_for(server: Server) -> None:
    """What began before midnight and commits after it would be in no night."""
    try:
        with open_transaction(server, INSERT, 3):
            path = fetched()
        assert pl.read_parquet(path)["number"].to_list() == [*range(100), 201, 400]
    finally:
        server.sql(DELETE)


def test_but_not_for_ever(server: Server) -> None:
    with (
        open_transaction(server, INSERT),
        pytest.raises(UpstreamError, match=r"trips: a transaction that has written to it is still open after 0\.5"),
    ):
        fetched(with_base(settle=0.5))
    assert left() == []


def test_what_others_write_elsewhere_holds_up_no_night(server: Server) -> None:
    with open_transaction(server, "CREATE TABLE elsewhere (a int)"):
        assert len(pl.read_parquet(fetched(with_base(settle=0.5)))) == 101


def test_a_replica_must_have_heard_of_the_whole_night(server: Server, replica: Server, spark: SparkSession) -> None:
    base = replace(BASE, settle=0)
    login = database.options_of(base, database.connection("toys_db")) | {
        "url": f"jdbc:postgresql://127.0.0.1:{replica.port}/postgres"
    }
    replica.sql("SELECT pg_wal_replay_pause()")
    server.sql("CREATE TABLE after_that (a int)")
    ends = datetime.now(UTC)
    with pytest.raises(UpstreamError, match="a replica that lags behind"):
        database.settle(spark, login, base, ends)
    replica.sql("SELECT pg_wal_replay_resume()")
    while True:  # the replica gets it within a moment
        try:
            database.settle(spark, login, base, ends)
        except UpstreamError:
            time.sleep(0.1)
        else:
            break
    with pytest.raises(UpstreamError, match="a replica that lags behind"):
        database.settle(spark, login, replace(base, settle=1), ends + timedelta(minutes=5))
    server.sql("DROP TABLE after_that")


def test_rows_that_a_policy_hides_are_not_left_out_in_silence(server: Server, connect: Callable[..., None]) -> None:
    server.sql(f"""
        CREATE TABLE hidden AS SELECT * FROM trips; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
        CREATE POLICY few ON hidden USING (number < 50);
        CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON hidden TO reader;
        CREATE VIEW shown AS SELECT * FROM hidden WHERE number < 50; GRANT SELECT ON shown TO reader;
    """)
    login = {"host": "127.0.0.1", "port": server.port, "schema": "postgres", "login": "reader", "password": PASSWORD}
    connect("toys_db", conn_type="postgres", **login)
    with pytest.raises(RefusedError, match=r"row-level security .* read a view of what it may see"):
        fetched(with_base(table="public.hidden"))
    assert len(pl.read_parquet(fetched(with_base(table="public.shown")))) == 50
    server.sql("DROP VIEW shown; DROP TABLE hidden; DROP ROLE reader")


def test_a_night_without_rows_has_no_file() -> None:
    assert fetch(SOURCE, TRIPS, date(2019, 1, 1)) is None
    assert left() == []


def test_every_change_of_a_night_is_kept_in_its_order() -> None:
    rows = judged(CHANGES, fetched(CHANGES))
    found = sorted((row["sequence"], row["number"], row["op"], row["kind"], row["_reason"]) for row in rows)
    assert [change[1:] for change in found] == [
        (300, "insert", "bus", None),
        (300, "update", "tram", None),
        (301, "insert", "bus", None),
        (300, "delete", None, None),
    ]
    (row,) = judged(CHANGES, fetched(CHANGES, NEXT))
    assert (row["number"], row["op"], row["_reason"]) == (301, "delete", None)


def test_a_night_without_changes_has_a_file_that_says_so() -> None:
    assert judged(CHANGES, fetched(CHANGES, date(2019, 1, 1))) == []


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


def test_parts_of_a_table_that_changes_between_them_are_refused(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """As many rows as before, and another value in one: which part has seen it nobody could say."""
    write = database.write

    def note(sign: str) -> None:
        server.sql(f"SET toys.now TO '2020-06-03'; UPDATE trips SET day = day {sign} 1 WHERE number = 8")

    def changes(*arguments: Any) -> int:
        note("+")
        return write(*arguments)

    monkeypatch.setattr(database, "write", changes)
    with pytest.raises(UpstreamError, match=r"public\.trips 2020-06-01: it has changed while its parts were read"):
        fetched(with_base(partition="number"))
    assert left() == []
    assert fetched(), "in one part it is read in one moment"
    note("-")
    note("-")


def readings(server: Server, type_: str, *values: str, promised: str = "double") -> Feed:
    """A feed of a new table, one row a value, in a column of ``type_``."""
    rows = ", ".join(f"({number}, {value}, '2020-06-01 08:00+00')" for number, value in enumerate(values))
    server.sql(
        "DROP TABLE IF EXISTS readings; "
        f"CREATE TABLE readings (number int PRIMARY KEY, value {type_}, happened_at timestamptz NOT NULL); "
        f"INSERT INTO readings VALUES {rows}"
    )
    columns = (TRIPS.columns[0], Column("value", promised, "what was read"), TRIPS.columns[6])
    return replace(TRIPS, columns=columns, connector=replace(BASE, table="public.readings"))


def verdicts(feed: Feed) -> list[tuple[Any, Any]]:
    """Each value of ``readings`` as it would be published, and why it would not."""
    rows = sorted(judged(feed, fetched(feed)), key=lambda row: row["number"])
    return [(row["value"], row["_reason"]) for row in rows]


def test_a_number_that_is_none_breaks_its_row_alone(server: Server) -> None:
    feed = readings(server, "numeric(10, 2)", "0.25", "'NaN'", "NULL", "-7")
    found = verdicts(feed)
    assert [reason for _, reason in found] == [None, "value: 'NaN' is no double", None, None]
    assert [value for value, reason in found if not reason] == [0.25, None, -7.0]


def test_money_keeps_every_digit(server: Server) -> None:
    amounts = ("12345678901234567890.10", "0.10", "NULL", "-0.01", "'NaN'", "0.001", "1e30")
    found = verdicts(readings(server, "numeric", *amounts, promised="decimal(22,2)"))
    exact = [Decimal("12345678901234567890.10"), Decimal("0.10"), None, Decimal("-0.01")]
    assert found[:4] == [(value, None) for value in exact]
    assert [reason for _, reason in found[4:]] == [
        f"value: '{text}' is no decimal(22,2)" for text in ("NaN", "0.001", "1" + "0" * 30)
    ]


def test_a_number_without_a_scale_keeps_its_digits(server: Server) -> None:
    feed = readings(server, "numeric", "0.5", "1.25e-20", "-123456789012345678901234.5", "0", "5e-324", "1.5e308")
    found = [0.5, 1.25e-20, -1.2345678901234568e23, 0.0, 5e-324, 1.5e308]
    assert verdicts(feed) == [(value, None) for value in found]


def test_a_number_that_no_double_can_be_is_not_published_as_another(server: Server) -> None:
    feed = readings(server, "numeric", "1e400", "-1e-400", "'Infinity'", "'-Infinity'", "1")
    assert [reason for _, reason in verdicts(feed)] == [
        *["value: 'NaN' is no double"] * 2,
        "value: 'Infinity' is no double",
        "value: '-Infinity' is no double",
        None,
    ]


def test_digits_behind_the_point_are_not_rounded_away(server: Server) -> None:
    """Spark has 38 digits, and would give all of them to what is before the point; a domain is what it stands for."""
    server.sql("CREATE DOMAIN price AS numeric(50, 5); CREATE DOMAIN fee AS price")
    assert verdicts(readings(server, "fee", "1.5", "'NaN'"))[0] == (1.5, None)


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz"])
def test_a_time_without_end_breaks_its_row_alone(server: Server, type_: str) -> None:
    promised = type_.removesuffix("tz")
    values = ("'2020-06-01'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "NULL")
    found = verdicts(readings(server, type_, *values, promised=promised))
    assert [bool(reason) for _, reason in found] == [False, True, True, True, False]
    assert {reason.endswith("is not between 1900 and 2199") for _, reason in found if reason} == {True}


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        ("char(5)", "'bus'", "bus"),
        ("citext", "'Bus'", "Bus"),
        ("kind_of_trip", "'bus'", "bus"),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("jsonb", """'{"a": [1]}'""", '{"a": [1]}'),
        ("text", "U&'\\2028 \\+01F68C \\0085'", "\u2028 \U0001f68c \x85"),
        ("interval", "'1 day 02:00'", "1 day 02:00:00"),
        ("inet", "'10.0.0.1'", "10.0.0.1"),
    ],
)
def test_what_is_a_text_arrives_as_it_reads(server: Server, type_: str, value: str, text: str) -> None:
    server.sql("CREATE EXTENSION IF NOT EXISTS citext; DROP TYPE IF EXISTS kind_of_trip CASCADE")
    server.sql("CREATE TYPE kind_of_trip AS ENUM ('bus', 'tram')")
    assert verdicts(readings(server, type_, value, promised="string")) == [(text, None)]


def test_a_column_may_be_named_as_it_likes(server: Server) -> None:
    """In capitals and with SQL's own words, in SQL and in Spark alike; the table and its watermark with quotes too."""
    server.sql(
        '''CREATE TABLE "Odd Ones" ("Number" int, "Select" text, "it's ""so""" timestamptz);
        INSERT INTO "Odd Ones" SELECT n, 'bus', '2020-06-01 08:00+00' FROM generate_series(1, 9) AS n'''
    )
    columns = (Column("Number", "int", "n", required=True), Column("Select", "string", "s"))
    odd = replace(BASE, table="public.Odd Ones", watermark='it\'s "so"', partition="Number")
    found = pl.read_parquet(fetched(replace(TRIPS, columns=columns, key=("Number",), connector=odd)))
    assert found.rows() == [(number, "bus") for number in range(1, 10)]


@pytest.mark.parametrize(
    ("type_", "value", "promised", "said"),
    [
        (
            "numeric(38,0)",
            "7",
            "bigint",
            "column value is numeric(38,0), which is no bigint: promise a double or a decimal, or read",
        ),
        ("numeric(38,0)", "'NaN'", "string", "column value is numeric(38,0), which is no string"),
        ("time", "'08:00'", "timestamp", "column value is time without time zone, which is no timestamp"),
    ],
)
def test_a_type_that_would_not_arrive_is_for_a_person(
    server: Server, type_: str, value: str, promised: str, said: str
) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        fetched(readings(server, type_, value, promised=promised))
    assert left() == []


def test_another_type_than_promised_is_named(server: Server) -> None:
    """The file stays: it is what the upstream said."""
    columns = (replace(TRIPS.columns[0], type="bigint"), replace(TRIPS.columns[1], type="int"), *TRIPS.columns[2:])
    feed = replace(TRIPS, columns=columns)
    with pytest.raises(landing.UnreadableFileError, match="column big is INT64, which is no int"):
        landing.look_through(fetched(feed), feed)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"table": "public.nothing"}, "there is no such table"),
        ({"table": "no_schema.trips"}, "there is no such table"),
        ({"table": 'trips"; DROP TABLE trips; --'}, "there is no such table"),
        ({"table": "trips' OR true"}, "there is no such table"),
        ({"watermark": "no_such"}, "no column no_such. It has number, big, kind"),
        ({"watermark": "number"}, "column number is integer, which is no watermark"),
        ({"partition": "kind"}, "column kind is text, which is no partition"),
    ],
)
def test_what_is_not_there_is_for_a_person(server: Server, values: dict[str, str], said: str) -> None:
    with pytest.raises(RefusedError, match=f"by the connection toys_db: {re.escape(said)}") as raised:
        fetched(with_base(**values))
    assert PASSWORD not in str(raised.value)
    assert left() == []
    assert server.sql("SELECT count(*) FROM trips").strip() != "0"


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ({"password": "another-password"}, RefusedError, 'password authentication failed for user "toys". Look at its'),
        ({"schema": "no_such"}, RefusedError, 'database "no_such" does not exist. Look at its schema'),
        ({"login": "guest"}, RefusedError, "permission denied for table trips. Give its login the right"),
        ({"extra": {"sslmode": "require"}}, RefusedError, "The server does not support SSL. Look at sslmode"),
        ({"port": 1}, UpstreamError, "Connection to 127.0.0.1:1 refused"),
    ],
)
def test_what_the_database_says_is_said(
    connect: Callable[..., None], server: Server, values: dict[str, Any], kind: type[Exception], said: str
) -> None:
    server.sql(f"DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    login = {"login": "toys", "password": PASSWORD, "schema": "postgres", "host": "127.0.0.1", "port": server.port}
    connect("toys_db", conn_type="postgres", **login | values)
    with pytest.raises(kind, match=rf"public\.trips by the connection toys_db: .*{re.escape(said)}") as raised:
        fetched()
    assert not any(secret in str(raised.value) for secret in (PASSWORD, "another-password"))
    assert left() == []


SMUGGLED = "socketFactory=org.example.Anything&loggerLevel=TRACE"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema": f"postgres?{SMUGGLED}"}, f'database "postgres?{SMUGGLED}" does not exist'),
        ({"schema": f"postgres%3F{SMUGGLED}"}, f'database "postgres%3F{SMUGGLED}" does not exist'),
        ({"host": f"127.0.0.1/postgres?{SMUGGLED}#"}, "which is no name and no address of one"),
        ({"host": "127.0.0.1,elsewhere"}, "which is no name and no address of one"),
        ({"host": "me:secret@127.0.0.1"}, "which is no name and no address of one"),
    ],
)
def test_no_option_hides_in_a_connection(
    connect: Callable[..., None], server: Server, values: dict[str, str], said: str
) -> None:
    login = {"host": "127.0.0.1", "port": server.port, "schema": "postgres", "login": "toys", "password": PASSWORD}
    connect("toys_db", conn_type="postgres", **login | values)
    with pytest.raises(RefusedError, match=re.escape(said)):
        fetched()


def test_of_an_extra_the_driver_is_told_what_is_named_alone(connect: Callable[..., None]) -> None:
    extra = {"socketFactory": "org.example.Anything", "url": "jdbc:h2:mem:", "driver": "org.h2.Driver", "sslkey": "/k"}
    connect("toys_db", conn_type="postgres", host="127.0.0.1", schema="toys", extra=extra)
    options = database.options_of(BASE, database.connection("toys_db"))
    assert (options["url"], options["driver"]) == ("jdbc:postgresql://127.0.0.1:5432/toys", "org.postgresql.Driver")
    assert "socketFactory" not in options
    assert options["sslkey"] == "/k"


@pytest.mark.parametrize(
    ("host", "extra", "mode"),
    [
        ("127.0.0.1", {}, None),
        ("localhost", {}, None),
        ("db.example.com", {}, "require"),
        ("db.example.com", {"sslmode": "verify-full"}, "verify-full"),
        ("2001:db8::1", {"sslmode": "disable"}, "disable"),
    ],
)
def test_elsewhere_than_on_this_machine_the_way_is_encrypted(
    connect: Callable[..., None], host: str, extra: dict[str, str], mode: str | None
) -> None:
    connect("toys_db", conn_type="postgres", host=host, schema="toys", extra=extra)
    assert database.options_of(BASE, database.connection("toys_db")).get("sslmode") == mode


def test_a_connection_without_its_parts_is_refused(connect: Callable[..., None]) -> None:
    connect("toys_db", conn_type="postgres", host="127.0.0.1")
    with pytest.raises(RefusedError, match="the connection toys_db names no host, or no database"):
        fetched()
    assert issubclass(RefusedError, NeedsAttentionError)
