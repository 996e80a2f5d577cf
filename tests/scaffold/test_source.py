"""A source from a sample: what is guessed, what is written, and what is refused without a trace."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from upath import UPath

from include.contracts.source import Copies, Feed, Finished, Format, Mode, Pii, Source
from include.scaffold import guesses, source
from include.scaffold.errors import ScaffoldError
from tests import commands
from tests.policy.test_sources import feed_problems
from tests.scaffold import companies
from tests.scaffold import conftest as samples


def made(root: Path, name: str, place: Path, **given: Any) -> Source:
    """The source that is written of a sample, read back from its spec."""
    source.make(root, name, UPath(place), **given)
    return source.spec_of((root / "include" / "sources" / name / "spec.py").read_text(), name)


def feed_of(root: Path, name: str, place: Path, **given: Any) -> Feed:
    (feed,) = made(root, name, place, **given).feeds
    return feed


def texts(root: Path, pattern: str) -> list[str]:
    return [path.read_text() for path in sorted(root.glob(pattern))]


def test_types_key_day_closed_sets_and_bounds_are_guessed(root: Path, tmp_path: Path) -> None:
    feed = feed_of(root, "bikes", samples.bikes(tmp_path))
    columns = {column.name: column for column in feed.columns}
    assert {name: column.type for name, column in columns.items()} == {
        "station": "string",
        "observed_at": "timestamp",
        "day": "date",
        "temp_c": "double",
        "is_holiday": "boolean",
        "weather": "string",
        "cnt": "int",
    }
    assert (feed.key, feed.day_column) == (("station", "observed_at"), "day")
    assert columns["weather"].values == ("clear", "rain", "snow")
    assert columns["station"].values == (), "a new station is no mistake"
    assert (columns["cnt"].minimum, columns["cnt"].maximum) == (0, 1000)


def test_a_day_whose_name_is_a_word_of_sql_is_an_event_date_in_silver(root: Path, tmp_path: Path) -> None:
    source.make(root, "bikes", UPath(samples.bikes(tmp_path)))
    (staging,) = texts(root, "dbt_project/models/staging/bikes/*.sql")
    assert "    day as event_date,\n" in staging
    assert staging.endswith("where partition_day = day\n")
    (core,) = texts(root, "dbt_project/models/marts/core/bikes/*.sql")
    assert core.startswith("{{ config(meta={'day': 'event_date'}) }}")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """An empty folder for the files of an upstream."""
    folder = tmp_path / "sample"
    folder.mkdir()
    return folder


def test_a_folder_of_whole_tables_is_one_of_snapshots(root: Path, sample: Path) -> None:
    """Though each row has a date: the day on which a customer came says nothing of the file."""
    companies.customers(sample, 6)
    feed = feed_of(root, "crm", sample)
    assert (feed.mode, feed.key, feed.day_column) == (Mode.SNAPSHOT, ("customer",), "")
    (staging,) = texts(root, "dbt_project/models/staging/crm/*.sql")
    assert "partition_day as event_date" in staging
    (fixture,) = (root / "tests/sources/crm/fixture").rglob("*.csv")
    assert fixture.name == "customers-2024-01-06.csv", "one day of them"


def test_days_that_say_something_new_are_no_snapshots(root: Path, sample: Path) -> None:
    companies.rides(sample, 4)
    assert feed_of(root, "bikes", sample).mode is Mode.PARTITION


def test_a_folder_of_changes_is_told_by_what_was_done_and_in_which_order(root: Path, sample: Path) -> None:
    """A delete leaves all else empty, which is no mistake; a day may have no change."""
    companies.changes(sample, 40)
    (sample / "changes-2024-02-10.jsonl").write_text("\n")
    (spec,) = [made(root, "crm", sample)]
    (feed,) = spec.feeds
    assert (feed.mode, feed.key, feed.op, feed.sequence) == (Mode.UPSERT, ("customer",), "op", "seq")
    assert [column.name for column in feed.columns if column.required] == ["op", "seq", "customer"]
    assert [column.maximum for column in feed.columns if column.name == "seq"] == [None], "it only ever grows"
    assert spec.closed_weekdays == ()
    assert feed_problems(feed) == []
    (core,) = texts(root, "dbt_project/models/marts/core/crm/*.yml")
    assert 'columns: ["event_date", "customer", "seq"]' in core


@pytest.mark.parametrize(
    ("found", "all_"),
    [
        (["insert", "update"], ("delete", "insert", "update")),
        (["I", "U"], ("D", "I", "U")),
        (["Created"], ("Created", "Deleted", "Updated")),
        (["put", "gone"], ("gone", "put")),
    ],
)
def test_what_can_be_done_is_more_than_a_sample_has(found: list[str], all_: tuple[str, ...]) -> None:
    """Else the first delete would go to the quarantine."""
    assert guesses.ops(pl.Series(found)) == all_


def test_how_files_add_up_can_be_said(root: Path, sample: Path) -> None:
    companies.customers(sample, 3)
    first = sample / "customers-2024-01-01.csv"
    assert feed_of(root, "a", sample, mode="partition", day="file").mode is Mode.PARTITION
    assert feed_of(root, "b", first, mode="snapshot").mode is Mode.SNAPSHOT, "one file does not show it"
    with pytest.raises(ScaffoldError, match="mode=full: it is one of partition, snapshot, upsert"):
        made(root, "c", sample, mode="full")
    with pytest.raises(ScaffoldError, match=r"mode=upsert: .* has no column that says what was done"):
        made(root, "c", first, mode="upsert")


def test_each_guess_is_marked_counted_and_said(root: Path, tmp_path: Path) -> None:
    written = source.make(root, "bikes", UPath(samples.bikes(tmp_path)))
    spec = (root / "include/sources/bikes/spec.py").read_text()
    assert [f"# GUESS {n}:" in spec for n in range(1, len(written.marks) + 2)] == [True] * len(written.marks) + [False]
    assert any("the sample has several days" in mark for mark in written.marks)
    assert any("no time zone" in mark for mark in written.marks)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == sorted(
        [*written.files, "pyproject.toml"]
    )


def test_what_is_personal_has_a_pseudonym_in_silver_and_is_in_no_fixture(root: Path, tmp_path: Path) -> None:
    """``contact`` by how it looks, ``email`` by its name."""
    feed = feed_of(root, "cards", samples.cards(tmp_path))
    assert [column.name for column in feed.columns if column.pii is Pii.PERSONAL] == ["email", "contact"]
    (staging,) = texts(root, "dbt_project/models/staging/cards/*.sql")
    assert "{{ pseudonym('email') }} as email_pseudonym" in staging
    (core,) = texts(root, "dbt_project/models/marts/core/cards/*.sql")
    assert " email," not in core
    (fixture,) = texts(root, "tests/sources/cards/fixture/transactions/transactions-2024-05-01.csv")
    assert len(fixture.splitlines()) == 9
    assert "somebody" not in fixture
    assert "mail.example" not in fixture
    assert "+49 30 1000" not in fixture


def fixture_of(root: Path, source_name: str) -> str:
    (path,) = (path for path in (root / "tests/sources" / source_name / "fixture").rglob("*") if path.is_file())
    return path.read_text()


def test_a_row_that_does_not_fit_stays_out_of_the_fixture_and_is_said(root: Path, tmp_path: Path) -> None:
    """Also as the first one of the file: behind it, who is in it would be in git."""
    path = tmp_path / "sales-2024-05-01.csv"
    rows = [f"{n},2024-05-01,somebody{n}@mail.example,{'unknown' if n == 0 else n}" for n in range(40)]
    path.write_text("\n".join(["id,day,email,pieces", *rows, ""]))
    written = source.make(root, "sales", UPath(path))
    assert "mail.example" not in fixture_of(root, "sales")
    assert len(fixture_of(root, "sales").splitlines()) == 9
    (said,) = (mark for mark in written.marks if "quarantine" in mark and "of 40 rows" in mark)
    assert said.startswith("1 of 40 rows do not fit")
    assert "somebody" not in "".join(written.marks)


def test_a_personal_value_is_replaced_in_its_own_column_alone(root: Path, tmp_path: Path) -> None:
    """An m is also a part of form, and a 1 of a date."""
    path = tmp_path / "sales-2024-05-01.csv"
    rows = [f'"{n}",2024-05-01,{"mf"[n % 2]},{n % 3 + 1},{("mobile", "form")[n % 2]}' for n in range(40)]
    path.write_text("\n".join(["id,day,gender,salary,channel", *rows, ""]))
    source.make(root, "sales", UPath(path))
    given = [line.split(",") for line in path.read_text().splitlines()[:9]]
    found = [line.split(",") for line in fixture_of(root, "sales").splitlines()]
    assert [[line[at] for at in (0, 1, 4)] for line in found] == [[line[at] for at in (0, 1, 4)] for line in given]
    assert {len(line[2]) for line in found[1:]} == {len(line[3]) for line in found[1:]} == {1}
    assert [line[2] for line in found[1:]] != [line[2] for line in given[1:]]


def test_who_somebody_is_is_replaced_wherever_it_stands(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales-2024-05-01.jsonl"
    rows = [
        {"id": n, "day": "2024-05-01", "email": f"x{n}@a.example", "note": f"call x{n}@a.example"} for n in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source.make(root, "sales", UPath(path))
    assert "a.example" not in fixture_of(root, "sales")
    assert "call " in fixture_of(root, "sales")


@pytest.mark.parametrize("written", ["%Y-%m-%d", "%d.%m.%Y"])
def test_a_day_of_birth_becomes_another_day(root: Path, tmp_path: Path, written: str) -> None:
    path = tmp_path / "people-2024-05-01.csv"
    births = [date(1980, 1, 13) + timedelta(50 * n) for n in range(20)]
    rows = [f"{n},2024-05-01,{birth:{written}}" for n, birth in enumerate(births)]
    path.write_text("\n".join(["id,day,birth_date", *rows, ""]))
    source.make(root, "people", UPath(path), day="day")
    found = [datetime.strptime(line.split(",")[2], written).date() for line in fixture_of(root, "people").split()[1:]]
    assert len(set(found)) == 8
    assert not set(found) & set(births)


def test_what_is_personal_in_parquet_keeps_its_type(root: Path, tmp_path: Path) -> None:
    births = [date(1980, 1, 1) + timedelta(50 * n) for n in range(20)]
    rows = pl.DataFrame({"day": [samples.DAY] * 20, "id": range(20), "birth_date": births, "salary": [2**31 - 9] * 20})
    rows.cast({"salary": pl.Int32}).write_parquet(tmp_path / "2024-05-01.parquet")
    source.make(root, "people", UPath(tmp_path / "2024-05-01.parquet"), day="day")
    found = pl.read_parquet(root / "tests/sources/people/fixture/people/2024-05-01.parquet")
    assert dict(found.schema) == dict(rows.cast({"salary": pl.Int32}).schema)
    assert not set(found["birth_date"]) & set(births)
    assert not set(found["salary"]) & set(rows["salary"])


def test_a_column_whose_name_is_a_word_of_yaml_keeps_it(root: Path, tmp_path: Path) -> None:
    """``no``, which is short for number, would be False."""
    path = tmp_path / "sales-2024-05-01.csv"
    path.write_text("no,day,off,yes\n" + "".join(f"{n},2024-05-01,{n},{n}\n" for n in range(20)))
    source.make(root, "sales", UPath(path))
    described = texts(root, "dbt_project/models/**/_sales__[mc]*.yml")
    assert len(described) == 2
    for text in described:
        (model,) = yaml.safe_load(text)["models"]
        assert [column["name"] for column in model["columns"]] == ["no", "event_date", "off", "yes", "ingestion_date"]


def test_a_number_with_zeros_in_front_is_a_code_of_any_length(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales-2024-05-01.csv"
    codes = ("007", "12", "1234")
    path.write_text("id,day,code\n" + "".join(f"{n},2024-05-01,{codes[n % 3]}\n" for n in range(20)))
    written = source.make(root, "sales", UPath(path))
    feed = source.spec_of((root / "include/sources/sales/spec.py").read_text(), "sales").feeds[0]
    assert {column.name: column.type for column in feed.columns}["code"] == "string"
    assert any("code is a text, for its zeros in front: 007" in mark for mark in written.marks)


def test_a_header_with_umlauts_becomes_names_without(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales-2024-05-01.csv"
    path.write_text("Größe in m²,Straßenname,day,łódź\n" + "".join(f"{n},a{n},2024-05-01,{n}\n" for n in range(20)))
    names = [column.name for column in feed_of(root, "sales", path).columns]
    assert names == ["grosse_in_m2", "strassenname", "day", "lodz"]


def test_columns_of_too_many_values_to_list_are_noted(root: Path, tmp_path: Path) -> None:
    """Nobody has the sample any more when a use case is made. A personal one is noted by its pseudonym."""
    feed_of(root, "shop", samples.orders(tmp_path))
    feed_of(root, "bank", samples.cards(tmp_path))
    noted = {
        column["name"]: column["config"]["meta"]
        for name in ("shop", "bank")
        for model in yaml.safe_load(texts(root, f"dbt_project/models/marts/core/{name}/*.yml")[0])["models"]
        for column in model["columns"]
        if "config" in column
    }
    assert noted == {
        "order_id": {"sample_values": 160, "sample_rows": 160},
        "customer": {"sample_values": 67, "sample_rows": 160},
        "transaction_id": {"sample_values": 120, "sample_rows": 120},
        "email_pseudonym": {"sample_values": 120, "sample_rows": 120},
        "contact_pseudonym": {"sample_values": 120, "sample_rows": 120},
    }


def test_files_are_named_as_the_sample_is_where_that_says_a_day(root: Path, tmp_path: Path) -> None:
    assert feed_of(root, "cards", samples.cards(tmp_path)).files == "transactions-{day}.csv"


def test_packed_json_lines(root: Path, tmp_path: Path) -> None:
    feed = feed_of(root, "shop", samples.orders(tmp_path))
    assert (feed.name, feed.format, feed.extension, feed.key) == ("orders", Format.JSONL, "jsonl.gz", ("order_id",))
    assert {column.name: column.type for column in feed.columns}["customer"] == "string", "c46 is a code, no number"
    fixture = root / "tests/sources/shop/fixture/orders/orders-2024-05-01.jsonl.gz"
    assert len(gzip.decompress(fixture.read_bytes()).splitlines()) == 8


def test_parquet(root: Path, tmp_path: Path) -> None:
    rows = pl.DataFrame({"day": [samples.DAY] * 20, "who": [f"a{n}@b.de" for n in range(20)], "n": range(20)})
    rows.write_parquet(tmp_path / "2024-05-01.parquet")
    feed = feed_of(root, "things", tmp_path / "2024-05-01.parquet")
    assert (feed.name, feed.format, feed.files) == ("things", Format.PARQUET, "")
    fixture = pl.read_parquet(root / "tests/sources/things/fixture/things/2024-05-01.parquet")
    assert fixture.height == 8
    assert not set(fixture["who"]) & set(rows["who"])


def test_a_folder_with_the_parts_of_a_day_is_one_feed(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day"
    folder.mkdir()
    for part in range(3):
        lines = [f"2024-05-01,{part}{n},1.5" for n in range(10, 20)]
        (folder / f"part-{part}.csv").write_text("\n".join(["day,id,amount", *lines, ""]))
    feed = feed_of(root, "parts", folder)
    assert (feed.name, feed.files, feed.least_files) == ("parts", "{day}/part-*.csv", 3)
    names = sorted(path.name for path in (root / "tests/sources/parts/fixture/parts/2024-05-01").iterdir())
    assert names == ["part-0.csv", "part-1.csv", "part-2.csv"]


def test_a_folder_with_files_of_two_kinds_is_two_feeds(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    samples.cards(folder)
    (folder / "shops.csv").write_text("day,shop,size\n" + "".join(f"2024-05-01,s{n},{n}\n" for n in range(9)))
    found = made(root, "bank", folder)
    assert [feed.name for feed in found.feeds] == ["shops", "transactions"]
    assert sorted(path.stem for path in root.glob("dbt_project/models/marts/core/bank/*.sql")) == [
        "fct_bank_shops",
        "fct_bank_transactions",
    ]


def test_days_that_are_months_are_said(root: Path, tmp_path: Path) -> None:
    written = source.make(root, "revenue", UPath(samples.revenue(tmp_path)))
    assert any("31 days apart" in mark for mark in written.marks)
    found = source.spec_of((root / "include/sources/revenue/spec.py").read_text(), "revenue")
    assert found.first_day == date(2021, 1, 1)


CSV = "day,id,amount\n" + "".join(f"2024-05-01,{n},{n}.5\n" for n in range(10))


def test_a_file_without_a_header_takes_the_names_that_are_said(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(CSV.partition("\n")[2])
    feed = feed_of(root, "sales", path, names=["day", "receipt", "amount"])
    assert [column.name for column in feed.columns] == ["day", "receipt", "amount"]
    assert feed.dialect.header == 0


def test_a_taken_name_is_changed_where_that_is_said(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(CSV.replace("id", "order", 1).replace("amount", "ingestion_date", 1))
    feed = feed_of(root, "sales", path, rename=True)
    assert [(column.name, column.in_file) for column in feed.columns][1:] == [
        ("column_order", "order"),
        ("column_ingestion_date", "ingestion_date"),
    ]


def test_a_last_line_without_an_end_is_said_in_the_spec(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(CSV.rstrip("\n"))
    assert feed_of(root, "sales", path).finished is Finished.RENAMED


@pytest.mark.parametrize(
    ("content", "given", "why"),
    [
        ("", {}, "the file is empty"),
        (CSV.partition("\n")[2], {}, "no line of it names the columns. Say their 3 names"),
        (CSV.replace("amount", "id", 1), {}, r"id \(there twice; it would be"),
        (CSV.replace("amount", "select", 1), {}, r"select \(a word of SQL; it would be column_select\)"),
        (CSV.replace("amount", "class", 1), {}, r"class \(a word of Python; it would be column_class\)"),
        (CSV.replace("amount", "ingestion_date", 1), {}, r"ingestion_date \(the platform adds a column of that name"),
        (CSV.replace("amount", "known_from", 1), {}, "known_from"),
        (f"{CSV}2024-05-01,unknown,1.5\n2024-05-01,nobody,2.5\n", {}, "2 of 12 rows do not fit"),
        ("day,a\n" + "2024-05-01,x\n" * 3 + "2024-05-01,y\n", {}, "no few columns tell rows of a day apart"),
        (CSV.replace("2024-05-01", "may"), {}, "no column is a date that each row has"),
        ("day,id\n2024-05-01,1\n", {}, "one row says too little"),
        (CSV, {"key": ["receipt"]}, "has no column receipt; it has day, id, amount"),
        (CSV, {"day": "amount"}, "day=amount: that column is no date"),
        (CSV.partition("\n")[2], {"names": ["day", "id"]}, "2 names for the 3 columns"),
        (CSV.partition("\n")[2], {"names": ["day", "id", "from"]}, "'from' cannot be the name of a column"),
    ],
)
@pytest.mark.usefixtures("no_change")
def test_a_sample_that_does_not_do_is_refused_and_nothing_is_left(
    root: Path, tmp_path: Path, content: str, given: dict[str, Any], why: str
) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(content)
    with pytest.raises(ScaffoldError, match=why):
        source.make(root, "sales", UPath(path), **given)


def test_rows_without_a_key_are_all_kept_where_somebody_says_so(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("sold_on,what\n" + "2024-05-01,coffee\n" * 3 + "2024-05-01,tea\n")
    source.make(root, "sales", UPath(path), key=["none"])
    feed = source.spec_of((root / "include/sources/sales/spec.py").read_text(), "sales").feeds[0]
    assert (feed.key, feed.copies) == ((), Copies.KEEP)
    core = (root / "dbt_project/models/marts/core/sales/_sales__core.yml").read_text()
    assert "Rows that are equal are different things." in core
    assert "primary_key" not in core


@pytest.mark.usefixtures("no_change")
def test_a_file_with_a_long_name_is_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{'long' * 16}-2024-05-01.csv"
    path.write_text(CSV)
    with pytest.raises(ScaffoldError, match="at most 60 letters and not 64: give the sample a shorter name"):
        source.make(root, "sales", UPath(path))


def test_values_of_several_types_are_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sales.jsonl"
    path.write_text("".join(f'{{"day": "2024-05-01", "id": {n}, "v": {v}}}\n' for n, v in enumerate(["1", '"x"', "2"])))
    with pytest.raises(ScaffoldError, match="v is left out: it has values of several types: mend the sample"):
        source.make(root, "sales", UPath(path))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Shop", "a name is small letters"),
        ("my-shop", "a name is small letters"),
        ("2shops", "a name is small letters"),
        ("s" * 61, "sss…: a name has at most 60 letters, not 61"),
        ("class", "a word of Python"),
        ("flights", "there is one already"),
    ],
)
@pytest.mark.usefixtures("no_change")
def test_a_name_that_does_not_do_is_refused(root: Path, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ScaffoldError, match=why):
        source.make(root, name, UPath(samples.orders(tmp_path)))


def test_the_command_says_it_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("source", "--name", "sales", "--from", str(tmp_path / "none.csv")) == 2
    assert capsys.readouterr().err.startswith(
        f"nocturne source: from={tmp_path}/none.csv: there is no such file or folder"
    )
