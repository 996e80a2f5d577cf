"""The digest of contents is Spark's own, whoever works it out. Compared with a real Spark."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from include.core.errors import NeedsAttentionError
from include.lake import digest
from include.lake.digest import Content

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INTEGERS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
LETTERS = "abcxyz 0189äß€😀"
Draw = Callable[[Random], Any]


def integers(bits: int) -> Draw:
    return lambda by: by.getrandbits(bits) - 2 ** (bits - 1)


def decimals(precision: int, scale: int) -> Draw:
    most = 10**precision - 1
    return lambda by: Decimal(f"{by.randint(-most, most) >> by.randrange(3 * precision)}e-{scale}")


# Type of Spark, type of Polars, and a value of it by chance.
TYPES: dict[str, tuple[pl.DataType, Draw]] = {
    "boolean": (pl.Boolean(), lambda by: by.random() < 0.5),
    "tinyint": (pl.Int8(), integers(8)),
    "smallint": (pl.Int16(), integers(16)),
    "int": (pl.Int32(), integers(32)),
    "bigint": (pl.Int64(), integers(64)),
    "float": (pl.Float32(), lambda by: struct.unpack("f", by.randbytes(4))[0]),
    "double": (pl.Float64(), lambda by: struct.unpack("d", by.randbytes(8))[0]),
    "date": (pl.Date(), lambda by: date.fromordinal(by.randint(1, date.max.toordinal()))),
    "timestamp": (
        pl.Datetime("us", "UTC"),
        lambda by: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=by.randint(-(10**16), 10**17)),
    ),
    "decimal(9,2)": (pl.Decimal(9, 2), decimals(9, 2)),
    "decimal(18,4)": (pl.Decimal(18, 4), decimals(18, 4)),
    "decimal(38,3)": (pl.Decimal(38, 3), decimals(38, 3)),
    "string": (pl.String(), lambda by: "".join(by.choices(LETTERS, k=by.randrange(71)))),
    "binary": (pl.Binary(), lambda by: by.randbytes(by.randrange(71))),
}
EDGES: dict[str, list[Any]] = {
    "boolean": [True, False],
    **{name: [0, -1, 1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))] for name, bits in INTEGERS.items()},
    "float": [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 1.5, -3.4028234663852886e38, 1e-45],
    "double": [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 1.5, -1.7976931348623157e308, 5e-324],
    "date": [date(1970, 1, 1), date(1969, 12, 31), date(1, 1, 1), date(9999, 12, 31)],
    "timestamp": [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1900, 2, 28, 1, 2, 3, 4, tzinfo=UTC),
        datetime(9999, 12, 30, tzinfo=UTC),
    ],
    "decimal(9,2)": [Decimal("0.00"), Decimal("-0.01"), Decimal("9999999.99"), Decimal("-9999999.99")],
    "decimal(18,4)": [Decimal("0.0000"), Decimal("-0.0001"), Decimal("99999999999999.9999")],
    "decimal(38,3)": [
        Decimal(n).scaleb(-3) for n in (0, 1, -1, 127, 128, -128, -129, 255, 256, 2**63, -(2**63), 2**64)
    ],
    "string": [("aé€😀" * 18).encode()[:n].decode(errors="replace")[:n] for n in range(71)]
    + ["x" * n for n in range(71)],
    "binary": [bytes(range(180, 180 + n)) for n in range(71)],
}


def of_spark(spark: SparkSession, frame: pl.DataFrame, folder: Path, kinds: Sequence[str]) -> list[int]:
    """The hash of each row, by Spark."""
    from pyspark.sql import functions as sf

    path = folder / "rows.parquet"
    frame.with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64)).write_parquet(path)
    rows = spark.read.parquet(str(path))
    assert [kind for name, kind in rows.dtypes if name != "_row"] == list(kinds)
    values = [value for name in frame.columns for value in (sf.col(name), sf.col(name).isNull())]
    found = rows.select("_row", sf.xxhash64(*values).alias("hash")).orderBy("_row").collect()
    return [row["hash"] for row in found]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_hashed_as_by_spark(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    """One after the other, its edges and nulls between."""
    values = [value for one in EDGES[kind] for value in (one, None, one)]
    frame = pl.DataFrame({"a": values, "b": values[::-1]}, dict.fromkeys("ab", TYPES[kind][0]))
    assert digest.row_hashes(frame, frame.columns).tolist() == of_spark(spark, frame, tmp_path, [kind, kind])


def test_any_rows_are_hashed_as_by_spark(spark: SparkSession, tmp_path: Path) -> None:
    """Values of every type by chance, all types in one row."""
    by = Random(7)
    columns = [
        pl.Series(kind.translate(str.maketrans("(,)", "___")), drawn, polars)
        for kind, (polars, draw) in TYPES.items()
        if (drawn := [None if by.random() < 0.1 else draw(by) for _ in range(3000)])
    ]
    frame = pl.DataFrame(columns)
    assert digest.row_hashes(frame, frame.columns).tolist() == of_spark(spark, frame, tmp_path, list(TYPES))


def test_contents_are_the_sums_that_spark_has_made_for_the_ledgers(spark: SparkSession, tmp_path: Path) -> None:
    from pyspark.sql import functions as sf

    days = [date(2020, 6, 1 + number % 3) for number in range(1000)]
    frame = pl.DataFrame({"day": days, "key": [f"key {n}" if n % 7 else None for n in range(1000)]})
    frame.write_parquet(tmp_path / "rows.parquet")
    values = [value for name in ("day", "key") for value in (sf.col(name), sf.col(name).isNull())]
    sums = sf.sum(sf.xxhash64(*values).cast("decimal(38,0)")).alias("hash")
    rows = spark.read.parquet(str(tmp_path / "rows.parquet")).groupBy("day").agg(sf.count("*").alias("rows"), sums)
    expected = {(row["day"],): Content(row["rows"], int(row["hash"])) for row in rows.collect()}
    assert digest.contents(frame.lazy(), ["day"], ["day", "key"]) == expected


def test_contents_do_not_depend_on_order_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame(
        {"day": [date(2020, 6, 1 + n % 2) for n in range(500)], "key": [str(n) * 9 for n in range(500)]}
    )
    whole = digest.contents(frame.lazy(), ["day"], ["key"])
    assert {one.rows for one in whole.values()} == {250}
    monkeypatch.setattr(digest, "BATCH", 7)
    assert digest.contents(frame.sample(fraction=1, shuffle=True, seed=1).lazy(), ["day"], ["key"]) == whole


def test_no_rows_have_no_content() -> None:
    frame = pl.LazyFrame(schema={"day": pl.Date, "key": pl.String})
    assert digest.contents(frame, ["day"], ["day", "key"]) == {}


def test_times_are_microseconds_whatever_they_are_counted_in() -> None:
    frame = pl.DataFrame({"us": [datetime(1969, 6, 1, 2, 3, 4, 567000), None]})
    for unit in ("ns", "ms"):
        other = frame.cast(pl.Datetime(unit))
        assert digest.row_hashes(other, ["us"]).tolist() == digest.row_hashes(frame, ["us"]).tolist()


def test_a_slice_is_hashed_as_the_rows_that_it_has() -> None:
    """Of Arrow's buffers, which still hold the rest."""
    frame = pl.DataFrame({"key": ["a", None, "ccc" * 20, ""], "price": [Decimal("1.5"), None, Decimal("2.5"), None]})
    whole = digest.row_hashes(frame, frame.columns).tolist()
    assert digest.row_hashes(frame[1:3], frame.columns).tolist() == whole[1:3]


@pytest.mark.parametrize(
    "values",
    [
        [[], [None], None, [1], [1, 2], [2, 1], [1, None], [None, 1]],
        [[[1], [2]], [[1, 2]], [[], [1, 2]], [[1, 2], []], [None, [1, 2]]],
        [{"a": None}, None, {"a": 1}, {"a": 2}],
        [{"a": [1], "b": None}, {"a": None, "b": [1]}],
        [[{"key": "a", "value": 1}], [{"key": "b", "value": 1}], [{"key": "a", "value": None}], []],
    ],
)
def test_nested_values_that_differ_have_other_hashes_and_equal_ones_have_one(values: list[Any]) -> None:
    frame = pl.DataFrame({"nested": [*values, *values]})
    hashes = digest.row_hashes(frame, ["nested"]).tolist()
    assert len(set(hashes)) == len(values)
    assert hashes[: len(values)] == hashes[len(values) :]


@pytest.mark.parametrize(("values", "kind"), [([b"x", 1], "Object"), ([timedelta(1)], "Duration")])
def test_a_type_that_it_does_not_know_is_said(values: list[Any], kind: str) -> None:
    frame = pl.DataFrame({"odd": pl.Series(values, dtype=pl.Object if kind == "Object" else None)})
    with pytest.raises(digest.UnknownTypeError, match=f"column odd of these rows has the type {kind}"):
        digest.row_hashes(frame, ["odd"])
    if kind == "Duration":
        inner = pl.DataFrame({"odd": [[{"a": values[0]}]]})
        with pytest.raises(digest.UnknownTypeError, match=r"column odd of these rows has the type List\(Struct"):
            digest.row_hashes(inner, ["odd"])
    with pytest.raises(NeedsAttentionError, match=r"column odd of silver\.t has"):
        digest.require_known("silver.t", frame.schema)
