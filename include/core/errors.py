"""Errors whose message is for a person, and which of all errors a retry cannot mend, told by their class."""

from __future__ import annotations

import re


class NocturneError(RuntimeError):
    """An error that is foreseen. Its message says all that there is to say; a command prints it and no traceback."""


class NeedsAttentionError(NocturneError):
    """Something a person has to put right first. The message names what, where and what to do; no retry follows."""


class BadRequestError(NeedsAttentionError):
    """What was asked for makes no sense, and nothing was done: an unknown name, a day that is none."""


class StoppedError(NeedsAttentionError):
    """A night waits for nothing: an earlier one, ``by``, is on nobody's way and has to be mended first."""

    def __init__(self, message: str, by: str) -> None:
        super().__init__(message)
        self.by = by


# Python's own: they come of code, of a spec or of data, and are the same at the next try.
_OF_CODE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    FileNotFoundError,
    ImportError,
    IsADirectoryError,
    LookupError,
    NameError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)

# Those of libraries by name: importing all of them to compare classes would take longer than most tasks.
_OF_LIBRARIES = {
    "_csv.Error",
    "pyspark.AnalysisException",
    "pyspark.ArithmeticException",
    "pyspark.ArrayIndexOutOfBoundsException",
    "pyspark.DateTimeException",
    "pyspark.IllegalArgumentException",
    "pyspark.InvalidPlanInput",
    "pyspark.PySparkAssertionError",
    "pyspark.PythonException",
    "pyspark.SparkNoSuchElementException",
    "pyspark.UnsupportedOperationException",
    "sqlalchemy.IntegrityError",
    "sqlalchemy.ProgrammingError",
    "psycopg2.ProgrammingError",
    "xgboost.XGBoostError",
    "jinja2.TemplateError",
}

# What another try may mend, whatever class brings it: a server that went away, a lost race, a full disk.
_PASSING = re.compile(
    "|".join(
        (
            r"closed channel|UNAVAILABLE|INVALID_HANDLE|SESSION_(NOT_FOUND|CLOSED|CHANGED)|OPERATION.NOT.FOUND",
            r"Connection (refused|reset|aborted)|connection attempt failed|Broken pipe|Socket closed|timed? ?out",
            r"Concurrent\w*Exception|concurrent transaction|database is locked|No space left|OutOfMemory",
            r"too many clients|the database system is (starting|shutting)",
            r"terminating connection|server closed the connection",
        )
    ),
    re.IGNORECASE,
)

# PostgreSQL's driver speaks through Spark, whose class says nothing: rights, names and values do not mend themselves.
_OF_POSTGRES = re.compile(
    "|".join(
        (
            r"PSQLException: (FATAL|ERROR): .*(does not exist|permission denied|authentication failed|syntax error)",
            r"PSQLException: (FATAL|ERROR): .*(invalid input|no pg_hba.conf entry|cannot be cast|out of range)",
            r"PSQLException: The server requested \S+ authentication|No suitable driver",
        )
    )
)


def is_passing(said: str) -> bool:
    """Whether the message ``said`` is of what goes by: of a server that went away, of a lost race, of a full disk."""
    return bool(_PASSING.search(said))


def may_pass(error: BaseException) -> bool:
    """Whether another try of what raised ``error`` can end otherwise than this one."""
    if isinstance(error, NeedsAttentionError):
        return False
    said = str(error)
    if is_passing(said):
        return True
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return not (isinstance(error, _OF_CODE) or names & _OF_LIBRARIES or _OF_POSTGRES.search(said))
