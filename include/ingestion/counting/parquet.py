"""The rows and columns of a Parquet file, by its footer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from include.contracts.source import Feed
from include.ingestion.counting.columns import named, other, too_strange
from include.ingestion.files import UnreadableFileError, opened

if TYPE_CHECKING:
    from upath import UPath

# How a column of each type may be written in Parquet: what is read as that type without a loss.
_INT = {"INT32", "INT32 Int 8", "INT32 Int 16", "INT32 Int 32"}
TYPES = {
    # Impala and old writers do not say that bytes are a text: whether they are is looked at in each row.
    "string": {"BYTE_ARRAY String", "BYTE_ARRAY Enum", "BYTE_ARRAY JSON", "BYTE_ARRAY"},
    "smallint": {"INT32 Int 8", "INT32 Int 16"},
    "int": _INT,
    "bigint": _INT | {"INT64", "INT64 Int 64"},
    "double": {"FLOAT", "DOUBLE"},
    # As a text, a decimal keeps its digits where a writer has no decimals.
    "decimal": {f"{kind} Decimal" for kind in ("INT32", "INT64", "FIXED_LEN_BYTE_ARRAY", "BYTE_ARRAY")}
    | {*_INT, "INT64", "INT64 Int 64", "BYTE_ARRAY String"},
    "boolean": {"BOOLEAN"},
    "date": {"INT32 Date"},
    "binary": {"BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"},
    "array": {"nested"},  # what is in it is looked at in each row
    "map": {"nested"},
    "struct": {"nested"},
    "timestamp": {f"INT64 Timestamp {unit}seconds" for unit in ("milli", "micro", "nano")} | {"INT96"},
}
CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"}  # that Arrow brings along


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """What the footer says, which is read alone. The pages are checked when they are read.

    The columns are without those of a strange type that have no value in any row: writers that are given none make up
    a type.
    """
    footer, written = _footer(path)
    promised = {column.in_file: column for column in feed.columns}
    names = [column.name for column in written]
    new = [name for name in names if name not in promised]
    gone = [name for name in promised if name not in names]
    # A column that is gone may be there under a new name, so that both are named.
    problems = [named(gone, new if gone or too_strange(new, feed.wide) else [], promised)]
    problems += [f"column {name} is there twice" for name in promised if names.count(name) > 1]
    empty, unknown = set[str](), set[str]()
    for found in written:
        column = promised.get(found.name)
        if not column:
            continue
        if found.kind not in TYPES["struct" if column.path else column.kind]:
            if not (column.required and footer.num_rows) and _is_empty(path, found):
                empty.add(found.name)
            else:
                wanted = f"struct or array, in which {column.name} should be" if column.path else column.type
                problems.append(f"column {found.name} is {found.kind}, which is no {wanted}")
        else:
            unknown |= found.codecs(footer) - CODECS
    problems += [f"they are compressed with {one}, which cannot be read" for one in sorted(unknown)]
    if any(problems):
        raise UnreadableFileError(f"{path}: the columns break the contract: {', '.join(filter(None, problems))}")
    ours = [column.name for column in feed.columns]
    there = [column.name for column in feed.columns if column.in_file not in empty]
    return footer.num_rows, [*there, *(other(name, ours) for name in new)]


class Written(NamedTuple):
    """A column of a Parquet file: how it is written, and which of the footer's leaves it is; nested ones are none."""

    name: str
    kind: str  # its physical type, and what the file says it means
    leaf: int = -1

    def chunks(self, footer: Any) -> list[Any]:
        """What the footer says of the column in each group of rows."""
        groups = range(footer.num_row_groups) if self.leaf >= 0 else ()
        return [footer.row_group(group).column(self.leaf) for group in groups]

    def codecs(self, footer: Any) -> set[str]:
        return {chunk.compression for chunk in self.chunks(footer)}


def _footer(path: UPath) -> tuple[Any, list[Written]]:
    """The footer of a Parquet file, and its columns. Raises UnreadableFileError where there is none, or a bad one."""
    import pyarrow
    import pyarrow.parquet

    with opened(path) as file:
        start = file.read(4)
        if not start:
            raise UnreadableFileError(f"{path}: the file is empty")
        file.seek(-min(file.seek(0, io.SEEK_END), 4), io.SEEK_END)
        end = file.read(4)
        if b"PARE" in (start, end):
            raise UnreadableFileError(f"{path}: encrypted. Write it without encryption")
        if (start, end) != (b"PAR1", b"PAR1"):
            cut = ", or cut off" if start == b"PAR1" else ""
            raise UnreadableFileError(f"{path}: no Parquet{cut}: it does not begin and end with PAR1")
        try:
            footer = pyarrow.parquet.read_metadata(file)
            columns = _columns(footer)
        # What they say may hold what is in the file.
        except (pyarrow.ArrowException, OSError, ValueError, IndexError):
            raise UnreadableFileError(f"{path}: damaged, or encrypted: its footer cannot be read") from None
    if (rows := sum(footer.row_group(n).num_rows for n in range(footer.num_row_groups))) != footer.num_rows:
        raise UnreadableFileError(
            f"{path}: damaged: its footer counts {footer.num_rows} rows, and {rows} in its groups"
        )
    return footer, columns


def _is_empty(path: UPath, column: Written) -> bool:
    """Whether ``column`` has no value in any row. Looked at, since what writers say of that is not always so."""
    import pyarrow
    import pyarrow.parquet

    if column.leaf < 0:
        return False
    with opened(path) as file:
        try:
            batches = pyarrow.parquet.ParquetFile(file).iter_batches(columns=[column.name])
            return all(batch.column(0).null_count == batch.num_rows for batch in batches)
        except (pyarrow.ArrowException, OSError, ValueError, IndexError):
            return False


def _columns(footer: Any) -> list[Written]:
    """The columns of a Parquet file by its ``footer``, in their order.

    The footer itself knows leaves, and calls what is within a column and a column with a dot in its name the same.
    """
    import pyarrow.types

    def leaves(type_: Any) -> int:
        if not pyarrow.types.is_nested(type_):
            return 1
        return sum(leaves(type_.field(n).type) for n in range(type_.num_fields))

    found, next_leaf = list[Written](), 0
    for field in footer.schema.to_arrow_schema():
        if pyarrow.types.is_nested(field.type):
            found.append(Written(field.name, "nested"))
        else:
            found.append(Written(field.name, _kind(footer.schema.column(next_leaf)), next_leaf))
        next_leaf += leaves(field.type)
    return found


def _kind(leaf: Any) -> str:
    """How Parquet writes a column: its physical type, and what the file says it means."""
    meaning = json.loads(leaf.logical_type.to_json())
    sign = "" if meaning.get("isSigned", True) else "unsigned"
    name = "" if meaning["Type"] == "None" else meaning["Type"]
    parts = [leaf.physical_type, sign, name, str(meaning.get("bitWidth", "")), meaning.get("timeUnit", "")]
    return " ".join(filter(None, parts))
