"""A pseudonym as Spark makes it of a column, by dbt's macro, with a key that is in no SQL."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jinja2 import Environment

from include.core.settings import settings
from include.lake.columns import is_pseudonym
from include.local.credentials import generate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MACRO = settings().home / "dbt_project" / "macros" / "pseudonym.sql"
PEOPLE = "values ('ann@example.org'), ('bob@example.org'), ('ann@example.org'), (null) as people (email)"


def pseudonym(column: str, environment: dict[str, str]) -> str:
    """The SQL of the macro, as dbt renders it."""
    template = Environment(extensions=["jinja2.ext.do"]).from_string(
        MACRO.read_text() + f"{{{{ pseudonym('{column}') }}}}"
    )
    return template.render(execute=True, env_var=environment.get).strip()


def keyed(key: str, value: str) -> str:
    """The same, by other means than Spark's."""
    inner = hashlib.sha256((key + value).encode()).hexdigest()
    return hashlib.sha256((key + inner).encode()).hexdigest()


def test_equal_values_have_equal_pseudonyms_that_only_the_key_can_make(spark: "SparkSession", home: Path) -> None:
    generate(settings())
    key = settings().secret("pseudonym_key")
    sql = pseudonym("email", {"NOCTURNE_VAR": str(home)})
    assert key not in sql
    query = spark.sql(f"select {sql} as person from {PEOPLE}")
    found = [row["person"] for row in query.collect()]
    ann, bob = keyed(key, "ann@example.org"), keyed(key, "bob@example.org")
    assert found == [ann, bob, ann, None]
    assert key not in query._jdf.queryExecution().toString()  # the plans, which Spark's logs may show


@pytest.mark.parametrize("content", ["", "short\n", "0" * 64 + "\n" + "1" * 64 + "\n"])
def test_without_a_sound_key_there_is_no_pseudonym(spark: "SparkSession", tmp_path: Path, content: str) -> None:
    file = tmp_path / "pseudonym_key"
    file.write_text(content)
    sql = pseudonym("email", {"NOCTURNE_PSEUDONYM_KEY_URI": f"file:{file}"})
    with pytest.raises(Exception, match="must hold one line of 64 hex digits, and `make setup` makes it"):
        spark.sql(f"select {sql} as person from {PEOPLE}").collect()


def test_the_walk_through_lineage_knows_it() -> None:
    from sqlglot import parse_one

    sql = pseudonym("email", {"NOCTURNE_VAR": "/var"})
    assert is_pseudonym(parse_one(f"select {sql}", dialect="spark").selects[0])
