"""Which tests are in one process where ``make test`` runs them in two: those that share what is slow to start."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

STACK, STACK_ON_SPARK, SPARK = "the stack", "the stack on Apache Spark", "Spark in the process"
STACK_OF_A_COPY = "the stack of a copy"
LONG = ("tests/ml", "tests/local", "tests/governance", "tests/ingestion")
# They take longest. What is left for the end is short, so that neither process waits long for the other.
FIRST = (STACK, STACK_ON_SPARK, STACK_OF_A_COPY, SPARK, *LONG)
_WANTS_SPARK = re.compile(r"^def [^-]*\b(spark|engines): ", re.MULTILINE)


def group_of(test: str) -> str:
    """The group of a test, by its id: ``<module>::<name>[<parameters>]``. Of those that share nothing, their folder."""
    module, _, name = test.partition("::")
    folder = module.rpartition("/")[0]
    if module.endswith(("integration/test_scaffold.py", "integration/test_rollout.py")):
        return STACK_OF_A_COPY
    if folder.endswith("integration"):
        return STACK_ON_SPARK if "[spark" in name else STACK
    return SPARK if _wants_spark(module) else folder


def rank(test: str) -> int:
    """The place of a test's group in the order in which they begin."""
    return (*FIRST, group_of(test)).index(group_of(test))


@cache
def _wants_spark(module: str) -> bool:
    return bool(_WANTS_SPARK.search((Path(__file__).parents[1] / module).read_text()))


class Groups(LoadScopeScheduling):
    """Gives a process that is through with a group the next one.

    xdist's own groups, of marks, are none with pytest 9.2 (pytest-dev/pytest-xdist#1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
