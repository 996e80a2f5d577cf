"""Flight SQL on the wire: the messages of ``FlightSql.proto`` that a reader needs, and the tables of its metadata.

No package that is kept has these messages for Python: the few fields are declared here, for protobuf's own classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from include.core.errors import BadRequestError

PACKAGE = "arrow.flight.protocol.sql"
_TEXT, _BYTES, _BOOL, _NUMBER = 9, 12, 8, 13
"""Kinds of fields, by protobuf's numbers: string, bytes, bool, uint32."""

# Message → (field, number, kind, whether there can be several)
_MESSAGES: dict[str, list[tuple[str, int, int, bool]]] = {
    "CommandStatementQuery": [("query", 1, _TEXT, False)],
    "CommandPreparedStatementQuery": [("handle", 1, _BYTES, False)],
    "TicketStatementQuery": [("handle", 1, _BYTES, False)],
    "ActionCreatePreparedStatementRequest": [("query", 1, _TEXT, False)],
    "ActionCreatePreparedStatementResult": [
        ("handle", 1, _BYTES, False),
        ("dataset_schema", 2, _BYTES, False),
        ("parameter_schema", 3, _BYTES, False),
    ],
    "ActionClosePreparedStatementRequest": [("handle", 1, _BYTES, False)],
    "DoPutPreparedStatementResult": [("handle", 1, _BYTES, False)],
    "CommandGetSqlInfo": [("info", 1, _NUMBER, True)],
    "CommandGetCatalogs": [],
    "CommandGetDbSchemas": [("catalog", 1, _TEXT, False), ("db_schema_filter_pattern", 2, _TEXT, False)],
    "CommandGetTables": [
        ("catalog", 1, _TEXT, False),
        ("db_schema_filter_pattern", 2, _TEXT, False),
        ("table_name_filter_pattern", 3, _TEXT, False),
        ("table_types", 4, _TEXT, True),
        ("include_schema", 5, _BOOL, False),
    ],
    "CommandGetTableTypes": [],
    "CommandGetXdbcTypeInfo": [],
    "CommandGetPrimaryKeys": [],
    "CommandGetExportedKeys": [],
    "CommandGetImportedKeys": [],
    "CommandGetCrossReference": [],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="nocturne/flight_sql.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, several in fields:
            message.field.add(name=field, number=number, type=kind, label=3 if several else 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _classes()


class UnknownMessageError(BadRequestError):
    """Something that is no message of Flight SQL, or one that a reader has no business with."""


def packed(name: str, **values: Any) -> bytes:
    """The message ``name`` with these fields, as Flight SQL has it in tickets, results and commands."""
    whole = any_pb2.Any()
    whole.Pack(_CLASSES[name](**values))
    return whole.SerializeToString()


def bare(name: str, **values: Any) -> bytes:
    """The same without its name around it, as answers to DoPut have it."""
    written: bytes = _CLASSES[name](**values).SerializeToString()
    return written


def unpacked(data: bytes) -> tuple[str, Any]:
    """The name and the fields of a message. Raises UnknownMessageError."""
    try:
        whole = any_pb2.Any.FromString(data)
        name = whole.TypeName().removeprefix(f"{PACKAGE}.")
        if name not in _CLASSES:
            raise UnknownMessageError(f"{name or 'this'} is not understood: this endpoint answers questions only")
        return name, _CLASSES[name].FromString(whole.value)
    except DecodeError:
        raise UnknownMessageError("this is no message of Flight SQL") from None


# --- metadata

CATALOGS = pa.schema([pa.field("catalog_name", pa.string(), False)])
SCHEMAS = pa.schema([("catalog_name", pa.string()), pa.field("db_schema_name", pa.string(), False)])
TABLES = pa.schema(
    [
        ("catalog_name", pa.string()),
        ("db_schema_name", pa.string()),
        pa.field("table_name", pa.string(), False),
        pa.field("table_type", pa.string(), False),
    ]
)
WITH_SCHEMA = TABLES.append(pa.field("table_schema", pa.binary(), False))
TABLE_TYPES = pa.schema([pa.field("table_type", pa.string(), False)])
PRIMARY_KEYS = pa.schema(
    [(name, pa.string()) for name in ("catalog_name", "db_schema_name", "table_name", "column_name", "key_name")]
).insert(4, pa.field("key_sequence", pa.int32()))
FOREIGN_KEYS = pa.schema(
    [
        *[(f"pk_{name}", pa.string()) for name in ("catalog_name", "db_schema_name", "table_name", "column_name")],
        *[(f"fk_{name}", pa.string()) for name in ("catalog_name", "db_schema_name", "table_name", "column_name")],
        ("key_sequence", pa.int32()),
        ("fk_key_name", pa.string()),
        ("pk_key_name", pa.string()),
        ("update_rule", pa.uint8()),
        ("delete_rule", pa.uint8()),
    ]
)
TYPES = pa.schema(
    [
        ("type_name", pa.string()),
        ("data_type", pa.int32()),
        ("column_size", pa.int32()),
        ("literal_prefix", pa.string()),
        ("literal_suffix", pa.string()),
        ("create_params", pa.list_(pa.string())),
        ("nullable", pa.int32()),
        ("case_sensitive", pa.bool_()),
        ("searchable", pa.int32()),
        ("unsigned_attribute", pa.bool_()),
        ("fixed_prec_scale", pa.bool_()),
        ("auto_increment", pa.bool_()),
        ("local_type_name", pa.string()),
        ("minimum_scale", pa.int32()),
        ("maximum_scale", pa.int32()),
        ("sql_data_type", pa.int32()),
        ("datetime_subcode", pa.int32()),
        ("num_prec_radix", pa.int32()),
        ("interval_precision", pa.int32()),
    ]
)
EMPTY = {
    "CommandGetXdbcTypeInfo": TYPES,
    "CommandGetPrimaryKeys": PRIMARY_KEYS,
    "CommandGetExportedKeys": FOREIGN_KEYS,
    "CommandGetImportedKeys": FOREIGN_KEYS,
    "CommandGetCrossReference": FOREIGN_KEYS,
}
"""What the lake has none of, or what clients do without."""
INFORMATION: Mapping[int, str | bool] = {
    0: "Nocturne",  # the server's name
    1: "1",  # its version
    2: pa.__version__,  # Arrow's
    3: True,  # it is read-only
    4: True,  # it takes SQL
    5: False,  # and no Substrait
    8: False,  # no transactions
    504: '"',  # what quotes an identifier
}
_UNION = {
    "string_value": pa.string(),
    "bool_value": pa.bool_(),
    "bigint_value": pa.int64(),
    "int32_bitmask": pa.int32(),
    "string_list": pa.list_(pa.string()),
    "int32_to_int32_list_map": pa.map_(pa.int32(), pa.list_(pa.int32())),
}
SQL_INFO = pa.schema(
    [
        pa.field("info_name", pa.uint32(), False),
        pa.field(
            "value",
            pa.dense_union([pa.field(name, kind) for name, kind in _UNION.items()]),
            False,
        ),
    ]
)


def matches(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern of SQL's: ``%`` is any signs and ``_`` one; no pattern is like all."""
    parts = ["." if one == "_" else ".*" if one == "%" else re.escape(one) for one in pattern]
    return not pattern or re.fullmatch("".join(parts), name, re.DOTALL) is not None


def rows(schema: pa.Schema, values: Iterable[Sequence[Any]]) -> pa.Table:
    """A table of metadata."""
    columns = list(zip(*values, strict=True)) or [()] * len(schema)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def information(wanted: Sequence[int]) -> pa.Table:
    """What the server says of itself; no ``wanted`` is all."""
    found = {name: value for name, value in INFORMATION.items() if not wanted or name in wanted}
    texts = [value for value in found.values() if isinstance(value, str)]
    flags = [value for value in found.values() if isinstance(value, bool)]
    kinds = [int(isinstance(value, bool)) for value in found.values()]
    offsets = [kinds[:at].count(kind) for at, kind in enumerate(kinds)]
    children = [pa.array(texts, pa.string()), pa.array(flags, pa.bool_())]
    children += [pa.array([], kind) for kind in list(_UNION.values())[2:]]
    union = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()), pa.array(offsets, pa.int32()), children, field_names=list(_UNION)
    )
    return pa.Table.from_arrays([pa.array(list(found), pa.uint32()), union], schema=SQL_INFO)
