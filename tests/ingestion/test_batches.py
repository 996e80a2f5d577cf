"""Days that have several files, and files whose names say more than their day."""

import gzip
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from upath import UPath

from include.contracts.connectors import Bucket
from include.contracts.source import Column, Compression, Feed, Finished, Format, Source
from include.core.partitions import Partitions
from include.governance import trace
from include.ingestion import ingest, landing, manifest
from include.ingestion.landing import ChangedFileError, MissingFileError, UnreadableFileError
from include.lake import publications
from include.orchestration import catch_up

DAY, NEXT = date(2024, 6, 1), date(2024, 6, 2)
NIGHT = Partitions(DAY, DAY)
SALES = Feed(
    "sales",
    "what was sold",
    (Column("receipt", "int", "", required=True), Column("price", "decimal(9,2)", ""), Column("shop", "string", "")),
    ("receipt",),
    files="{day}/{shop}-*.csv",
    least_files=2,
    max_quarantined_share=0.5,
)
STORES = Feed("stores", "", (Column("id", "int", "", required=True),), ("id",), lead_days=0)

pytestmark = pytest.mark.usefixtures("home")


def source(*feeds: Feed) -> Source:
    return Source("toys", "", "", "", "0 0 * * *", 6, date(2024, 1, 1), feeds)


def put(home: Path, name: str, *lines: str, feed: str = "sales") -> Path:
    path = home / "landing" / "toys" / feed / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["receipt,price", *lines, ""]))
    return path


def night(of: Source, day: date = DAY) -> Any:
    """What the tasks of a night do."""
    nights = Partitions(day, day)
    plan = landing.plan(of, nights)
    candidates = ingest.load(of, nights, plan)
    audited = ingest.audit(of, nights, plan, candidates)
    ingest.publish_all(of, nights, plan, candidates, audited)
    return plan


def bronze(home: Path, table: str) -> pl.DataFrame:
    return pl.read_delta(str(home / "lake" / "bronze" / f"toys__{table}"))


def test_the_files_of_a_day_are_one_night_and_every_row_is_accounted_for(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1.50", "2,x", "3,3")
    put(home, "2024-06-01/north-2.csv", "3,3.00", "4,4")
    put(home, "2024-06-01/north-3.csv", "2,x")
    put(home, "2024-06-01/south-1.csv", "2,x", "5,5", "6,6")
    night(source(SALES))
    rows = bronze(home, "sales").sort("receipt")
    where = [name.removeprefix("toys/sales/2024-06-01/") for name in rows["source_file"]]
    assert list(zip(rows["receipt"], rows["shop"], where, strict=True)) == [
        (1, "north", "north-1.csv"),
        (3, "north", "north-1.csv"),
        (4, "north", "north-2.csv"),
        (5, "south", "south-1.csv"),
        (6, "south", "south-1.csv"),
    ]
    refused = bronze(home, "sales__quarantine").sort("source_file")
    # The same broken line in two files is one row: a copy, as it would be within one. Not so of two shops.
    assert refused.select("reason", "raw", "line").rows() == [
        ("price: 'x' is no decimal(9,2)", "2,x", 3),
        ("price: 'x' is no decimal(9,2)", "2,x", 2),
    ]
    terms = ("files", "rows_in", "published", "quarantined", "deduplicated")
    assert bronze(home, "completeness").select(terms).rows() == [(4, 9, 5, 2, 2)]


def test_one_key_with_two_contents_breaks_the_contract_in_whichever_files(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1", "2,2", "3,3")
    put(home, "2024-06-01/south-1.csv", "1,1", "4,4", "5,5")
    night(source(SALES))
    assert sorted(bronze(home, "sales")["receipt"]) == [2, 3, 4, 5]
    reasons = bronze(home, "sales__quarantine").select("reason", "raw", "line").rows()
    assert reasons == [("another row has the same receipt and differs", "1,1", 2)] * 2


def test_the_ledger_names_all_files_by_one_checksum_that_sha256sum_has_too(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    late = put(home, "2024-06-01/south-1.csv", "2,2")
    plan = night(source(SALES))
    folder = home / "landing" / "toys" / "sales"
    said = subprocess.run("sha256sum */*.csv | sha256sum", shell=True, cwd=folder, capture_output=True, text=True)
    line = publications.read().filter(pl.col("table") == "bronze.toys__sales").to_dicts()[-1]
    assert line["source_file"] == "toys/sales/2024-06-01/*-*.csv"
    assert line["source_sha256"] == said.stdout[:64] == plan["sales"]["2024-06-01"]["sha256"]
    assert landing.sha256_there(source(SALES), SALES, "2024-06-01/*-*.csv") == said.stdout[:64]
    late.unlink()
    assert landing.sha256_there(source(SALES), SALES, "2024-06-01/*-*.csv") not in ("", said.stdout[:64])
    assert landing.sha256_there(source(SALES), SALES, "2024-06-02/*-*.csv") == ""
    assert trace.state("unknown/sales/2024-06-01/*.csv", "") == "gone"


def test_a_day_with_fewer_files_than_it_has_at_least_is_not_whole(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    with pytest.raises(MissingFileError, match=r"2024-06-01/\*-\*\.csv \(1 of them, and a day has at least 2\)"):
        landing.plan(source(SALES), NIGHT)
    assert landing.plan(source(SALES), Partitions(NEXT, NEXT)) == {}


def test_a_file_that_comes_while_the_others_are_read_is_not_left_behind(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    put(home, "2024-06-01/south-1.csv", "2,2")
    plan = landing.plan(source(SALES), NIGHT)
    landing.check_unchanged(source(SALES), SALES, plan["sales"])
    late = put(home, "2024-06-01/west-1.csv", "3,3")
    with pytest.raises(ChangedFileError, match=str(late)):
        ingest.load(source(SALES), NIGHT, plan)


def test_a_night_of_which_a_file_came_after_it_was_ingested_is_behind(home: Path) -> None:
    now = datetime(2024, 6, 3, tzinfo=UTC)
    put(home, "2024-06-01/north-1.csv", "1,1")
    put(home, "2024-06-01/south-1.csv", "2,2")
    night(source(SALES))
    assert catch_up.not_ingested(source(SALES), now) == []
    put(home, "2024-06-01/west-1.csv", "3,3")
    assert catch_up.not_ingested(source(SALES), now) == [DAY]
    night(source(SALES))
    assert catch_up.not_ingested(source(SALES), now) == []
    assert sorted(bronze(home, "sales")["receipt"]) == [1, 2, 3]


def test_a_mark_says_that_all_have_come_also_that_there_is_nothing(home: Path) -> None:
    marked = replace(SALES, files="{day}/{shop}-*.csv", least_files=0, finished=Finished.MARKED, mark="{day}/_SUCCESS")
    put(home, "2024-06-01/north-1.csv", "1,1")
    with pytest.raises(MissingFileError, match=r"no _SUCCESS beside it"):
        landing.plan(source(marked), NIGHT)
    mark = home / "landing" / "toys" / "sales" / "2024-06-01" / "_SUCCESS"
    mark.touch()
    assert landing.plan(source(marked), NIGHT)["sales"]["2024-06-01"]["rows"] == 1
    (mark.parent / "north-1.csv").unlink()
    with pytest.raises(UnreadableFileError, match=r"no rows\. A day without anything has no file"):
        landing.plan(source(marked), NIGHT)
    empty = source(replace(marked, may_be_empty=True))
    night(empty)
    assert bronze(home, "completeness").select("files", "rows_in", "published").rows() == [(0, 0, 0)]
    assert bronze(home, "sales").is_empty()


def test_several_files_rest_when_the_last_of_them_does(home: Path) -> None:
    resting = replace(SALES, least_files=0, finished=Finished.RESTING)
    for n, minutes in enumerate((60, 1)):
        path = put(home, f"2024-06-01/north-{n}.csv", f"{n},1")
        at = (datetime.now(UTC) - timedelta(minutes=minutes)).timestamp()
        os.utime(path, (at, at))
    with pytest.raises(MissingFileError, match="somebody has written to it a moment ago"):
        landing.plan(source(resting), NIGHT)
    os.utime(path, (at - 600, at - 600))
    assert landing.plan(source(resting), NIGHT)["sales"]["2024-06-01"]["rows"] == 2


LISTED = replace(SALES, least_files=0, finished=Finished.LISTED, mark="{day}/manifest.json")


def listed(home: Path, content: Any) -> None:
    path = home / "landing" / "toys" / "sales" / "2024-06-01" / "manifest.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_manifest_says_which_files_a_day_has_and_what_is_in_them(home: Path) -> None:
    path = put(home, "2024-06-01/north-1.csv", "1,1", "2,2")
    content = path.read_bytes()
    said = {"name": "north-1.csv", "rows": 2, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    listed(home, {"files": [said]})
    assert landing.plan(source(LISTED), NIGHT)["sales"]["2024-06-01"]["rows"] == 2
    listed(home, f"{hashlib.md5(content, usedforsecurity=False).hexdigest()} *north-1.csv\n")
    assert landing.plan(source(LISTED), NIGHT)["sales"]["2024-06-01"]["rows"] == 2
    url, meta = "s3://bucket/out/north-1.csv", {"content_length": len(content), "record_count": 2}
    listed(home, {"entries": [{"url": url, "mandatory": True, "meta": meta}]})
    assert landing.plan(source(LISTED), NIGHT)["sales"]["2024-06-01"]["rows"] == 2
    listed(home, {"files": ["north-1.csv"]})
    assert landing.plan(source(LISTED), NIGHT)["sales"]["2024-06-01"]["rows"] == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([{"name": "north-1.csv"}, {"name": "south-1.csv"}], "names 2024-06-01/south-1.csv, which is not there"),
        ([{"name": "north-1.csv", "bytes": 7}], "has 22 bytes, and manifest.json says 7"),
        ([], "north-1.csv is there, and manifest.json does not name it"),
        (["north-1.csv", "north-1.txt"], "names 2024-06-01/north-1.txt, which is not named as its feed says"),
    ],
)
def test_a_day_that_is_not_as_listed_is_not_whole(said: Any, why: str, home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1", "2,2")
    with pytest.raises(MissingFileError, match=r"no manifest.json beside it"):
        landing.plan(source(LISTED), NIGHT)
    listed(home, {"files": said})
    with pytest.raises(MissingFileError, match=why):
        landing.plan(source(LISTED), NIGHT)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rows": 3}, "it has 2 rows, and its manifest says 3"),
        ({"sha256": "0" * 64}, "its SHA-256 is another one"),
        ({"md5": "0" * 32}, "its MD5 is another one"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_refused(said: dict[str, Any], why: str, home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1", "2,2")
    listed(home, {"files": [{"name": "north-1.csv"} | said]})
    with pytest.raises(UnreadableFileError, match=rf"north-1\.csv: {why}"):
        landing.plan(source(LISTED), NIGHT)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"files": ["../../secrets.csv"]}', "which is not below its folder"),
        ('{"files": ["/etc/passwd"]}', "which is not below its folder"),
        ('{"files": ["a.csv", "a.csv"]}', "names a file twice"),
        ('{"files": {"a": 1}}', "its files are no array"),
        ('{"files": [{"rows": 1}]}', "not as a manifest is written"),
        ('{"files": [7]}', "not as a manifest is written"),
        ('{"files": [{"name": "a", "rows": "many"}]}', "rows is no number"),
        ('{"files": [{"name": "a", "sha256": "no"}]}', "sha256 is none"),
        ('{"files": ' + "[" * 100_000, "not as a manifest is written"),
        ("{", "A manifest has lines as sha256sum"),
        ("north-1.csv\n", "line 1 is no checksum and name"),
        ("\ufffd" * ((16 << 20) // 3 + 1), "no manifest has more than 16 MiB"),
    ],
    ids=range(12),
)
def test_what_is_no_manifest_is_refused(content: str, why: str, home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    listed(home, content)
    with pytest.raises(UnreadableFileError, match=why):
        landing.plan(source(LISTED), NIGHT)


def test_one_file_may_have_a_manifest_beside_it(home: Path) -> None:
    one = replace(SALES, files="{day}_{shop}.csv", least_files=1)
    assert not one.is_one_file
    alone = replace(STORES, finished=Finished.LISTED, mark="{day}.csv.sha256")
    path = put(home, "2024-06-01.csv", feed="stores")
    path.write_text("id\n1\n")
    with pytest.raises(MissingFileError, match=r"no 2024-06-01\.csv\.sha256 beside it"):
        landing.plan(source(alone), NIGHT)
    said = subprocess.run(["sha256sum", path.name], cwd=path.parent, capture_output=True, text=True).stdout
    path.with_name("2024-06-01.csv.sha256").write_text(said)
    assert landing.plan(source(alone), NIGHT)["stores"]["2024-06-01"]["rows"] == 1
    assert landing.unexpected(source(alone)) == []


def test_names_are_as_the_feed_says(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    feed = replace(STORES, files="{day:%Y/%m}/export_{day:%d%m%Y}.txt")
    path = home / "landing" / "toys" / "stores" / "2024" / "06" / "export_01062024.txt"
    path.parent.mkdir(parents=True)
    path.write_text("id\n1\n")
    assert landing.path_of(source(feed), feed, DAY) == UPath(path)
    assert landing.plan(source(feed), NIGHT)["stores"]["2024-06-01"]["rows"] == 1
    assert landing.landed_days(source(feed)) == [DAY]
    stray = path.parents[1] / "notes.txt"
    assert landing.unexpected(source(feed)) == []
    stray.parent.parent.joinpath("2024-06-01.csv").touch()
    assert [one.name for one in landing.unexpected(source(feed))] == ["2024-06-01.csv"]


def test_what_lies_among_the_files_of_a_day_and_is_none_is_told(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    put(home, "2024-06-01/south-1.csv", "2,2")
    put(home, "2024-06-01/South-2.CSV", "3,3")
    put(home, "2024-06-01/.hidden-1.csv.part", "4,4")
    put(home, "2024-06-01/_SUCCESS")
    landing.plan(source(SALES), NIGHT)
    assert [message for message in caplog.messages if "ignored" in message] == [
        f"ignored, since it is not named as {{day}}/{{shop}}-*.csv: "
        f"{home / 'landing' / 'toys' / 'sales' / '2024-06-01' / 'South-2.CSV'}"
    ]


def test_a_link_among_the_files_of_a_day_is_refused(home: Path, tmp_path: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    (tmp_path / "secret.csv").write_text("receipt,price\n7,7\n")
    (home / "landing" / "toys" / "sales" / "2024-06-01" / "south-1.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(UnreadableFileError, match=r"south-1.csv: a link\. Landing takes regular files only"):
        landing.plan(source(SALES), NIGHT)


def test_a_folder_of_a_day_that_is_a_link_is_refused(home: Path, tmp_path: Path) -> None:
    put(home, "2024-06-02/north-1.csv", "1,1")
    (tmp_path / "north-1.csv").write_text("receipt,price\n7,7\n")
    (tmp_path / "south-1.csv").write_text("receipt,price\n8,8\n")
    (home / "landing" / "toys" / "sales" / "2024-06-01").symlink_to(tmp_path)
    with pytest.raises(UnreadableFileError, match="2024-06-01: a link and no folder"):
        landing.plan(source(SALES), NIGHT)


def test_columns_of_some_files_come_in_another_order_or_are_new(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1.5")
    path = put(home, "2024-06-01/south-1.csv")
    path.write_text("till,price,receipt\n9,2.5,2\n")
    night(source(SALES))
    rows = bronze(home, "sales").sort("receipt")
    assert [(receipt, str(price)) for receipt, price in rows.select("receipt", "price").rows()] == [
        (1, "1.50"),
        (2, "2.50"),
    ]
    assert bronze(home, "completeness")["added_columns"].to_list() == ["till"]


def test_a_damaged_file_among_many_stops_the_night_by_its_name(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    bad = put(home, "2024-06-01/south-1.csv", "2,2")
    bad.write_bytes(b"receipt,price\n2,")
    with pytest.raises(UnreadableFileError, match=str(bad)):
        landing.plan(source(SALES), NIGHT)


def test_what_a_name_says_is_judged_as_any_value(home: Path) -> None:
    feed = replace(SALES, columns=(*SALES.columns[:2], Column("shop", "string", "", values=("north", "south"))))
    put(home, "2024-06-01/north-1.csv", "1,1")
    put(home, "2024-06-01/east-1.csv", "2,2")
    night(source(feed))
    assert bronze(home, "sales__quarantine")["reason"].to_list() == ["shop: 'east' is not one of the known values"]


@pytest.mark.parametrize("format_", [Format.PARQUET, Format.JSONL])
def test_parts_of_other_formats(format_: Format, home: Path) -> None:
    feed = replace(SALES, format=format_, files="shop={shop}/{day}/part-*." + str(format_))
    for shop, receipt in (("north", 1), ("south", 2)):
        path = home / "landing" / "toys" / "sales" / f"shop={shop}" / "2024-06-01" / f"part-0.{format_}"
        path.parent.mkdir(parents=True)
        frame = pl.DataFrame({"receipt": [receipt], "price": ["1.5"]})
        frame = frame.with_columns(pl.col("receipt").cast(pl.Int32), pl.col("price").cast(pl.Decimal(9, 2)))
        if format_ is Format.PARQUET:
            frame.write_parquet(path)
        else:
            path.write_text(f'{{"receipt": {receipt}, "price": 1.5}}\n')
    night(source(feed))
    assert bronze(home, "sales").sort("receipt").select("receipt", "shop").rows() == [(1, "north"), (2, "south")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"least_files": 0}, "a day has several files: how many at least"),
        ({"files": "{day}/{region}-*.csv"}, "region is no column"),
        ({"files": "{day}.csv", "least_files": 2}, "is one file, least_files is of several"),
        ({"files": "../{day}/*.csv"}, "leads out of the feed's folder"),
        ({"files": "{day}/*.csv.gz"}, "it says no compression"),
        ({"compression": Compression.GZIP}, r"compression is \.gz"),
        ({"mark": "{day}/_SUCCESS"}, "what is the mark for"),
        ({"finished": Finished.MARKED}, "what is the mark of all files of a day"),
        ({"finished": Finished.MARKED, "mark": "{day}/*.done"}, "a day has one mark"),
        ({"finished": Finished.MARKED, "mark": "_SUCCESS"}, "has no day"),
        ({"connector": Bucket("bucket", "key", "{day}.csv")}, "a connector brings one file a day"),
        (
            {"columns": (*SALES.columns[:2], Column("shop", "string", "", source_name="Shop"))},
            "is in the name of the file and not in the file",
        ),
    ],
)
def test_names_that_say_too_little_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(SALES, **changes)


def test_a_manifest_reads_names_with_blanks_and_letters_of_all_kinds(home: Path) -> None:
    path = put(home, "2024-06-01/any.csv").with_name("sums")
    path.write_text(f"{'a' * 64}  Größe 1.csv\n\n{'B' * 64} *./two.csv\n", encoding="utf-8-sig")
    assert manifest.read(UPath(path)) == {
        "Größe 1.csv": manifest.Promise(sha256="a" * 64),
        "two.csv": manifest.Promise(sha256="b" * 64),
    }


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.GZIP])
def test_parts_of_nothing_are_parts(compression: Compression, home: Path) -> None:
    """Spark writes a part for a share of its work that had no rows: nothing at all, or a packed nothing."""
    end = ".gz" if compression else ""
    feed = replace(
        SALES, files="{day}/{shop}-*.csv" + end, compression=compression, finished=Finished.RENAMED, least_files=3
    )
    folder = home / "landing" / "toys" / "sales" / "2024-06-01"
    folder.mkdir(parents=True)
    for shop, content in (("a", b""), ("b", b"receipt,price\n"), ("c", b"receipt,price\n1,1\n")):
        (folder / f"{shop}-1.csv{end}").write_bytes(gzip.compress(content) if compression else content)
    night(source(feed))
    assert bronze(home, "completeness").select("files", "rows_in", "published").rows() == [(3, 1, 1)]
    assert bronze(home, "sales")["shop"].to_list() == ["c"]


def test_names_that_hive_writes_are_read_as_it_means_them(home: Path) -> None:
    feed = replace(SALES, files="shop={shop}/{day}-*.csv")
    for n, shop in enumerate(("north%20%C3%9F", "__HIVE_DEFAULT_PARTITION__", "a=b+c%2Fd")):
        put(home, f"shop={shop}/2024-06-01-1.csv", f"{n},1")
    night(source(feed))
    assert bronze(home, "sales").sort("receipt")["shop"].to_list() == ["north ß", None, "a=b+c/d"]


def test_a_file_that_looks_like_a_mark_and_is_none_is_told(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spark and others pass over every name that begins with a line: rows that nobody misses."""
    for name in ("north-1", "south-1", "_west-1"):
        put(home, f"2024-06-01/{name}.csv", f"{len(name)}{name[0] == 's':d},1")
    landing.plan(source(SALES), NIGHT)
    assert next(message for message in caplog.messages if "ignored" in message).endswith("2024-06-01/_west-1.csv")


def test_a_name_that_cannot_be_printed_is_refused(home: Path) -> None:
    put(home, "2024-06-01/north-1.csv", "1,1")
    odd = os.fsencode(home / "landing" / "toys" / "sales" / "2024-06-01") + b"/north-\xff.csv"
    Path(os.fsdecode(odd)).write_text("receipt,price\n2,2\n")
    with pytest.raises(UnreadableFileError, match="letters that can be printed"):
        landing.plan(source(SALES), NIGHT)


def test_what_comes_and_goes_while_a_day_is_looked_through_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is there and the look into it, anything may happen."""
    put(home, "2024-06-01/north-1.csv", "1,1")
    listed(home, {"files": ["north-1.csv"]})
    put(home, "2024-06-01.csv", feed="stores").write_text("id\n1\n")
    whole = landing.lacks

    def lacks(*of: Any) -> str:
        said = whole(*of)
        put(home, "2024-06-01/south-1.csv", "2,2")
        (home / "landing" / "toys" / "stores" / "2024-06-01.csv").unlink(missing_ok=True)
        return said

    monkeypatch.setattr(landing, "lacks", lacks)
    with pytest.raises(
        MissingFileError, match=r"south-1\.csv has come a moment ago, and its manifest does not name it"
    ):
        landing.plan(source(LISTED), NIGHT)
    put(home, "2024-06-01.csv", feed="stores").write_text("id\n1\n")
    with pytest.raises(MissingFileError, match=r"2024-06-01\.csv was there a moment ago, and is gone"):
        landing.plan(source(STORES), NIGHT)
