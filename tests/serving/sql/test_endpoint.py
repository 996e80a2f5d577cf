"""The SQL endpoint, asked by ADBC's driver: who gets in, what each is shown, what is refused, what is logged."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
import polars as pl
import pytest

from include.core.settings import settings
from include.local.health import WELL, sql_health
from include.serving.sql import server, users
from tests.serving.sql.conftest import PEOPLE, SCORES, Client, logged, write

ALL = "select * from silver.people order by id"


# --- doors


def test_nobody_gets_in_without_a_login(client: Client) -> None:
    for user, password in (("analyst", "wrong"), ("analyst", ""), ("nobody", "x"), ("", "")):
        with pytest.raises(flight_sql.Error, match=r"(?i)unauthenticated"):
            client.connect(user, password).cursor().execute("select 1")


def test_a_server_that_asks_for_a_login_is_healthy(client: Client) -> None:
    assert sql_health("127.0.0.1", client.port, 5) == WELL


def test_who_is_changed_or_removed_is_logged_out(client: Client) -> None:
    analyst, viewer = client.connect("analyst"), client.connect("viewer")
    users.add("analyst", "viewer")
    users.remove("viewer")
    for one in (analyst, viewer):
        with pytest.raises(flight_sql.Error, match="has been changed or removed: connect again"):
            one.cursor().execute("select 1")


def test_a_password_is_kept_as_a_hash_in_a_file_of_ones_own(client: Client) -> None:
    kept = users.path().read_text()
    assert not any(password in kept for password in client.passwords.values())
    assert users.path().stat().st_mode & 0o777 == 0o600


# --- what each is shown


def test_a_role_reads_its_layers_and_no_other(client: Client) -> None:
    write("bronze", "raw", PEOPLE)
    assert len(client.ask("viewer", "select * from gold.scores")) == 4
    assert "people does not exist" in client.refused("viewer", ALL)
    for user in ("viewer", "admin"):
        assert 'schema "bronze" does not exist' in client.refused(user, "select * from bronze.raw")


def test_personal_and_hidden_columns_are_not_there(client: Client) -> None:
    assert set(client.ask("analyst", ALL)[0]) == {"id", "origin", "day"}
    assert set(client.ask("admin", ALL)[0]) == set(PEOPLE.columns)
    for asked in (
        "select email from silver.people",
        "select count(distinct email) from silver.people",
        "select id from silver.people where email like 'ann%'",
        "select id from silver.people order by phone",
        "with p as (from silver.people) select p.email from p",
    ):
        assert re.search(
            'column named "(email|phone)"|column "(email|phone)" not found', client.refused("analyst", asked)
        )
    shown = client.ask("analyst", "select column_name from information_schema.columns where table_name = 'people'")
    assert {one["column_name"] for one in shown} == {"id", "origin", "day"}


def test_a_table_whose_columns_nobody_knows_is_for_those_who_may_see_personal_ones(client: Client) -> None:
    write("silver", "by_hand", PEOPLE)
    assert "does not exist" in client.refused("analyst", "select * from silver.by_hand")
    assert len(client.ask("admin", "select * from silver.by_hand")) == 4


def test_a_rule_of_rows_holds_however_it_is_asked(client: Client) -> None:
    expected = {
        ALL: [1, 3],
        "select id from silver.people where id > 1": [3],
        "select id from silver.people where origin = 'JFK' or origin is null": [],
        "select count(*) id from silver.people": [2],
        "select a.id from silver.people a join silver.people b using (day) order by 1": [1, 3],
        "select id from people where day >= date '2013-06-02' limit 5": [3],
        "select id from silver.people group by all having max(id) > 0 order by id desc": [3, 1],
    }
    assert {asked: [one["id"] for one in client.ask("newark", asked)] for asked in expected} == expected


def test_a_table_without_the_column_of_a_rule_is_not_shown(client: Client, rules: Path) -> None:
    write("silver", "fct_other", SCORES)
    rules.write_text(rules.read_text().replace('table = "silver.*"', 'table = "*"'))
    assert "does not exist" in client.refused("newark", "select * from gold.scores")
    assert len(client.ask("admin", "select * from gold.scores")) == 4


def test_a_change_of_the_rules_counts_from_the_next_statement_on(client: Client, rules: Path) -> None:
    analyst = client.connect("analyst")
    with analyst.cursor() as cursor:
        cursor.execute(ALL)
        cursor.fetchall()
        rules.write_text(rules.read_text().replace('"silver.*.phone"', '"silver.*.phone", "silver.people.origin"'))
        cursor.execute("describe silver.people")
        assert "origin" not in {row[0] for row in cursor.fetchall()}
        rules.write_text("roles = 1")
        with pytest.raises(flight_sql.Error, match=r"sql.toml: roles: Input should be a valid dictionary"):
            cursor.execute(ALL)


def test_metadata_shows_what_statements_do(client: Client) -> None:
    found = client.connect("analyst").adbc_get_objects(depth="all").read_all().to_pylist()
    (catalogue,) = found
    shown = {
        f"{schema['db_schema_name']}.{table['table_name']}": {one["column_name"] for one in table["table_columns"]}
        for schema in catalogue["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    }
    assert shown == {"silver.people": {"id", "origin", "day"}, "gold.scores": {"id", "score", "day"}}
    assert client.connect("viewer").adbc_get_info()["vendor_name"] == "Nocturne"


# --- read-only


ATTACKS = (
    "create table x as select 1",
    "create view x as select 1",
    "insert into gold.scores select * from gold.scores",
    "delete from gold.scores",
    "drop view gold.scores",
    "with x as (insert into gold.scores values (1, 1, null) returning id) select * from x",
    "copy gold.scores to '{out}'",
    "copy (select 1) to '{out}' (format parquet)",
    "export database '{out}'",
    "attach '{out}'",
    "install httpfs",
    "load '{secret}'",
    "set enable_external_access = true",
    "pragma database_list",
    "call pragma_version()",
    "begin",
    "select 1; select 2",
    "explain analyze create table x as select 1",
    "select * from '{secret}'",
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_csv('{secret}')",
    "select * from read_parquet('{lake}/silver/people/**/*.parquet')",
    "select * from parquet_schema('{lake}/silver/people/**/*.parquet')",
    "select * from glob('/etc/*')",
    "select * from delta_scan('{lake}/silver/people')",
    "select * from query('select 1')",
    "select * from query_table(['gold.scores'])",
    "select * from enable_logging(storage = 'file', storage_config = {{'path': '{out}'}})",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select * from arrow_scan(1, 2, 3)",
    "select * from duckdb_secrets()",
    "select * from duckdb_settings()",
)


def test_nothing_is_written_and_no_file_is_read(client: Client, tmp_path: Path) -> None:
    secret, lake = settings().var / "secrets" / "fernet_key", settings().lake
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("the key")
    before, answered, said = set(lake.rglob("*")), dict[str, object](), list[str]()
    with client.connect("admin").cursor() as cursor:
        for attack in ATTACKS:
            try:
                cursor.execute(attack.format(out=tmp_path / "out", secret=secret, lake=lake))
                answered[attack] = cursor.fetchall()
            except flight_sql.Error as error:
                said.append(str(error))
    assert answered == {}
    assert not re.search("the key|Traceback", "".join(said))
    assert not (tmp_path / "out").exists()
    assert set(lake.rglob("*")) == before
    assert client.ask("admin", "select count(*) n from gold.scores") == [{"n": 4}]


def test_rows_cannot_be_put(client: Client) -> None:
    with (
        client.connect("admin").cursor() as cursor,
        pytest.raises(flight_sql.Error, match="this endpoint answers questions only"),
    ):
        cursor.adbc_ingest("mine", pl.DataFrame({"a": [1]}).to_arrow())


def test_other_ways_to_ask(client: Client) -> None:
    for asked in ("show tables", "describe gold.scores", "summarize gold.scores", "from gold.scores", "values (1)"):
        assert client.ask("viewer", asked), asked


def test_values_are_given_beside_the_statement(client: Client) -> None:
    asked = "select id from silver.people where origin = ? and id > ?"
    assert client.ask("analyst", asked, "EWR", 1) == [{"id": 3}]
    assert client.ask("analyst", asked, "' or 1=1 --", 0) == []


def test_two_columns_of_one_name(client: Client) -> None:
    with client.connect("analyst").cursor() as cursor:
        cursor.execute("select a.id, b.id from people a join scores b on a.id = b.id order by 1 limit 1")
        assert [one[0] for one in cursor.description] == ["id", "id"]
        assert cursor.fetchall() == [(1, 1)]


# --- limits


def test_a_statement_that_takes_too_long_is_broken_off(serve: Callable[..., Client]) -> None:
    client = serve(sql_seconds=2)
    begun = time.monotonic()
    said = client.refused("viewer", "select count(*) from range(10000000) a, range(10000000) b where hash(a, b) = 3")
    assert "stopped after 2 s, the most that a statement may take" in said
    assert time.monotonic() - begun < 10
    assert client.ask("viewer", "select 1 a") == [{"a": 1}]
    assert [one["outcome"] for one in logged("ended")] == ["stopped after 2 s", "done"]


def test_a_statement_that_takes_too_much_memory_fails_alone(serve: Callable[..., Client]) -> None:
    client = serve(sql_memory_gib=0.5)
    said = client.refused("viewer", "select list(repeat('x', 1000) || i) from range(2000000) t(i)")
    assert "more memory than a statement may take" in said
    assert client.ask("viewer", "select 1 a") == [{"a": 1}]


@pytest.mark.full
def test_who_does_not_read_on_gives_the_place_up(serve: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are taken by clients that stopped to read: their time is over, and the next one has its turn."""
    client = serve(sql_seconds=3)
    cursors = [client.connect("viewer").cursor() for _ in range(server.AT_ONCE)]
    for cursor in cursors:
        cursor.execute("select i, repeat('x', 1000) from range(10000000) t(i)")
        cursor.fetchone()
    threading.Timer(4, lambda: [cursor.close() for cursor in cursors]).start()
    assert client.ask("viewer", "select 1 a") == [{"a": 1}]


# --- versions


def test_a_table_that_appears_is_seen(client: Client) -> None:
    asking = client.connect("viewer").cursor()
    with pytest.raises(flight_sql.Error, match="newer does not exist"):
        asking.execute("select * from gold.newer")
    write("gold", "newer", SCORES)
    asking.execute("select count(*) from gold.newer")
    assert asking.fetchone() == (4,)


def test_a_statement_reads_the_versions_of_its_beginning(client: Client) -> None:
    """A night that publishes while rows are on their way changes none of them."""
    many = pl.concat([SCORES] * 50_000)
    write("gold", "many", many)
    with client.connect("viewer").cursor() as cursor:
        cursor.execute("select score from gold.many")
        rows = cursor.fetch_record_batch()
        first = rows.read_next_batch()
        write("gold", "many", many.with_columns(score=pl.lit(9.0)))
        rest = rows.read_all()
    assert first.num_rows + rest.num_rows == many.height
    assert 9.0 not in rest.column("score").to_pylist()
    assert client.ask("viewer", "select distinct score from gold.many") == [{"score": 9.0}]


# --- the log


def test_who_asked_what_is_logged_and_no_secret(client: Client) -> None:
    client.ask("analyst", "select id from silver.people where origin = ?", "a-private-value")
    client.refused("viewer", "drop table gold.scores")
    with pytest.raises(flight_sql.Error):
        client.connect("viewer", "not-the-password").cursor().execute("select 1")
    (begun,), (ended,) = logged("begun"), logged("ended")
    assert (begun["user"], begun["role"], begun["parameters"]) == ("analyst", "analyst", 1)
    assert begun["statement"] == "select id from silver.people where origin = ?"
    assert (ended["id"], ended["outcome"], ended["rows"], ended["versions"]) == (
        *(begun["id"], "done", 0),
        {"silver.people": 0},
    )
    assert 0 < ended["seconds"] < 20
    assert [one.get("statement") for one in logged("refused")] == ["drop table gold.scores", None]
    text = (settings().log / "sql.jsonl").read_text()
    assert not any(one in text for one in ("a-private-value", "not-the-password", *client.passwords.values()))
    assert (settings().log / "sql.jsonl").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_logged_is_not_answered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = client.connect("viewer")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("include.serving.sql.log.RotatingFileHandler.emit", full)
    monkeypatch.setattr(client, "connect", lambda user: viewer)
    assert "No space left on device" in client.refused("viewer", "select * from gold.scores")
