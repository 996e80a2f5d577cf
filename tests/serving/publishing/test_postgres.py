"""A day in PostgreSQL is there whole, once, and never older than it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest

from include.contracts.publishing import ToPostgres
from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.ingestion.connectors.errors import RefusedError
from include.serving.publishing import content, ledger
from include.serving.publishing.errors import OlderLakeError, TargetAwayError, TargetRefusedError
from include.serving.publishing.postgres import Postgres
from tests.ingestion.connectors.test_database import PASSWORD, Server
from tests.serving.publishing.conftest import DAY, FIRST, NEXT, SECOND, publish, score, verbs

TARGET = ToPostgres(connection="scores", table="app.scores")
type Use = Callable[..., UseCase]


def rows(database: Server, day: date = DAY) -> dict[str, tuple[float, int]]:
    """The score and the revision of each coin."""
    found = database.sql(f"SELECT coin_id, score, revision FROM app.scores WHERE flight_date = '{day}' ORDER BY 1")
    lines = [line.split("|") for line in found.splitlines()]
    return {coin: (float(value), int(revision)) for coin, value, revision in lines}


def scores(database: Server, day: date = DAY) -> dict[str, float]:
    return {coin: value for coin, (value, _) in rows(database, day).items()}


def xmins(database: Server) -> str:
    """Which transaction has written each row, markers included."""
    return database.sql("SELECT xmin FROM app.scores") + database.sql("SELECT xmin FROM app.scores__published")


def test_each_day_is_there_with_what_a_reader_needs(use: Use, database: Server) -> None:
    case = use(TARGET)
    assert verbs(case) == ["sent", "sent"]
    assert scores(database) == FIRST
    assert scores(database, NEXT) == {"coin 7": 0.7}
    columns = database.sql(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'app.scores'::regclass "
        "AND attnum > 0 ORDER BY attnum"
    )
    assert columns.splitlines() == [
        "flight_date|date",
        "coin_id|text",
        "score|double precision",
        "model_version|bigint",
        "scored_by|text",
        "revision|integer",
    ]
    line = ledger.last(case, "postgres", DAY)
    assert line is not None
    assert (line.revision, line.rows, line.is_done) == (1, 6, True)


def test_again_nothing_is_written(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    before = xmins(database)
    assert verbs(case) == ["same", "same"]
    assert xmins(database) == before


def test_a_rescored_day_changes_those_rows_alone(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    score(case, DAY, SECOND)
    first, other = publish(case)
    assert (first.verb, first.revision, first.changed, first.gone, other.verb) == ("sent", 2, 2, 1, "same")
    assert scores(database) == SECOND
    assert {coin for coin, (_, revision) in rows(database).items() if revision == 2} == {"coin 1", "coin 6"}


def test_features_of_another_content_alone_are_no_change(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    score(case, DAY, FIRST, features_content="another")
    assert verbs(case) == ["same", "same"]


def test_a_day_that_is_gone_is_emptied_and_one_that_never_was_leaves_nothing(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    score(case, DAY, {})
    assert verbs(case) == ["sent", "same"]
    assert scores(database) == {}
    assert verbs(case, DAY - timedelta(9), DAY - timedelta(1)) == []
    assert database.sql("SELECT count(*) FROM app.scores__published") == "2\n"


def test_what_is_older_never_comes_after_what_is_newer(use: Use, database: Server) -> None:
    """A publisher that has read the day, and is held up until another one has published it anew."""
    case = use(TARGET)
    older = next(content.days(case, [DAY]))
    score(case, DAY, SECOND)
    publish(case)
    late = Postgres(case, TARGET)
    assert late.send(older).verb == "newer"
    late.close()
    assert scores(database) == SECOND


def test_nor_where_the_newer_one_was_like_the_one_before(use: Use, database: Server) -> None:
    """First, second, first again: the second comes late, and the target has the content of the third."""
    case = use(TARGET)
    publish(case)
    score(case, DAY, SECOND)
    second = next(content.days(case, [DAY]))
    score(case, DAY, FIRST)
    assert verbs(case) == ["same", "same"]
    late = Postgres(case, TARGET)
    assert late.send(second).verb == "newer"
    late.close()
    assert scores(database) == FIRST


def test_an_older_lake_is_refused(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    database.sql("UPDATE app.scores__published SET table_version = 99")
    with pytest.raises(OlderLakeError, match=r"postgres of toy has 2020-02-01 of a newer state .* a backup"):
        publish(case)


def test_two_publishers_at_once_are_one_after_the_other(use: Use, database: Server) -> None:
    """Without our lease, as on two machines: the database itself has one of them wait."""
    case = use(TARGET)

    def send(day: content.Day) -> str:
        there = Postgres(case, TARGET)
        try:
            return there.send(day).verb
        finally:
            there.close()

    for revision, wanted in enumerate([FIRST, SECOND, FIRST, SECOND], 1):
        score(case, DAY, wanted)
        day = next(content.days(case, [DAY]))
        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(send, [day] * 4)) == ["same", "same", "same", "sent"]
        assert scores(database) == wanted
        assert max(number for _, number in rows(database).values()) == revision


TABLE = "flight_date date, coin_id text, score float8, model_version bigint, scored_by text, revision int"


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (
            TABLE.replace("score float8, ", ""),
            "no column score. Make it: ALTER TABLE app.scores ADD COLUMN score double",
        ),
        (TABLE.replace("float8", "numeric(4, 2)"), r"score is numeric\(4,2\) and should be double precision"),
        (TABLE.replace("float8", "real"), "score is real and should be double precision"),
        (f"{TABLE}, more text NOT NULL", "the column more must have a value"),
        (TABLE, "nothing says that flight_date, coin_id are unique .* ADD UNIQUE"),
        (
            TABLE.replace("coin_id text", "coin_id varchar(3)"),
            "column coin_id: value too long for type character varying",
        ),
        (TABLE.replace("bigint", "bigint CHECK (model_version > 1)"), "violates check constraint"),
    ],
)
def test_a_table_that_does_not_fit_is_named_and_left(use: Use, database: Server, made: str, match: str) -> None:
    case = use(TARGET)
    unique = "" if "unique" in match else ", UNIQUE (coin_id, flight_date)"
    database.sql(f"CREATE TABLE app.scores ({made}{unique})")
    with pytest.raises(TargetRefusedError, match=match) as raised:
        publish(case)
    assert "app.scores by the connection scores" in str(raised.value)
    assert database.sql("SELECT count(*) FROM app.scores") == "0\n"
    assert database.sql("SELECT to_regclass('app.scores__published')") == "\n"


def test_a_column_of_a_newer_version_is_asked_for_and_older_days_are_as_they_were(use: Use, database: Server) -> None:
    case = use(TARGET)
    publish(case)
    score(case, NEXT, {"coin 7": 0.7}, q90=0.9)
    with pytest.raises(
        TargetRefusedError, match=r"no column q90. Make it: ALTER TABLE app.scores ADD COLUMN q90 double"
    ):
        publish(case)
    database.sql("ALTER TABLE app.scores ADD COLUMN q90 double precision")
    assert verbs(case) == ["same", "sent"]


def test_rows_of_somebody_else_are_not_taken_for_ours(use: Use, database: Server) -> None:
    case = use(TARGET)
    database.sql(f"CREATE TABLE app.scores ({TABLE}, UNIQUE (coin_id, flight_date))")
    database.sql("INSERT INTO app.scores (flight_date, coin_id) VALUES ('2020-02-01', 'mine')")
    with pytest.raises(TargetRefusedError, match="rows that were not published by Nocturne"):
        publish(case)
    database.sql("DELETE FROM app.scores")
    publish(case)
    database.sql("UPDATE app.scores__published SET use_case = 'other'")
    with pytest.raises(TargetRefusedError, match="other publishes there too"):
        publish(case)


def test_what_is_no_number_is_refused_before_anything(use: Use, database: Server) -> None:
    case = use(TARGET)
    score(case, DAY, FIRST | {"coin 2": float("nan")})
    with pytest.raises(TargetRefusedError, match=r"gold.toy__predictions: score of 2020-02-01, coin 2 is nan"):
        publish(case)
    assert database.sql("SELECT to_regclass('app.scores')") == "\n"


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"password": "wrong"}, "password authentication failed.*Look at its login"),
        ({"schema": "nowhere"}, 'database "nowhere" does not exist.*Look at its schema'),
        ({"host": ""}, "names no host"),
        ({"host": "127.0.0.1 options=x"}, "no name and no address"),
        ({"login": "reader", "password": PASSWORD}, "permission denied.*rights that docs/publish-predictions"),
    ],
)
def test_who_may_not_is_told(
    use: Use, database: Server, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], match: str
) -> None:
    case = use(TARGET)
    database.sql(f"DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
    found = {"conn_type": "postgres", "host": "127.0.0.1", "port": database.port, "schema": "postgres"}
    monkeypatch.setenv("AIRFLOW_CONN_SCORES", json.dumps(found | {"login": "toys", "password": PASSWORD} | changed))
    with pytest.raises(NeedsAttentionError, match=match) as raised:
        publish(case)
    assert PASSWORD not in str(raised.value)


def test_no_connection_and_no_server_are_told_apart(
    use: Use, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = use(TARGET)
    monkeypatch.setenv("AIRFLOW_CONN_SCORES", json.dumps({"host": "127.0.0.1", "port": 1, "schema": "x"}))
    with pytest.raises(TargetAwayError, match=r"app.scores by the connection scores.*refused"):
        publish(case)
    monkeypatch.delenv("AIRFLOW_CONN_SCORES")
    with pytest.raises(RefusedError, match=r"no Airflow connection 'scores'.*AIRFLOW_CONN_SCORES"):
        publish(case)
