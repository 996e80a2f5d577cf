"""Only what another try may mend is tried again."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from pyspark.errors.exceptions import connect as spark

from include.core.errors import NeedsAttentionError, may_pass

# Real ones: each is raised by what stands there, or has the text that its server sends.
AGAIN: list[BaseException] = [
    ConnectionRefusedError(111, "Connection refused"),
    OSError(28, "No space left on device"),
    TimeoutError("timed out"),
    ValueError("Cannot invoke RPC on closed channel!"),  # gRPC's, where Spark's server has gone
    spark.SparkConnectGrpcException('<_MultiThreadedRendezvous status = StatusCode.UNAVAILABLE details = "GOAWAY">'),
    spark.SparkConnectGrpcException("[INVALID_HANDLE.SESSION_NOT_FOUND] The handle is invalid. Session not found."),
    spark.SparkConnectGrpcException("io.delta.exceptions.ConcurrentAppendException: Files were added to the root"),
    spark.SparkConnectGrpcException("org.postgresql.util.PSQLException: Connection to 127.0.0.1:5432 refused."),
    spark.SparkConnectGrpcException("org.postgresql.util.PSQLException: FATAL: sorry, too many clients already"),
    RuntimeError("something nobody has seen yet"),
]
NEVER: list[BaseException] = [
    NeedsAttentionError("Connection refused by a person"),
    KeyError("schedule"),
    ImportError("cannot import name 'load'"),
    spark.AnalysisException("[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column with name `x` cannot be resolved."),
    spark.ParseException("[PARSE_SYNTAX_ERROR] Syntax error at or near 'FORM'."),
    spark.ArithmeticException("[DIVIDE_BY_ZERO] Division by zero."),
    spark.SparkConnectGrpcException('org.postgresql.util.PSQLException: ERROR: relation "trips" does not exist'),
    spark.SparkConnectGrpcException("PSQLException: FATAL: password authentication failed for user"),
]


def raised(statement: str, **names: Any) -> BaseException:
    try:
        exec(statement, names)
    except BaseException as error:  # noqa: BLE001  # which one it raises is the question
        return error
    raise AssertionError(f"{statement} raised nothing")


@pytest.mark.parametrize("error", AGAIN, ids=repr)
def test_what_may_pass_is_tried_again(error: BaseException) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", NEVER, ids=repr)
def test_what_stays_is_not(error: BaseException) -> None:
    assert not may_pass(error)


@pytest.mark.parametrize(
    "statement",
    [
        "{}['schedule']",
        "None.rows",
        "int('7.0')",
        "import include.nothing",
        "1 / 0",
        "next(csv.reader(['a'], strict=True, quotechar='ab'))",
        "list(csv.reader(['\"a'], strict=True))",
        "F.col(7)",
        "xgboost.DMatrix([[1.0]], label=[1.0, 2.0, 3.0]).get_float_info('nothing')",
    ],
)
def test_what_libraries_really_raise(statement: str) -> None:
    import xgboost
    from pyspark.sql.connect import functions

    assert not may_pass(raised(statement, csv=csv, F=functions, xgboost=xgboost))
