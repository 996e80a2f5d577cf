"""A lake that dbt fills up to a use case's gold, on an engine of its own, from rows of bronze that a test writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.core.settings import EMBEDDED, SPARK, Settings, settings
from include.lake import dbt
from include.local import compare_engines

Row = dict[str, Any]
ENGINES = [EMBEDDED, pytest.param(SPARK, marks=pytest.mark.full)]
SUFFIX = "__try"


@dataclass
class Lake:
    """A lake, and the engine with which dbt builds in it: its settings, and the environment of its clients."""

    of: Settings
    environment: dict[str, str]

    def write(self, table: str, rows: pl.DataFrame, by: list[str]) -> None:
        """Make ``rows`` the content of ``<layer>.<name>``, partitioned ``by`` columns."""
        path = self.of.lake.joinpath(*table.split("."))
        rows.write_delta(str(path), mode="overwrite", delta_write_options={"partition_by": by})

    def build(self, select: str, nights: Partitions) -> dict[str, pl.DataFrame]:
        """The rows of each table that dbt builds and publishes.

        Raises InstallationError where a model or a test fails.
        """
        compare_engines.build(self.of, self.environment, nights, SUFFIX, select)
        manifest, results = (json.loads((self.of.var / "target" / name).read_text()) for name in dbt.ARTIFACTS)
        candidates, built = dbt.candidates(manifest, results, SUFFIX), compare_engines.built(SUFFIX)
        for one in candidates:
            if one.table.startswith("silver."):  # which the next build reads
                self.write(one.table, built[one.table], [one.day])
        return {one.table: built[one.table] for one in candidates}

    def test(self, select: str, nights: Partitions) -> None:
        """Run dbt's tests on the candidates that are there. Raises InstallationError where one fails."""
        compare_engines.dbt(
            self.of, self.environment, nights, SUFFIX, "test", "--exclude-resource-type=unit_test", "-s", select
        )

    def tamper(self, table: str, rows: pl.DataFrame) -> None:
        """Make ``rows`` the candidate of ``<layer>.<name>``, as the engine would have written it."""
        folder = Path(str(self.of.lake)) / "candidate" / f"{table.replace('.', '__')}{SUFFIX}"
        shutil.rmtree(folder)
        if self.of.engine == EMBEDDED:
            rows.write_delta(str(folder))
        else:
            folder.mkdir()
            rows.write_parquet(folder / "part-0.parquet")


@contextmanager
def empty(engine: str, folder: Path) -> Iterator[Lake]:
    """An empty lake below ``folder``, while ``engine`` runs beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_VAR", str(folder / "var"))
        patch.setenv("NOCTURNE_LAKE_URI", str(folder / "lake"))
        settings.cache_clear()
        of = compare_engines.beside(settings(), engine, folder)
        with compare_engines.running(of) as environment:
            yield Lake(of, environment)
    settings.cache_clear()


def unlike(there: pl.DataFrame, expected: list[Row], key: tuple[str, ...]) -> list[str]:
    """In what the rows of a table differ from what is expected: rows that only one has, doubled ones, and values.

    Numbers may differ by what rounding to four digits can do.
    """
    of_table, of_oracle = ([_keyed(row, key) for row in rows] for rows in (there.to_dicts(), expected))
    found = [f"{name}: is there twice" for rows in (of_table, of_oracle) for name in _twice([one for one, _ in rows])]
    known, wanted = dict(of_table), dict(of_oracle)
    found += [f"{name}: is in one of them only" for name in sorted(known.keys() ^ wanted.keys())]
    for name in sorted(known.keys() & wanted.keys()):
        found += [f"{name}: {one}" for one in _differences(known[name], wanted[name])]
    return found


def _keyed(row: Mapping[str, Any], key: tuple[str, ...]) -> tuple[str, Mapping[str, Any]]:
    return ":".join(str(row[name]) for name in key), row


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _differences(row: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    found = [f"{name} is in one of them only" for name in sorted(row.keys() ^ expected.keys())]
    for name in sorted(row.keys() & expected.keys()):
        a, b = row[name], expected[name]
        close = isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 0.00011
        if not close and (a != b or type(a) is not type(b)):
            found.append(f"{name} is {a!r}, not {b!r}")
    return found
