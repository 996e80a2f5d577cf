"""The parts of the SQL endpoint: what a statement asks of, versions that belong together, rules, personal columns."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import write_deltalake

from include.core.errors import BadRequestError
from include.core.settings import HOME, settings
from include.lake import delta
from include.serving.sql import access, engine, personal, snapshot, users
from include.serving.sql.access import RulesError, Table
from include.serving.sql.log import QueryLog
from tests import s3
from tests.serving.sql.conftest import FIRST, PEOPLE, SCORES, SECOND, write

PAIR = [Table("silver", "people"), Table("gold", "scores")]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("select * from silver.people", {"silver.people"}),
        ('select * from nocturne."Silver"."PEOPLE"', {"silver.people"}),
        ("select (select max(id) from scores) from people", {"silver.people", "gold.scores"}),
        ("with people as (select 1) select * from people", {"silver.people"}),  # one too many costs its opening
        ("select 'silver.people' from range(3)", set()),
        ("show all tables", {"silver.people", "gold.scores"}),
        ("select * from information_schema.tables", {"silver.people", "gold.scores"}),
        ("explain select * from gold.scores", {"gold.scores"}),
    ],
)
def test_only_what_a_statement_can_mean_is_opened(sql: str, named: set[str]) -> None:
    assert {str(table) for table in PAIR if engine.read(sql).wants(table)} == named


def test_a_statement_that_is_deep_or_long_is_refused() -> None:
    with pytest.raises(engine.RefusedError, match="100000 characters at most"):
        engine.read("select " + "1 + " * 30_000 + "1")
    with pytest.raises(engine.RefusedError):
        engine.read("select " + "(" * 20_000 + "1" + ")" * 20_000)


def test_all_versions_of_a_statement_were_the_newest_at_one_moment(
    lake: snapshot.Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night publishes silver and then gold, while the versions are read: never the old one with the new."""
    opened, published = delta.opened, []

    def slow(layer: str, name: str, version: int | None = None) -> object:
        table = opened(layer, name, version)
        if len(published) < 2 and layer == "gold":  # gold is read first, and is published next
            published.append(name)
            write("silver", "people", PEOPLE.with_columns(id=pl.col("id") + 10 * len(published)))
            write("gold", "scores", SCORES.with_columns(id=pl.col("id") + 10 * len(published)))
        return table

    monkeypatch.setattr(delta, "opened", slow)
    versions = {str(table): version for table, (version, _) in lake.cut(PAIR).items()}
    assert published == ["scores", "scores"]
    assert versions == {"gold.scores": 2, "silver.people": 2}


def test_a_lake_that_never_rests_is_said(lake: snapshot.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = snapshot._opened

    def restless(names: list[Table]) -> object:
        found = opened(names)
        write("gold", "scores", pl.DataFrame({"id": [found[PAIR[1]].version() + 100], "score": [0.5], "day": [FIRST]}))
        return found

    monkeypatch.setattr(snapshot, "_opened", restless)
    with pytest.raises(snapshot.UnsettledError, match="try again in a moment"):
        lake.cut(PAIR)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('{file}')",
        "select * from read_csv('{file}')",
        "copy (select 1) to '{file}.out'",
        "attach '{file}.db'",
        "set enable_external_access = true",
        "create table x as select 1",
    ],
)
def test_the_database_itself_opens_no_file_and_takes_no_change(tmp_path: Path, statement: str) -> None:
    """The second wall: whatever got past the parser."""
    (tmp_path / "file").write_text("a secret")
    with engine.database({}, engine.Limits(2**28, 2**28, 1), tmp_path) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(file=tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_filter_finds_what_polars_finds(lake: snapshot.Lake, tmp_path: Path) -> None:
    """Whatever types a column has, and though files have other columns, or one of nothing but nulls."""
    first = pl.DataFrame(
        {
            "text": ["a", None, "c", None],
            "number": pl.Series([1, 2, None, None], dtype=pl.Int32),
            "real": [1.5, float("nan"), None, 0.1],
            "yes": [True, False, None, None],
            "price": pl.Series([Decimal("1.10"), None, Decimal("3.30"), None], dtype=pl.Decimal(10, 2)),
            "seen": [datetime(2024, 1, 1, tzinfo=UTC), None, datetime(2024, 2, 1, tzinfo=UTC), None],
            "tags": [["a"], [], None, ["b", "c"]],
            "why": [{"name": "x"}, {"name": None}, None, {"name": "y"}],
            "day": [FIRST, FIRST, SECOND, None],
        }
    )
    write("gold", "of_types", first.filter(pl.col("day").is_not_null()))
    write_deltalake(str(delta.table_path("gold", "of_types")), first.filter(pl.col("day").is_null()), mode="append")
    newer = first.filter(pl.col("day") == FIRST).with_columns(added=pl.lit("n"))
    write_deltalake(str(delta.table_path("gold", "of_types")), newer, mode="append", schema_mode="merge")
    rows = pl.concat([first, newer], how="diagonal")
    asked = {
        "text = 'a'": pl.col("text") == "a",
        "text is null": pl.col("text").is_null(),
        "text in ('a', 'c')": pl.col("text").is_in(["a", "c"]),
        "text >= 'b'": pl.col("text") >= "b",
        "number > 1": pl.col("number") > 1,
        "number is null": pl.col("number").is_null(),
        "real > 1": pl.col("real") > 1,
        "not yes": ~pl.col("yes"),
        "yes is null": pl.col("yes").is_null(),
        "price = 3.30": pl.col("price") == Decimal("3.30"),
        "seen >= timestamptz '2024-02-01'": pl.col("seen") >= datetime(2024, 2, 1, tzinfo=UTC),
        "len(tags) = 1": pl.col("tags").list.len() == 1,
        "why.name = 'x'": pl.col("why").struct.field("name") == "x",
        "why is null": pl.col("why").is_null(),
        "day = '2013-06-02'": pl.col("day") == SECOND,
        "day is null": pl.col("day").is_null(),
        "added is null": pl.col("added").is_null(),
        "added = 'n' or number = 1": (pl.col("added") == "n") | (pl.col("number") == 1),
    }
    found = {}
    table, role = Table("gold", "of_types"), access.roles()["admin"]
    ((_, dataset),) = lake.shown(role, [table]).values()
    with engine.database({table: dataset}, engine.Limits(2**28, 2**28, 2), tmp_path) as connection:
        for where in asked:
            answer = engine.asked(connection, f"select count(*) n from gold.of_types where {where}", ())
            found[where] = answer.to_arrow_reader(100).read_all().column("n")[0].as_py()
    assert found == {where: rows.filter(condition).height for where, condition in asked.items()}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[roles.a]\ntable = []", "roles.a.tables: Field required"),
        ("[roles.a]\ntables = ['gold.*']\npersonnal = true", "roles.a.personnal: Extra inputs"),
        ("[roles.a]\ntables = ['gold.*']\npersonal = 'no'", "roles.a.personal: Input should be a valid boolean"),
        ("[roles.a]\ntables = ['gold.*']\nhidden = ['email']", "roles.a.hidden.0: String should match"),
        ("[roles", "is no TOML"),
    ],
)
def test_rules_that_are_not_understood_are_told_and_nobody_reads(rules: Path, written: str, said: str) -> None:
    rules.write_text(written)
    with pytest.raises(RulesError, match=said):
        access.roles()


def test_a_rule_with_values_of_another_kind_is_told(lake: snapshot.Lake, rules: Path) -> None:
    rules.write_text(rules.read_text().replace('column = "origin"', 'column = "id"'))
    with pytest.raises(RulesError, match=r"id of silver.\* is int64, not \['EWR'\]"):
        lake.shown(access.roles()["newark"], PAIR)


def test_the_rules_of_the_repository_let_no_role_but_one_see_personal_columns() -> None:
    assert [name for name, role in access.roles().items() if role.personal] == ["admin"]
    assert not any(role.may_read(Table("bronze", "raw")) for role in access.roles().values())


def test_a_user_has_a_name_and_a_role_that_exist(rules: Path) -> None:
    with pytest.raises(BadRequestError, match="no name of a user"):
        users.add("Ann:x", "viewer")
    with pytest.raises(BadRequestError, match=r"there is no role 'boss'.*viewer, analyst, newark, admin"):
        users.add("ann", "boss")
    with pytest.raises(BadRequestError, match="there is no user 'ann'; there are: none"):
        users.remove("ann")


def test_the_log_keeps_to_its_size(tmp_path: Path) -> None:
    log = QueryLog(tmp_path / "sql.jsonl", size=10_000)
    for _ in range(100):
        log.write("begun", statement="select 1 " * 2_000)
    files = list(tmp_path.iterdir())
    assert len(files) == 6
    assert sum(path.stat().st_size for path in files) < 6 * 12_000


def test_a_changed_spec_or_model_asks_anew(lake: snapshot.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(personal, "_ask", lambda target: asked.append(target) or {"silver.people": ["id"]})
    assert lake.personal.of(PAIR[0]) == {"email"}
    monkeypatch.setattr(personal, "fingerprint", lambda home: "another")
    assert lake.personal.of(PAIR[0]) == {"id"}
    assert lake.personal.of(PAIR[0]) == {"id"}
    assert len(asked) == 1
    assert lake.personal.of(Table("silver", "by_hand")) is None
    assert lake.personal.of(Table("gold", "scores")) == frozenset()


def test_where_dbt_fails_only_who_may_see_everything_reads_on(
    lake: snapshot.Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(target: Path) -> dict[str, list[str]]:
        raise personal.UnknownColumnsError("which columns are personal is not known: a model does not compile")

    monkeypatch.setattr(personal, "_ask", fails)
    monkeypatch.setattr(personal, "fingerprint", lambda home: "another")
    assert len(lake.shown(access.roles()["admin"], PAIR)) == 2
    with pytest.raises(personal.UnknownColumnsError, match="does not compile"):
        lake.shown(access.roles()["analyst"], PAIR)


@pytest.mark.full
def test_a_lake_in_s3(
    s3_server: object, s3_port: int, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**s3.environment(s3_port), "NOCTURNE_LAKE_URI": "s3://nocturne/sql"}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    write("gold", "scores", SCORES)
    assert snapshot.tables() == [PAIR[1]]
    found = snapshot.Lake(personal.Personal(tmp_path)).shown(access.roles()["admin"], PAIR[1:])
    ((_, dataset),) = found.values()
    with engine.database({PAIR[1]: dataset}, engine.Limits(2**28, 2**28, 2), tmp_path) as connection:
        answer = engine.asked(connection, "select max(score) s from gold.scores where day = '2013-06-01'", ())
        assert answer.to_arrow_reader(100).read_all().to_pylist() == [{"s": 0.2}]


@pytest.mark.full
def test_the_models_of_this_repository_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dbt itself, in a process of its own."""
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1:1")
    found = personal._ask(tmp_path)
    assert found["silver.fct_flights"] == []
    assert {"gold.flight_delays__features", "gold.flight_delays__labels"} <= set(found)
    assert settings().home == HOME
