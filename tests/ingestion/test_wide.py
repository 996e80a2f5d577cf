"""Tables with a column per sensor or hour: each cell is a row, and none is lost, doubled or made up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from include.contracts.dialect import Dialect, Long, Short
from include.contracts.source import Column, Feed, Format, Source
from include.contracts.wide import Wide
from include.core.partitions import Partitions
from include.ingestion import counting, ingest, landing
from include.ingestion.files import UnreadableFileError
from tests.conftest import installed
from tests.ingestion.corpus import sheet
from tests.ingestion.judged import judged

DAY = date(2024, 6, 1)
FEED = Feed(
    "readings",
    "",
    (
        Column("at", "timestamp", "when", required=True),
        Column("sensor", "string", "which", required=True),
        Column("value", "double", "how warm"),
    ),
    ("at", "sensor"),
    max_quarantined_share=0.9,
    wide=Wide(into="sensor", value="value", columns=r"s\d+"),
)
T1, T2 = "2024-06-01T00:00:00Z", "2024-06-01T00:07:30Z"
AT1, AT2 = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 1, 0, 7, 30, tzinfo=UTC)
TABLE: list[dict[str, Any]] = [{"at": T1, "s1": 20.5, "s2": None, "s3": 7}, {"at": T2, "s1": -1, "s2": 0, "s3": None}]
ROWS = [(AT1, "s1", 20.5), (AT1, "s3", 7.0), (AT2, "s1", -1.0), (AT2, "s2", 0.0)]
WITH_EMPTY = sorted([*ROWS, (AT1, "s2", None), (AT2, "s3", None)], key=str)
KEPT = replace(FEED, wide=Wide(into="sensor", value="value", columns=r"s\d+", keep_empty=True))


def of(feed: Feed, format_: Format, **more: Any) -> Feed:
    return replace(feed, format=format_, **more)


def as_csv() -> bytes:
    return f"at,s1,s2,s3\n{T1},20.5,,7\n{T2},-1,0,\n".encode()


def as_arrow() -> Any:
    import pyarrow

    names = list(TABLE[0])
    columns = [[row[name] for row in TABLE] for name in names]
    columns[0] = [AT1, AT2]
    types = [pyarrow.timestamp("us", "UTC"), *[pyarrow.float64()] * 3]
    return pyarrow.table([pyarrow.array(one, type_) for one, type_ in zip(columns, types, strict=True)], names=names)


def stored(write: Callable[[Any, Any], None]) -> bytes:
    made = io.BytesIO()
    write(as_arrow(), made)
    return made.getvalue()


def as_avro() -> bytes:
    import fastavro

    fields: list[Any] = [{"name": "at", "type": "string"}]
    fields += [{"name": f"s{n}", "type": ["null", "double"]} for n in (1, 2, 3)]
    made = io.BytesIO()
    fastavro.writer(made, {"type": "record", "name": "r", "fields": fields}, TABLE)
    return made.getvalue()


def as_xml() -> bytes:
    def row(one: dict[str, Any]) -> str:
        cells = (f"<{name}>{'' if value is None else value}</{name}>" for name, value in one.items() if name != "at")
        return f'<r at="{one["at"]}">{"".join(cells)}</r>'

    return f"<all>{''.join(map(row, TABLE))}</all>".encode()


def file_of(kind: str) -> tuple[Callable[[Feed], Feed], bytes]:
    """How a feed is of that kind, and the table as a file of it."""
    from pyarrow import orc, parquet

    of_places = Wide(into="sensor", value="value", columns=("s1", "s2", "s3"), place=21, width=5)
    at = (replace(FEED.columns[0], place=1, width=20), *FEED.columns[1:])
    at_xml = (replace(FEED.columns[0], source_name="@at"), *FEED.columns[1:])
    first = (replace(FEED.columns[0], place=1), *FEED.columns[1:])

    def placed(feed: Feed, place: int, width: int) -> Wide:
        assert feed.wide
        return replace(of_places, place=place, width=width, keep_empty=feed.wide.keep_empty)

    kinds: dict[str, tuple[Callable[[Feed], Feed], bytes]] = {
        "csv": (lambda feed: feed, as_csv()),
        "csv without a header": (
            lambda feed: replace(feed, columns=first, wide=placed(feed, 2, 0), dialect=Dialect(header=0)),
            as_csv().partition(b"\n")[2],
        ),
        "fixed": (
            lambda feed: of(feed, Format.FIXED, columns=at, wide=placed(feed, 21, 5)),
            f"{T1} 20.5         7\n{T2}   -1    0     \n".encode(),
        ),
        "excel": (
            lambda feed: of(feed, Format.XLSX),
            sheet([["at", "s1", "s2", "s3"], [AT1.replace(tzinfo=None), 20.5, None, 7], [T2, "-1", 0, ""]]),
        ),
        "json lines": (lambda feed: of(feed, Format.JSONL), "".join(f"{json.dumps(one)}\n" for one in TABLE).encode()),
        "json": (lambda feed: of(feed, Format.JSON, within="a"), json.dumps({"a": TABLE}).encode()),
        "xml": (lambda feed: of(feed, Format.XML, within="r", columns=at_xml), as_xml()),
        "parquet": (lambda feed: of(feed, Format.PARQUET), stored(parquet.write_table)),
        "orc": (lambda feed: of(feed, Format.ORC), stored(orc.write_table)),
        "avro": (lambda feed: of(feed, Format.AVRO), as_avro()),
    }
    return kinds[kind]


KINDS = ["csv", "csv without a header", "fixed", "excel", "json lines", "json", "xml", "parquet", "orc", "avro"]


def put(home: Path, feed: Feed, content: bytes | str) -> UPath:
    path = UPath(home / "landing" / "toys" / feed.name / f"{DAY}.{feed.extension}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: UPath, feed: Feed) -> tuple[int, list[tuple[Any, ...]], list[tuple[str, str]]]:
    """The rows that are counted, the sound ones, and the reason and text of each in quarantine."""
    file = landing.look_through(path, feed)
    found = judged(feed, path, there=file["columns"]).filter(~pl.col("_copy"))
    sound = found.filter(pl.col("_reason").is_null()).select(column.name for column in feed.columns)
    return file["rows"], sorted(sound.rows(), key=str), found.drop_nulls("_reason").select("_reason", "_raw").rows()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("feed", "rows"), [(FEED, ROWS), (KEPT, WITH_EMPTY)], ids=["readings alone", "empty ones too"])
def test_each_cell_is_a_row_in_every_format(kind: str, feed: Feed, rows: list[tuple[Any, ...]], home: Path) -> None:
    said, content = file_of(kind)
    assert read(put(home, said(feed), content), said(feed)) == (len(rows), sorted(rows, key=str), [])


def test_a_new_sensor_appears_by_itself_and_what_is_none_is_said(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(home, FEED, f"at,s1,note,s1000\n{T1},1,x,2\n")
    assert read(path, FEED)[1] == [(AT1, "s1", 1.0), (AT1, "s1000", 2.0)]
    assert landing.added(landing.look_through(path, FEED), FEED) == ["note"]
    many = ",".join(f"s{n}" for n in range(300))
    assert read(put(home, FEED, f"at,{many}\n{T1}{',1' * 300}\n"), FEED)[0] == 300


def test_what_has_no_value_is_left_out_and_counted(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    feed = replace(FEED, dialect=Dialect(nulls=("", "NA")))
    with caplog.at_level(logging.INFO):
        counted, sound, _ = read(put(home, feed, f'at,s1,s2,s3\n{T1},NA,"",3\n{T2},,,\n'), feed)
    assert (counted, sound) == (1, [(AT1, "s3", 3.0)])
    assert "5 empty cells are no readings" in caplog.text


def test_of_texts_one_in_quotes_is_one_though_nothing_is_in_it(home: Path) -> None:
    columns = (*FEED.columns[:2], Column("value", "string", "what it says"))
    feed = replace(FEED, columns=columns, dialect=Dialect(nulls=("", "-")))
    counted, sound, _ = read(put(home, feed, f'at,s1,s2,s3\n{T1},"",-,"-"\n'), feed)
    assert (counted, sound) == (2, [(AT1, "s1", ""), (AT1, "s3", "-")])


def test_a_broken_cell_breaks_itself_and_a_broken_row_is_one(home: Path) -> None:
    path = put(home, FEED, f"at,s1,s2,s3\n{T1},1,much,more\n{T2},2\nnever,3,4,\n{T2},5,,\n")
    counted, sound, broken = read(path, FEED)
    assert (counted, sound) == (7, [(AT1, "s1", 1.0), (AT2, "s1", 5.0)])
    assert sorted(broken) == sorted(
        [
            ("value: 'much' is no double", f'"s2" {T1},1,much,more'),
            ("value: 'more' is no double", f'"s3" {T1},1,much,more'),
            ("not 4 columns", f"{T2},2"),
            ("at: 'never' is no timestamp", '"s1" never,3,4,'),
            ("at: 'never' is no timestamp", '"s2" never,3,4,'),
        ]
    )
    lines = counting.line_numbers(path, FEED, {raw for _, raw in broken})
    assert [lines[raw] for _, raw in sorted(broken)] == [4, 4, 3, 2, 2]


def test_what_is_odd_about_one_cell_is_not_about_the_others(home: Path) -> None:
    feed = of(replace(FEED, columns=(*FEED.columns[:2], Column("value", "string", ""))), Format.JSONL)
    path = put(home, feed, json.dumps({"at": T1, "s1": "fine", "s2": [1], "s3": "x\0"}) + "\n")
    counted, sound, broken = read(path, feed)
    assert (counted, sound) == (3, [(AT1, "s1", "fine")])
    assert sorted(reason for reason, _ in broken) == ["value: [1] is no JSON string", "value: holds a zero byte"]


def test_the_name_in_the_pattern_is_what_its_group_has_typed_as_its_column(home: Path) -> None:
    """A statistics office: one row a station, a column a month."""
    feed = Feed(
        "rain",
        "",
        (
            Column("station", "string", "where", required=True),
            Column("month", "date", "which", required=True, pattern="%d.%m.%Y"),
            Column("rain", "double", "how much", "mm"),
        ),
        ("station", "month"),
        wide=Wide(into="month", value="rain", columns=r"Monat (\d\d\.\d\d\.\d{4})"),
        dialect=Dialect(delimiter=";", decimal=","),
    )
    path = put(home, feed, "station;Monat 01.05.2024;Monat 01.06.2024\nKiel;12,5;0\n")
    assert read(path, feed)[:2] == (2, [("Kiel", date(2024, 5, 1), 12.5), ("Kiel", date(2024, 6, 1), 0.0)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"at,a,b\n{T1},1,2\n", "no column has a name as .*, whose cells become rows"),
        (f"at,s1,s1\n{T1},1,2\n", "column s1 is there twice"),
        (f"when,s1\n{T1},1\n", "none of its columns is there"),
        (f"at,s1,{','.join(f'x{n}' for n in range(30))}\n{T1},1{',1' * 30}\n", "and 25 more"),
        (f"at,s1\n{T1},\n", "no rows"),
    ],
)
def test_a_file_without_cells_or_with_others_is_refused(content: str, said: str, home: Path) -> None:
    with pytest.raises(UnreadableFileError, match=said):
        landing.look_through(put(home, FEED, content), FEED)


def test_a_sensor_that_the_spec_names_must_be_there(home: Path) -> None:
    feed = replace(FEED, wide=Wide(into="sensor", value="value", columns=("s1", "s2")))
    with pytest.raises(UnreadableFileError, match="column s2 is missing"):
        landing.look_through(put(home, feed, f"at,s1\n{T1},1\n"), feed)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wide": Wide("who", "value", "s.*")}, "into 'who' is no column of the feed"),
        ({"wide": Wide("value", "value", "s.*")}, "are two columns"),
        ({"format": Format.FIXED}, "known by their place"),
        ({"wide": Wide("sensor", "value", ("s1",), place=2)}, "known by their names"),
        ({"format": Format.JSONL, "dialect": Dialect(nulls=("", "-999"))}, "a number that stands for nothing"),
        ({"format": Format.LOG, "dialect": Dialect(pattern="(?P<at>.*)")}, "the lines of a log have no columns"),
    ],
)
def test_what_cannot_be_is_refused_when_the_spec_is_read(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(FEED, **changes)


@pytest.mark.parametrize("columns", ["", "s(", ("s1", "s1")])
def test_columns_that_are_none_are_refused(columns: Any) -> None:
    with pytest.raises(ValueError, match="wide: "):
        Wide("sensor", "value", columns)


cells = st.sampled_from(["", "1", "-2.5", "NA", '""', '"3"', "x", '"a', 'b"c', "-", '"NA"', " ", '"1,5"'])


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.lists(cells, min_size=1, max_size=5), min_size=1, max_size=6),
    keep_empty=st.booleans(),
    type_=st.sampled_from(["double", "string"]),
    dialect=st.sampled_from(
        [
            Dialect(nulls=("", "NA")),
            Dialect(trim=True),
            Dialect(short_rows=Short.PAD, long_rows=Long.CUT),
            Dialect(quote="", escape=""),
        ]
    ),
)
def test_every_cell_is_accounted_for(
    rows: list[list[str]], keep_empty: bool, type_: str, dialect: Dialect, tmp_path_factory: Any
) -> None:
    """Whatever is in the cells: what is counted is what is read, to the row."""
    feed = replace(
        FEED,
        columns=(Column("at", "int", "", required=True), FEED.columns[1], Column("value", type_, "")),
        dialect=replace(dialect, multiline=True),
        wide=Wide("sensor", "value", r"s\d+", keep_empty=keep_empty),
        may_be_empty=True,
    )
    with installed(tmp_path_factory.mktemp("var")) as home:
        lines = [",".join([str(n), *row]) for n, row in enumerate(rows)]
        path = put(home, feed, "\n".join(["at,s1,s2,s3", *lines, ""]))
        file = landing.look_through(path, feed)
        assert judged(feed, path, there=file["columns"]).height == file["rows"]


def test_the_equation_holds_down_to_bronze_and_the_quarantine_has_lines(home: Path) -> None:
    """Readings that are there twice are copies; two that differ are both in the quarantine."""
    source = Source("plant", "", "", "", "0 0 * * *", 1, DAY, (FEED,))
    again = [f"{T1},1,2,3", f"{T1},1,,", f"{T2},9,,x", f"{T2},8,,"]
    (home / "landing" / "plant" / "readings").mkdir(parents=True)
    (home / "landing" / "plant" / "readings" / f"{DAY}.csv").write_text("\n".join(["at,s1,s2,s3", *again, ""]))
    night = Partitions(DAY, DAY)
    plan = landing.plan(source, night)
    candidates = ingest.load(source, night, plan)
    audited = ingest.audit(source, night, plan, candidates)
    ingest.publish_all(source, night, plan, candidates, audited)
    bronze = home / "lake" / "bronze"
    counted = pl.read_delta(str(bronze / "plant__completeness"))
    assert counted.select("rows_in", "published", "quarantined", "deduplicated").rows() == [(7, 3, 3, 1)]
    rows = pl.read_delta(str(bronze / "plant__readings")).select("sensor", "value")
    assert sorted(rows.rows()) == [("s1", 1.0), ("s2", 2.0), ("s3", 3.0)]
    broken = pl.read_delta(str(bronze / "plant__readings__quarantine")).select("line", "reason").rows()
    assert sorted(broken) == [
        (4, "another row has the same at, sensor and differs"),
        (4, "value: 'x' is no double"),
        (5, "another row has the same at, sensor and differs"),
    ]


LONG = Feed(
    "long",
    "",
    (
        Column("at", "timestamp", "when", required=True, pattern="%d.%m.%Y %H:%M", timezone="Europe/Berlin"),
        Column("sensor", "string", "which", required=True),
        Column("value", "double", "how warm"),
    ),
    ("at", "sensor"),
    max_quarantined_share=0.9,
)


def test_readings_may_come_in_any_order_at_any_time_and_again(home: Path) -> None:
    lines = ["01.06.2024 12:31,b,3", "01.06.2024 12:00,a,1", "01.06.2024 12:07,a,2", "01.06.2024 12:00,a,1"]
    counted, sound, broken = read(put(home, LONG, "\n".join(["at,sensor,value", *lines, ""])), LONG)
    assert (counted, broken) == (4, [])  # one of them is a copy
    assert [(at.strftime("%H:%M"), sensor, value) for at, sensor, value in sound] == [
        ("10:00", "a", 1.0),
        ("10:31", "b", 3.0),
        ("10:07", "a", 2.0),
    ]


def test_an_hour_that_clocks_have_twice_needs_its_offset(home: Path) -> None:
    """Of two readings at 02:30 nobody can say which came first; with offsets both are good."""
    lines = ["27.10.2024 01:30,a,1", "27.10.2024 02:30,a,2", "27.10.2024 02:30,a,3", "27.10.2024 03:30,a,4"]
    counted, sound, broken = read(put(home, LONG, "\n".join(["at,sensor,value", *lines, ""])), LONG)
    assert (counted, [at.hour for at, _, _ in sound], len(broken)) == (4, [23, 2], 2)
    offsets = replace(LONG.columns[0], pattern="%d.%m.%Y %H:%M %z", timezone="UTC")
    feed = replace(LONG, columns=(offsets, *LONG.columns[1:]))
    zones = ["+0200", "+0200", "+0100", "+0100"]
    said = [line.replace(",", f" {zone},", 1) for line, zone in zip(lines, zones, strict=True)]
    counted, sound, broken = read(put(home, feed, "\n".join(["at,sensor,value", *said, ""])), feed)
    assert (counted, [at.hour for at, _, _ in sound], broken) == (4, [23, 0, 1, 2], [])
