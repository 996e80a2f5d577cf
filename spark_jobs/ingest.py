"""Landing files to a candidate bronze table: every row typed, and each given its verdict.

extract → transform → load, for one feed and any number of its files. Imports PySpark alone, so that it also runs on a
cluster without the rest of the repository: ``spark-submit ingest.py '<job as JSON>'``.

The candidate holds **every** row of the files, so that nothing can go missing between two writes. ``judged`` reads it:

- the feed's columns, cast to their types;
- ``partition_day`` (date): the row's own business day where it is an earlier one than the file's, else the file's;
- ``night`` (date): the night in which the file arrived, by its name; ``source_file`` (relative to landing);
  ``arrived_at`` (the file's modification time, UTC);
- ``_reason``: why the row breaks its contract, null where it does not; ``_raw``: the text of one that does, or is late;
- ``_copy``: true for the second and further copies of a row in its file;
- ``_late``: true for a sound row of an earlier day than the file's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from pathlib import PurePosixPath
from typing import Any, TypedDict

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

BOOKKEEPING = ("_reason", "_raw", "_copy", "_late")

# How a value of each type is written. Spark's casts also take `1d`, ` 7 `, `2020-6-4`, `NaN` and `yesterday`.
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
WRITTEN = {
    "int": "[+-]?[0-9]+",
    "bigint": "[+-]?[0-9]+",
    "double": _NUMBER,
    "boolean": "(?i:true|t|yes|y|1|false|f|no|n|0)",
    "date": _DATE,
    "timestamp": rf"{_DATE}[T ]{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})?",
}
# A column of a CSV row, with a pattern that never steps back: one that does runs out of stack on a long text.
QUOTED = '"[^"]*+(?:""[^"]*+)*+"'
FIELD = f'(?:{QUOTED}|[^",]*+)'
# A day outside these years is a placeholder or a mistake.
YEARS = (1900, 2199)


class Job(TypedDict):
    """What to load: ``files`` are URIs of files whose names begin with their day, all in one folder.

    Each comes with its columns in their order where they are not the feed's, else with none. ``feed`` is a feed's
    spec as JSON; ``candidate`` is the table to make of them, which must be a new one.
    """

    landing: str
    files: dict[str, list[str]]
    feed: dict[str, Any]
    candidate: str


def extract(spark: SparkSession, job: Job) -> DataFrame:
    """The rows of the files, every column as text.

    ``_flaw`` says why a row could not be taken apart into the columns, null where it could; ``_odd`` what is wrong with
    its values that their texts no longer show. ``_text`` is the row as it is written, null where there is no such text.
    """
    feed, by_columns = job["feed"], dict[tuple[str, ...], list[str]]()
    for file, columns in job["files"].items():
        # In JSON lines each row says by itself what it has.
        by_columns.setdefault(tuple(columns) if feed["format"] != "jsonl" else (), []).append(file)
    return reduce(DataFrame.unionByName, (_read(spark, job, files, names) for names, files in by_columns.items()))


def _read(spark: SparkSession, job: Job, files: list[str], names: tuple[str, ...]) -> DataFrame:
    rows, columns = READERS[job["feed"]["format"]](spark, job["feed"]["columns"], names, files)
    # Relative to landing, whatever the folder's name; the path that Spark knows is encoded as a URI.
    folder = PurePosixPath(files[0]).parent.relative_to(job["landing"])
    return rows.select(
        *columns,
        F.concat(F.lit(f"{folder}/"), F.col("_metadata.file_name")).alias("source_file"),
        F.col("_metadata.file_modification_time").alias("arrived_at"),
        F.regexp_extract("_metadata.file_name", r"(\d{4}-\d{2}-\d{2})", 1).cast("date").alias("partition_day"),
    )


Reader = Callable[[SparkSession, list[dict[str, Any]], Sequence[str], list[str]], tuple[DataFrame, list[Column]]]


def _csv(
    spark: SparkSession, columns: list[dict[str, Any]], there: Sequence[str], files: list[str]
) -> tuple[DataFrame, list[Column]]:
    """Line by line: Spark takes the header away, and takes apart only what RFC 4180 lets be taken apart in one way.

    By itself it would cut a text at its line feed, and keep a quote that nobody closes as part of the text.
    """
    names = there or [column["name"] for column in columns]
    # No line holds the separator, or it would be two.
    lines = spark.read.schema("_line string").options(header=True, sep="\r", quote="").csv(files)
    line = F.col("_line")
    sound = line.rlike(rf"\A{FIELD}(?:,{FIELD}){{{len(names) - 1}}}\z")
    # By their places: what the columns that nobody promised are called is nobody's business.
    places = ", ".join(f"_{place} string" for place in range(len(names)))
    options = {"mode": "FAILFAST", "escape": '"', "maxColumns": str(len(names))}  # a quote inside quotes is doubled
    rows = lines.withColumn("_row", F.from_csv(F.when(sound, line), places, options))
    texts = [F.col(f"_row._{names.index(column['name'])}").alias(column["name"]) for column in columns]
    flaw = F.when(~sound, F.coalesce(_wrong_quote(line, names), F.lit(f"not {len(names)} columns")))
    return rows, [*texts, line.alias("_text"), flaw.alias("_flaw"), F.lit(None).cast("string").alias("_odd")]


def _wrong_quote(line: Column, names: Sequence[str]) -> Column:
    """In which column of a CSV row a quote is wrong, and how; null where none is."""
    before = F.regexp_extract(line, rf"\A(?:{FIELD},)*+", 0)
    rest = F.substring(line, F.length(before) + 1, F.length(line))
    place = F.size(F.regexp_extract_all(before, F.lit(f"({FIELD}),")))
    why = (
        F.when(rest.rlike(rf"\A{FIELD}\z"), None)
        .when(~rest.startswith('"'), F.lit("a quote within a text that is not in quotes"))
        .when(rest.rlike(rf"\A{QUOTED}"), F.lit("more text after the closing quote"))
        .otherwise(F.lit("a quote that its line does not close"))
    )
    name = F.coalesce(F.get(F.array(*map(F.lit, names)), place), F.lit("after the last column"))
    return F.concat(name, F.lit(": "), why)


def _jsonl(
    spark: SparkSession, columns: list[dict[str, Any]], _: Sequence[str], files: list[str]
) -> tuple[DataFrame, list[Column]]:
    """As variants, which keep apart what a schema of texts blurs: 5 and "5", an object and its text."""
    rows = spark.read.text(files).where(F.col("value").rlike(r"[^\x00-\x20]"))
    row = F.try_parse_json("value")
    flaw = F.when(~F.coalesce(F.schema_of_variant(row).startswith("OBJECT"), F.lit(False)), F.lit(NO_OBJECT))
    texts, odd = [], []
    for column in columns:
        name, path = column["name"], f"$['{column['name']}']"
        text = F.try_variant_get(row, path, "string")
        kind = F.schema_of_variant(F.try_variant_get(row, path, "variant"))
        texts.append(text.alias(name))
        odd.append(_zero_byte(name, text))
        # The other types say what they are by how they are written, and are looked at later.
        if wanted := JSON_KINDS.get(column["type"]):
            wrong = kind.isNotNull() & ~kind.rlike(f"^({wanted}|VOID)$")
            odd.append(F.when(wrong, F.concat(F.lit(f"{name}: "), text, F.lit(f" is no JSON {column['type']}"))))
    return rows, [*texts, F.col("value").alias("_text"), flaw.alias("_flaw"), _all_of(odd).alias("_odd")]


def _parquet(
    spark: SparkSession, columns: list[dict[str, Any]], there: Sequence[str], files: list[str]
) -> tuple[DataFrame, list[Column]]:
    """Read in the types of the spec, whichever of those that fit a file has; then written as a CSV would."""
    # A column without any value may be of any type, and is not looked at.
    empty = {column["name"] for column in columns if there and column["name"] not in there}
    schema = ", ".join(f"`{column['name']}` {column['type']}" for column in columns if column["name"] not in empty)
    rows = spark.read.schema(schema).option("parquet.page.verify-checksum.enabled", True).parquet(*files)
    texts, odd = [], []
    for column in columns:
        value = F.lit(None).cast(column["type"]) if column["name"] in empty else F.col(column["name"])
        # With its offset: without, an hour of the year would be two in a session of another time zone than UTC.
        exact = F.date_format(value, "yyyy-MM-dd HH:mm:ss.SSSSSSXXX")
        text = exact if column["type"] == "timestamp" else value.cast("string")
        if column["type"] == "string":
            odd += [_no_text(column["name"], value), _zero_byte(column["name"], value)]
            # Spark hands on whatever bytes there are. As Latin-1 they stay apart and can be read in the quarantine.
            text = F.when(F.is_valid_utf8(value), value).otherwise(F.decode(value.cast("binary"), "ISO-8859-1"))
        texts.append(text.alias(column["name"]))
    none = F.lit(None).cast("string")
    return rows, [*texts, none.alias("_text"), none.alias("_flaw"), _all_of(odd).alias("_odd")]


def _all_of(reasons: Iterable[Column]) -> Column:
    """The ``reasons`` that there are, in one text; null where there are none."""
    return F.nullif(F.concat_ws("; ", *reasons), F.lit(""))


def _no_text(name: str, text: Column) -> Column:
    """Bytes with which no other reader could read the table."""
    return F.when(~F.is_valid_utf8(text), F.lit(f"{name}: not UTF-8, shown as Latin-1"))


def _zero_byte(name: str, text: Column) -> Column:
    """Which no other format can hold, and at which many a reader of a table ends the text."""
    return F.when(F.instr(text, "\0") > 0, F.lit(f"{name}: holds a zero byte"))


# What a JSON value must be where a column's type does not show it: 5 is no text, 1 is not true.
JSON_KINDS = {"string": "STRING", "boolean": "BOOLEAN|STRING"}
NO_OBJECT = "no JSON object"
READERS: dict[str, Reader] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def broken_promise(column: dict[str, Any]) -> Column:
    """What is wrong with the text of ``column`` in a row, as text; null where nothing is."""
    name, text, value = column["name"], F.col(column["name"]), typed(column)
    shown = F.concat(F.lit(f"{name}: "), F.format_string("'%s'", text))
    unreadable = value.isNull()
    if column["type"] in WRITTEN:
        unreadable |= ~text.rlike(rf"\A(?:{WRITTEN[column['type']]})\z")  # a $ would let a line feed follow
    if column["type"] == "double":
        unreadable |= F.abs(value) == float("inf")  # 1e999
    checks = [F.when(text.isNotNull() & unreadable, F.concat(shown, F.lit(f" is no {column['type']}")))]
    if column["type"] in ("date", "timestamp"):
        out = ~F.year(value).between(*YEARS)
        checks.append(F.when(out, F.concat(shown, F.lit(f" is not between {YEARS[0]} and {YEARS[1]}"))))
    if column["required"]:
        checks.append(F.when(text.isNull(), F.lit(f"{name}: missing")))
    if column["form"] == "HHMM":
        no_time = ~value.between(0, 2400) | (value % 100 > 59)
        checks.append(F.when(no_time, F.concat(shown, F.lit(" is no time of day (HHMM)"))))
    if column["values"]:
        checks.append(F.when(~value.isin(*column["values"]), F.concat(shown, F.lit(" is not one of the known values"))))
    if column["minimum"] is not None:
        checks.append(F.when(value < column["minimum"], F.concat(shown, F.lit(f" is below {column['minimum']:g}"))))
    if column["maximum"] is not None:
        checks.append(F.when(value > column["maximum"], F.concat(shown, F.lit(f" is above {column['maximum']:g}"))))
    return F.coalesce(*checks)


def strange_day(day: Column, feed: dict[str, Any]) -> Column:
    """What is wrong with a row's own ``day`` beside the file's, ``partition_day``; null where nothing is."""
    shown = F.concat(F.lit(f"{feed['day_column']}: "), F.col(feed["day_column"]))
    earliest = F.date_sub("partition_day", feed["late_days"])
    too_late = f" is more than {feed['late_days']} days before the file's" if feed["late_days"] else " is another day"
    return F.coalesce(
        F.when(day > F.col("partition_day"), F.concat(shown, F.lit(" is another day"))),
        F.when(day < earliest, F.concat(shown, F.lit(too_late))),
    )


def with_typed(rows: DataFrame, columns: list[dict[str, Any]]) -> DataFrame:
    """``rows`` of text with each column also as its type: null where it cannot be read as one.

    Once, since to read a text as a number takes longer than all that is asked of the number.
    """

    def cast(column: dict[str, Any]) -> Column:
        value = F.expr(f"try_cast(`{column['name']}` AS {column['type']})")
        # -0.0 becomes 0.0: of two equal values it would depend on chance which one is published.
        return value + F.lit(0.0) if column["type"] == "double" else value

    return rows.withColumns({f"_typed_{column['name']}": cast(column) for column in columns})


def typed(column: dict[str, Any]) -> Column:
    """``column`` as its type, of rows that ``with_typed`` has seen."""
    return F.col(f"_typed_{column['name']}")


def look_at(rows: DataFrame, feed: dict[str, Any]) -> DataFrame:
    """``rows`` of text with what can be said of each by itself: its day and night, whether it is late or broken.

    Rows that have to be looked at together have the same ``_twin``; by chance others may have it as well.
    """
    columns = feed["columns"]
    names = [column["name"] for column in columns]
    reasons = [F.col("_odd"), *(broken_promise(column) for column in columns)]
    late = F.lit(False)
    if feed["day_column"]:
        day = F.expr(f"try_cast(`{feed['day_column']}` AS date)")
        reasons.append(strange_day(day, feed))
        late = day < F.col("partition_day")
    looked_at = (
        with_typed(rows, columns)
        .withColumns(
            {
                # Of a row that could not be taken apart nobody knows which value is which.
                "_broken": F.coalesce("_flaw", _all_of(reasons)),
                "_raw": F.coalesce("_text", F.concat_ws(",", *(F.coalesce(F.col(n), F.lit("")) for n in names))),
            }
        )
        .withColumns(
            {
                "night": F.date_sub("partition_day", feed["lead_days"]),
                "_late": F.col("_broken").isNull() & late,
            }
        )
    )
    if feed["day_column"]:
        looked_at = looked_at.withColumn("partition_day", F.when(F.col("_late"), day).otherwise(F.col("partition_day")))
    broken = F.when(F.col("_broken").isNotNull(), F.col("_raw"))
    return looked_at.withColumn("_twin", F.xxhash64("source_file", broken, *_key(feed)))


def _key(feed: dict[str, Any]) -> list[Column]:
    """What no two good rows of a file share. As what it is published as: 7 and 07 are one key."""
    return [F.col("partition_day"), *(typed(column) for column in feed["columns"] if column["name"] in feed["key"])]


def alone(rows: DataFrame, feed: dict[str, Any]) -> DataFrame:
    """The verdicts of rows as ``look_at`` leaves them, where no row of their file is their twin."""
    return _with_verdict(rows, feed, F.col("_broken"), F.lit(False), F.col("_late"))


def content_of(*values: Column) -> Column:
    """What makes two rows the same: their ``values`` as they are published, not as they are written. 7 is 7.0."""
    return F.struct(*values)


def together(rows: DataFrame, feed: dict[str, Any]) -> DataFrame:
    """The verdicts of rows as ``look_at`` leaves them, where each has its twins beside it.

    Rows of one file and day that have the same key and the same content are copies. Where the content differs nobody
    can say which one is right, so all of them break the contract.
    """
    sound = F.col("_broken").isNull()
    content = F.when(sound, content_of(*(typed(column) for column in feed["columns"])))
    # A broken row has no content to compare, only its text.
    same_row = Window.partitionBy("source_file", "_content", F.when(~sound, F.col("_raw"))).orderBy("_raw")
    same_key = Window.partitionBy("source_file", *_key(feed))
    conflict = sound & (F.min("_content").over(same_key) != F.max("_content").over(same_key))
    differs = F.lit(f"another row has the same {', '.join(feed['key'])} and differs")
    return _with_verdict(
        rows.withColumn("_content", content),
        feed,
        reason=F.when(conflict, differs).otherwise(F.col("_broken")),
        copy=F.row_number().over(same_row) > 1,
        late=F.col("_late") & ~conflict,
    )


def _with_verdict(rows: DataFrame, feed: dict[str, Any], reason: Column, copy: Column, late: Column) -> DataFrame:
    return rows.select(
        *(typed(column).alias(column["name"]) for column in feed["columns"]),
        "partition_day",
        "night",
        "source_file",
        "arrived_at",
        reason.alias("_reason"),
        F.when(reason.isNotNull() | late, F.col("_raw")).alias("_raw"),
        copy.alias("_copy"),
        late.alias("_late"),
        "_twin",
    )


def run(spark: SparkSession, job: Job) -> None:
    """Load ``job``'s files into its candidate table. Raises AnalysisException where there is such a table already.

    Nearly all rows have no twin, and sorting them all to find that out takes longer than reading them again for the
    few that have: they get a table of their own.
    """
    rows = look_at(extract(spark, job), job["feed"])
    alone(rows, job["feed"]).write.format("parquet").saveAsTable(job["candidate"])
    twins = spark.table(job["candidate"]).groupBy("_twin").count().where("count > 1")
    if not twins.isEmpty():
        judged = together(rows.join(twins, on="_twin", how="left_semi"), job["feed"])
        judged.write.format("parquet").saveAsTable(twins_of(job["candidate"]))


def twins_of(candidate: str) -> str:
    """The table of those rows of a candidate that were looked at together; there is none where no row had to be."""
    return f"{candidate}__twins"


def judged(spark: SparkSession, candidate: str) -> DataFrame:
    """Every row of a candidate with its verdict, as the module's docstring says."""
    rows = spark.table(candidate)
    if spark.catalog.tableExists(twins_of(candidate)):
        twins = spark.table(twins_of(candidate))
        rows = rows.join(twins, on="_twin", how="left_anti").unionByName(twins)
    return rows.drop("_twin")


def main() -> None:
    job: Job = json.loads(sys.argv[1])
    run(SparkSession.builder.appName("ingest").getOrCreate(), job)


if __name__ == "__main__":
    main()
