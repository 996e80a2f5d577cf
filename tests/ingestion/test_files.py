"""Landing takes regular files only, and no message shows what is in a file."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import logging
import lzma
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from backports import zstd

from include.contracts.source import Column, Compression, Feed, Format, Mode, Source
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import counting, files, landing
from include.ingestion.connectors import fetch, lines
from include.ingestion.files import UnreadableFileError
from tests.ingestion.corpus import zipped

COLUMNS = (Column("a", "int", "a", required=True), Column("b", "string", "b"))
CSV = Feed("csv", "as text", COLUMNS, key=("a",))
LINES = Feed("lines", "as objects", COLUMNS, key=("a",), format=Format.JSONL)
PARQUET = Feed("parquet", "as columns", COLUMNS, key=("a",), format=Format.PARQUET)
ZIPPED = Feed("zipped", "as less text", COLUMNS, key=("a",), compression=Compression.GZIP)
FEEDS = (CSV, LINES, PARQUET, ZIPPED)
DAY = date(2020, 6, 1)
SECRET = "root:$6$s3cr3t:19000:0:99999:7:::"

pytestmark = pytest.mark.usefixtures("home")


def source(feed: Feed) -> Source:
    return Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (feed,))


def place(feed: Feed) -> Path:
    path = Path(landing.path_of(source(feed), feed, DAY))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def listening(path: Path) -> None:
    there = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(there)


def to_a_secret(path: Path) -> None:
    secret = settings().var / "secret"
    secret.write_text(f"{SECRET}\n")
    path.symlink_to(secret)


ODD: dict[str, Callable[[Path], object]] = {
    "a link": to_a_secret,
    "a link that leads nowhere": lambda path: path.symlink_to("/nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a socket": listening,
}


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_regular_file_is_refused_at_once_and_not_read(
    what: str, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = place(feed)
    ODD[what](path)
    with pytest.raises(UnreadableFileError, match="Landing takes regular files only") as refused:
        landing.plan(source(feed), Partitions(DAY, DAY))
    kind = "a link" if what.startswith("a link") else what
    assert str(refused.value).startswith(f"{path}: {kind}. ")
    assert SECRET[:12] not in str(refused.value) + caplog.text
    with pytest.raises(UnreadableFileError):
        landing.sha256(path)
    assert counting.line_numbers(path, feed, {SECRET}) == {}
    file: landing.File = {"rows": 1, "columns": [], "sha256": ""}
    batch: landing.Batch = {"rows": 1, "sha256": "", "files": {path.name: file}}
    with pytest.raises(landing.ChangedFileError):
        landing.check_unchanged(source(feed), feed, {str(DAY): batch})


@pytest.mark.parametrize("link", ["toys", "toys/csv"])
def test_no_folder_on_the_way_to_a_file_is_a_link(link: str, caplog: pytest.LogCaptureFixture) -> None:
    path = place(CSV)
    path.write_bytes(b"a,b\n1,x\n")
    (path.parent / "of somebody else.csv").write_bytes(b"")
    linked = settings().landing / link
    away = Path(linked).rename(settings().var / "elsewhere")
    Path(linked).symlink_to(away)
    with pytest.raises(UnreadableFileError, match="a link and no folder") as refused:
        landing.plan(source(CSV), Partitions(DAY, DAY))
    assert str(refused.value).startswith(f"{linked}: ")
    assert "somebody" not in caplog.text, "nor is it said which files are there"
    with pytest.raises(UnreadableFileError), fetch.hidden(landing.path_of(source(CSV), CSV, DAY)):
        pass
    with pytest.raises(UnreadableFileError):
        lines.write(landing.path_of(source(CSV), CSV, DAY), False, ["{}"])
    assert path.read_bytes() == b"a,b\n1,x\n", "nobody wrote through the link"


def test_landing_itself_may_be_where_a_link_leads() -> None:
    """That is for whoever runs the platform to say, and not for those who bring files."""
    place(CSV).write_bytes(b"a,b\n1,x\n")
    away = Path(settings().landing).rename(settings().var / "disk")
    Path(settings().landing).symlink_to(away)
    assert landing.plan(source(CSV), Partitions(DAY, DAY))["csv"][str(DAY)]["rows"] == 1


def test_a_link_that_takes_the_place_of_a_file_after_it_was_looked_at_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = place(CSV)
    path.write_bytes(b"a,b\n1,x\n")
    look = os.stat

    def swapped(name: object, **options: object) -> os.stat_result:
        found = look(name, **options)
        path.unlink()
        to_a_secret(path)
        return found

    monkeypatch.setattr(files.os, "stat", swapped)
    with pytest.raises(UnreadableFileError, match="cannot be opened"):
        files.opened(landing.path_of(source(CSV), CSV, DAY))


def test_a_file_that_was_away_while_spark_read_is_told_though_it_is_back() -> None:
    path = place(CSV)
    path.write_bytes(b"a,b\n1,x\n")
    looked_at = {str(DAY): landing.batch(source(CSV), CSV, DAY)}
    before = landing.stamps(source(CSV), CSV, looked_at)
    landing.check_unchanged(source(CSV), CSV, looked_at, before)
    path.rename(path.with_name("kept"))
    to_a_secret(path)
    path.with_name("kept").rename(path)
    landing.check_unchanged(source(CSV), CSV, looked_at)
    with pytest.raises(landing.ChangedFileError):
        landing.check_unchanged(source(CSV), CSV, looked_at, before)


def test_a_connector_does_not_write_through_a_link() -> None:
    path = place(LINES)
    to_a_secret(path)
    with pytest.raises(UnreadableFileError):
        lines.write(landing.path_of(source(LINES), LINES, DAY), False, ['{"a": 1}'])
    assert (settings().var / "secret").read_text() == f"{SECRET}\n"


def test_what_a_killed_task_left_is_not_looked_for_behind_a_link() -> None:
    path = place(LINES)
    (path.parent / ".old.part").symlink_to("/nowhere")
    with fetch.hidden(landing.path_of(source(LINES), LINES, DAY)):
        pass
    assert (path.parent / ".old.part").is_symlink()


MARK = "MARKER"
ROW = f'{{"a": 1, "b": "{MARK}"}}\n'.encode()
TEXT = f"a,b\n1,{MARK}\n".encode()


def columns(**options: object) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"x": [MARK], MARK: [MARK]}), written, **options)
    return written.getvalue()


DAMAGED: list[tuple[Feed, bytes]] = [
    (CSV, f"{MARK}\n{MARK}\n".encode()),
    (CSV, f"{MARK};b\n1;x\n".encode()),
    (CSV, f'"{MARK}\n1,x\n'.encode()),
    (CSV, MARK.encode()),
    (CSV, TEXT[:-1]),
    (CSV, TEXT[:-1] + b"\r2,y\n"),
    (CSV, TEXT[:-1] + b"\xff\n"),
    (CSV, TEXT[:-1] + b"\0\n"),
    (CSV, TEXT[:-1] + MARK.encode() * 200_000 + b"\n"),
    (ZIPPED, TEXT),
    (ZIPPED, gzip.compress(TEXT)[:-9]),
    (ZIPPED, gzip.compress(TEXT)[:-8] + bytes(8)),
    (LINES, f"{MARK}\n".encode()),
    (LINES, f'"{MARK}"\n'.encode()),
    (LINES, f'{{"{MARK}": "{MARK}"}}\n'.encode()),
    (LINES, "".join(f'{{"{MARK}{n}": 1}}\n' for n in range(30)).encode()),
    (LINES, ROW[:-2] + b"\n"),
    (LINES, ROW[:-2] + b', "b": 1}\n'),
    (LINES, ROW[:-2] + b', "b": NaN}\n'),
    (LINES, ROW[:-3] + b'\\x"}\n'),
    (LINES, ROW[:-1]),
    (LINES, ROW[:-2] + b', "\\ud800": 1}\n'),
    (PARQUET, MARK.encode() * 9),
    (PARQUET, columns()),
    (PARQUET, columns()[:-9]),
    (PARQUET, columns().replace(MARK.encode(), b"\xff" + MARK[1:].encode())),
]


@pytest.mark.parametrize(("feed", "content"), DAMAGED, ids=lambda value: value.name if isinstance(value, Feed) else "")
def test_of_a_file_that_is_refused_nothing_is_shown(
    feed: Feed, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    place(feed).write_bytes(content)
    with pytest.raises(UnreadableFileError) as refused:
        landing.plan(source(feed), Partitions(DAY, DAY))
    assert MARK[1:] not in f"{refused.value}{refused.value.__cause__}{caplog.text}"


def test_a_new_column_of_the_feeds_own_file_is_named() -> None:
    place(CSV).write_bytes(b"a,B\n1,x\n")
    with pytest.raises(UnreadableFileError, match="column b is missing, column 'B' is unknown"):
        landing.plan(source(CSV), Partitions(DAY, DAY))


def test_a_source_of_snapshots_alone_is_read_and_a_snapshot_on_a_night_without_other_files() -> None:
    stores = replace(CSV, name="stores", mode=Mode.SNAPSHOT)
    alone, shop = source(stores), replace(source(CSV), feeds=(CSV, stores))
    place(stores).write_bytes(b"a,b\n1,x\n")
    for one in (alone, shop):
        assert list(landing.plan(one, Partitions(DAY, DAY))) == ["stores"]


CHANGES = replace(
    LINES,
    name="changes",
    columns=(*COLUMNS, Column("c", "int", "c"), Column("op", "string", "what", required=True, values=("put", "drop"))),
    mode=Mode.UPSERT,
    op="op",
    sequence="a",
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a": 1, "op": "drop"}\n{"a": 2, "op": "drop"}\n', ""),
        (
            '{"a": 1, "op": "drop"}\n{"a": 2, "op": "put", "b": "x"}\n',
            r"all rows together .*: column c is missing\. ",
        ),
        ('{"a": 1, "op": "put", "B": "x"}\n', "column b is missing, column c is missing, column 'B' is unknown"),
        ('{"a": 1}\n', "column b is missing, column c is missing, column op is missing"),
    ],
)
def test_a_night_of_deletes_says_nothing_but_what_was_deleted(content: str, problem: str) -> None:
    place(CHANGES).write_text(content)
    if not problem:
        assert landing.plan(source(CHANGES), Partitions(DAY, DAY))["changes"][str(DAY)]["rows"] == 2
        return
    with pytest.raises(UnreadableFileError, match=problem):
        landing.plan(source(CHANGES), Partitions(DAY, DAY))


def test_parquet_without_rows_is_a_night_without_changes_whatever_types_its_writer_made_up() -> None:
    none = replace(CHANGES, format=Format.PARQUET)
    columns = pyarrow.table({column.name: pyarrow.nulls(0) for column in none.columns})
    pyarrow.parquet.write_table(columns, place(none))
    assert landing.plan(source(none), Partitions(DAY, DAY))["changes"][str(DAY)]["rows"] == 0


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zip"])
def test_a_disk_that_fails_is_not_called_a_damaged_file(
    suffix: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another try may mend it; a damaged file only a person can."""

    def fail(raw: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    path = home / "landing" / f"a{suffix}"
    path.parent.mkdir()
    path.write_bytes(b"something")
    monkeypatch.setitem(files.UNPACKERS, suffix, fail)
    with pytest.raises(OSError, match="Input/output error") as raised, files.unpacked(path) as file:
        file.read()
    assert not isinstance(raised.value, files.UnreadableFileError)


PACKS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
    ".zip": zipped,
}
LONG = "".join(f"{number},{number * 7919 % 1013}\n" for number in range(40_000)).encode()


def read_whole(path: Path) -> int:
    with files.unpacked(path) as file:
        return sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))


@pytest.mark.parametrize("suffix", PACKS)
def test_what_is_packed_is_whole_or_refused(suffix: str, home: Path) -> None:
    """Some readers take a stream that is cut off, or damaged after the first one, for a whole one."""
    path = home / "landing" / f"a{suffix}"
    path.parent.mkdir()
    packed = PACKS[suffix](LONG)
    path.write_bytes(packed)
    assert read_whole(path) == len(LONG)
    for content in (packed[:-3], packed[: len(packed) // 2], packed[:10], LONG):
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match=r"truncated|damaged"):
            read_whole(path)
    if suffix == ".zip":
        return  # an archive is found from its end: what is before it means nothing
    path.write_bytes(packed + packed)
    assert read_whole(path) == 2 * len(LONG)
    for more in (packed[:-3], b"something that is no stream"):
        path.write_bytes(packed + more)
        with pytest.raises(UnreadableFileError, match=r"truncated|damaged"):
            read_whole(path)


@pytest.mark.parametrize("suffix", PACKS)
def test_a_bomb_is_refused_while_it_unpacks(suffix: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_UNPACKED", 1 << 20)
    path = home / "landing" / f"a{suffix}"
    path.parent.mkdir()
    path.write_bytes(PACKS[suffix](bytes(64 << 20)))
    with pytest.raises(UnreadableFileError, match="unpacks to more than"):
        read_whole(path)


@pytest.mark.parametrize("members", [{"b.csv": b"x"}, {"a/b.csv": b"x", "../c.csv": b"y"}])
def test_an_archive_of_several_files_is_none(members: dict[str, bytes], home: Path) -> None:
    path = home / "landing" / "a.zip"
    path.parent.mkdir()
    path.write_bytes(zipped(b"a", **members))
    with pytest.raises(UnreadableFileError, match=f"{len(members) + 1} files are in it, and one is wanted"):
        read_whole(path)
