"""What a column is made of, clause by clause of SQL, and what cannot be followed is said and not passed over."""

from typing import Any

import pytest
from sqlglot.errors import SqlglotError

from include.lake.columns import Columns, LineageError, Origin, Origins, of_query

TABLES: dict[str, dict[str, Origins]] = {
    "bronze": {
        "people": {name: frozenset([Origin("s", "people", name)]) for name in ("id", "email", "age", "day")},
        "visits": {name: frozenset([Origin("s", "visits", name)]) for name in ("id", "email", "day")},
    }
}
KEY = "(select max(value) from text.`file:/var/secrets/pseudonym_key`)"


def made_of(sql: str) -> dict[str, str]:
    """The columns of a query, each with what it is made of, as feed.column."""
    found = of_query(sql, TABLES)
    return {name: " ".join(sorted(f"{one.feed}.{one.column}" for one in origins)) for name, origins in found.items()}


@pytest.mark.parametrize(
    ("sql", "x"),
    [
        ("select email as x from bronze.people", "people.email"),
        ("select lower(trim(email)) as x from bronze.people", "people.email"),
        ("select concat_ws(':', id, email) as x from bronze.people", "people.email people.id"),
        ("select case when email like '%.org' then 1 else age end as x from bronze.people", "people.age people.email"),
        ("select max(email) over (partition by id) as x from bronze.people", "people.email people.id"),
        ("select collect_set(email) as x from bronze.people group by day", "people.email"),
        # through other names, queries and unions
        (
            "with a as (select email as b from bronze.people), c as (select b as x from a) select * from c",
            "people.email",
        ),
        ("select x from (select id, email as x from bronze.people) as a", "people.email"),
        ("select id as x from bronze.people union all select email from bronze.visits", "people.id visits.email"),
        ("select (select max(email) from bronze.visits) as x from bronze.people", "visits.email"),
        (
            "select email in (select v.email from bronze.visits as v) as x from bronze.people",
            "people.email visits.email",
        ),
        ("select exists(select 1 from bronze.visits as v where v.email = p.email) as x from bronze.people as p", ""),
        # `stack` says which value is of which column
        ("select k as x from bronze.people lateral view stack(2, 'a', id, 'b', email) as k, v", ""),
        (
            "select v as x from bronze.people lateral view stack(2, 'a', id, 'b', email) as k, v",
            "people.email people.id",
        ),
        ("select v as x from bronze.people lateral view explode(split(email, '@')) as v", "people.email"),
        # what only chooses, joins, groups or orders rows is not in what comes out
        ("select id as x from bronze.people where email is not null order by age", "people.id"),
        ("select count(*) as x from bronze.people group by email having max(email) > 'a'", ""),
        ("select p.id as x from bronze.people as p join bronze.visits as v on p.email = v.email", "people.id"),
        ("select 1 as x from bronze.people", ""),
        # a hash is a pseudonym only with the key in it, and hides no more than what it is made of
        (f"select sha2(concat({KEY}, email), 256) as x from bronze.people", ""),
        (f"select sha2(concat({KEY}, email), 256) || age as x from bronze.people", "people.age"),
        ("select sha2(email, 256) as x from bronze.people", "people.email"),
    ],
)
def test_what_a_column_is_made_of(sql: str, x: str) -> None:
    assert made_of(sql) == {"x": x}


def test_a_star_is_all_columns_in_their_order() -> None:
    found = made_of("select p.*, v.day as visited from bronze.people as p join bronze.visits as v using (id)")
    assert list(found) == ["id", "email", "age", "day", "visited"]
    assert found["email"] == "people.email"
    assert found["visited"] == "visits.day"


@pytest.mark.parametrize(
    "sql",
    [
        "select telephone from bronze.people",
        "select a from bronze.strangers",
        "select a.b from bronze.people as p",
        "select a from values (1) as t (a)",
        "select * from bronze.people pivot (max(email) for age in (1 as young))",
        "select k from (select stack(1, 'a', email) as (k, v) from bronze.people) as s",
    ],
)
def test_what_is_not_known_is_an_error(sql: str) -> None:
    with pytest.raises((LineageError, SqlglotError)):
        of_query(sql, TABLES)


def manifest(**models: str) -> dict[str, Any]:
    """A project over the source ``s`` of models by name, each of which may read those before it."""
    names, source = list(models), "source.p.s.people"
    return {
        "sources": {
            source: {
                "source_name": "s",
                "name": "people",
                "schema": "bronze",
                "identifier": "s__people",
                "columns": {"id": {}, "email": {}},
            }
        },
        "nodes": {
            f"model.p.{name}": {
                "resource_type": "model",
                "name": name,
                "schema": "gold" if name == names[-1] else "silver",
                "alias": name,
                "compiled_code": sql,
                "depends_on": {"nodes": [source, *(f"model.p.{one}" for one in names[: names.index(name)])]},
            }
            for name, sql in models.items()
        },
    }


def test_models_are_followed_to_the_source() -> None:
    columns = Columns(
        manifest(
            people="select id, email as mail from bronze.s__people", use="select upper(mail) as m from silver.people"
        )
    )
    assert columns.sources_of("use", "m") == {("s", "people", "email")}
    assert columns.of("people") == ["id", "mail"]
    assert columns.layers == {"people": "silver", "use": "gold"}


def test_a_model_that_cannot_be_followed_is_named() -> None:
    with pytest.raises(LineageError, match="model use: "):
        Columns(manifest(people="select id from bronze.s__people", use="select mail from silver.people"))
