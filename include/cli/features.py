"""Each feature: what it gives the champion, how it drifts, which versions use it."""

import argparse
from collections.abc import Iterable, Mapping

import polars as pl
from rich.table import Table

from include.cli.console import console, show
from include.contracts.use_case import UseCase
from include.features import catalogue
from include.features.catalogue import Catalogue
from include.lake import delta
from include.ml import ledger, registry
from include.ml.ledger import Champion
from include.ml.monitor import WINDOW
from include.ml.reference import Reference
from include.use_cases import use_case, use_cases

COLUMNS = ("feature", "unit", "as of", "look-back", "gain", "missing", "PSI", "limit", "versions")


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers, in words: ``1-3, 5``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def drift(case: UseCase, champion: Champion) -> dict[str, tuple[float, float]]:
    """PSI and its limit of each feature, in the newest window that was measured against ``champion``."""
    if not delta.exists("gold", case.monitoring_table):
        return {}
    rows = delta.read_all("gold", case.monitoring_table).filter(
        sensor="input_drift", metric=f"{WINDOW}psi", model_version=champion.model_version
    )
    newest = rows.drop_nulls("value").filter(pl.col("partition_day") == pl.col("partition_day").max())
    return {name: (value, limit) for name, value, limit in newest.select("feature", "value", "threshold").iter_rows()}


def rows(
    shown: Catalogue,
    references: Mapping[int, Reference],
    champion: Champion | None,
    drifts: Mapping[str, tuple[float, float]],
) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each feature, those that give the champion most first.

    What no version can use any more, since the spec has lost it, comes last.
    """
    takes = {version: set(reference["features"]) for version, reference in references.items()}
    known = references[champion.model_version]["features"] if champion else {}
    found = []
    for entry in sorted(shown.entries, key=lambda entry: -known.get(entry.feature.name, {}).get("weight", 0.0)):
        name = entry.feature.name
        of_champion = (
            (f"{known[name]['weight']:.1%}", f"{known[name]['shares'][-1]:.1%}") if name in known else ("", "")
        )
        psi = tuple(f"{value:.2f}" for value in drifts[name]) if name in drifts else ("", "")
        users = spans(version for version, names in takes.items() if name in names)
        found.append(
            (name, entry.unit, entry.as_of, catalogue.look_back(entry.look_back_days), *of_champion, *psi, users)
        )
    gone = sorted(set().union(*takes.values()) - set(shown.case.feature_names))
    return found + [
        (
            name,
            "not in the spec any more",
            *[""] * 6,
            spans(version for version, names in takes.items() if name in names),
        )
        for name in gone
    ]


def features_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", default="", help="this one; else each")


def features(given: argparse.Namespace) -> int:
    """Print a table a use case, or that of the one that is named."""
    for case in [use_case(given.use_case)] if given.use_case else use_cases().values():
        champion = ledger.latest_champion(case)
        drifts = drift(case, champion) if champion else {}
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in COLUMNS:
            table.add_column(column, justify="right" if column in ("gain", "missing", "PSI", "limit") else "left")
        for row in rows(catalogue.read(case), registry.references(case), champion, drifts):
            name = row[0]
            drifted = name in drifts and drifts[name][0] > drifts[name][1]
            table.add_row(*row, style="red" if drifted else None)
        who = "no champion yet"
        if champion:
            who = (
                f"champion: version {champion.model_version}, of {champion.trained_from} to {champion.trained_through}"
            )
        console.print(f"[bold]{case.name}[/bold] · {who}")
        show(table)
        console.print(
            "gain: share of what the champion's trees gain by it; missing: share of its training rows without a value; "
            "PSI: of the newest window against them, red above its limit"
        )
    return 0
