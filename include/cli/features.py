"""Each feature: what it gives the champion, how it drifts, which versions use it."""

import argparse
from collections.abc import Iterable, Mapping

import polars as pl
from rich.table import Table

from include.cli.console import console, show
from include.contracts.use_case import UseCase
from include.features import catalogue
from include.features.catalogue import Catalogue
from include.lake import delta, usage
from include.ml import ledger, monitor, registry
from include.ml.ledger import Champion
from include.ml.monitor import DAY, EVIDENCE, INPUTS
from include.ml.reference import Reference
from include.use_cases import use_case, use_cases

COLUMNS = ("feature", "unit", "as of", "look-back", "gain", "missing", "PSI", "evidence", "versions")


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers, in words: ``1-3, 5``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def drift(case: UseCase, champion: Champion) -> dict[str, tuple[float, float, bool]]:
    """Of each feature its PSI and the evidence of drift, in the newest night that was measured for ``champion``.

    And whether it drifts: where the sensor has fired, and the feature carries a tenth of its evidence or more.
    """
    if not delta.exists("gold", case.monitoring_table):
        return {}
    night = max(usage.days_of(f"gold.{case.monitoring_table}"), default=None)
    newest = monitor.measurements(case, night) if night else pl.DataFrame(schema=monitor.SCHEMA)
    of_inputs = newest.filter(sensor=INPUTS, model_version=champion.model_version).drop_nulls("value")
    psi = dict(of_inputs.filter(metric=f"{DAY}psi").select("feature", "value").iter_rows())
    found = dict(of_inputs.filter(metric=EVIDENCE).select("feature", "value").iter_rows())
    reading = monitor.read_input_drift(newest)
    carried = reading.evidence.get("carried_by", {})
    return {
        name: (value, found.get(name, 1.0), reading.fired and carried.get(name, 0.0) >= 0.1)
        for name, value in psi.items()
    }


def rows(
    shown: Catalogue,
    references: Mapping[int, Reference],
    champion: Champion | None,
    drifts: Mapping[str, tuple[float, float, bool]],
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
        psi = (f"{drifts[name][0]:.2f}", f"{drifts[name][1]:.3g}") if name in drifts else ("", "")
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
            table.add_column(column, justify="right" if column in ("gain", "missing", "PSI", "evidence") else "left")
        for row in rows(catalogue.read(case), registry.references(case), champion, drifts):
            name = row[0]
            drifted = name in drifts and drifts[name][2]
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
            "PSI: of the newest night's day against them; evidence: that days are not as they were, red where it fires"
        )
    return 0
