"""Score days with the champion that the ledger names for each of them."""

from datetime import date
from itertools import groupby
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.lake import delta
from include.ml import dataset, ledger, registry, train
from include.ml.ledger import Champion
from include.ml.reference import features_of
from include.use_cases import use_case


def score_rows(case: UseCase, champion: Champion, rows: pl.DataFrame) -> pl.DataFrame:
    """Entity, day, score and model version of each row, scored by one champion on the features that it takes."""
    features = features_of(registry.load_reference(case, champion))
    dataset.check_columns(case, rows.columns, features, who=f"version {champion.model_version} of {case.name}")
    scores = train.score(case, registry.load_booster(case, champion), features, rows)
    return rows.select(case.entity, case.day).with_columns(
        score=pl.Series(scores, dtype=pl.Float64),
        model_version=pl.lit(champion.model_version, dtype=pl.Int64),
    )


class Incomplete(NeedsAttentionError, ValueError):
    """Predictions that are not exactly one for each row of features, each a probability."""


def check_complete(case: UseCase, features: pl.DataFrame, predictions: pl.DataFrame) -> None:
    """Raise Incomplete unless each row of features has exactly one prediction with a probability, and nothing more."""
    wanted, got = features[case.entity], predictions[case.entity]
    if wanted.n_unique() != len(wanted):
        raise Incomplete(f"{case.features_table} has an {case.entity} twice in {len(wanted)} rows")
    if len(got) != len(wanted) or got.n_unique() != len(got) or not got.is_in(wanted.implode()).all():
        raise Incomplete(f"{len(wanted)} rows of features gave {len(got)} predictions ({got.n_unique()} different)")
    if not predictions["score"].is_between(0, 1).fill_null(False).all():
        raise Incomplete(f"{case.name}: a score is not a probability; look at the objective of that version's training")


def predict(name: str, first: date, last: date) -> dict[str, Any]:
    """Task: score the days ``first`` to ``last`` (days of flights) of use case ``name``, and publish the predictions.

    Reads the features table and the ledger; replaces those days of the predictions table. Scoring again writes
    nothing where nothing changed. Raises NoChampion, DataMissing (days or columns), UnfitFeature, TableMissing and
    Incomplete.

    Returns ``rows``, ``days``, ``by_version`` (rows of each model version), ``changed``, ``table_version``, and the
    ``features_version`` that was read.
    """
    case = use_case(name)
    with ledger.deploying(case):
        return _predict(case, first, last)


def _predict(case: UseCase, first: date, last: date) -> dict[str, Any]:
    decided = ledger.read(case)
    days = dataset.days_between(first, last)
    champions = {day: ledger.require_champion(case, decided, day) for day in days}
    version = delta.version("gold", case.features_table)
    features = delta.read_days("gold", case.features_table, first, last, day=case.day, version=version)
    gaps = dataset.days_of_gaps(case)
    dataset.require_days(case.features_table, features, first, last, case.day, gaps)
    # Sorted: the written files are then the same for the same content.
    features = features.sort(case.day, case.entity)
    parts = []
    for champion, group in groupby(days, key=champions.__getitem__):
        of_champion = list(group)
        rows = dataset.between(case, features, (of_champion[0], of_champion[-1]))
        if rows.height:
            parts.append(score_rows(case, champion, rows))
    predictions = pl.concat(parts)
    check_complete(case, features, predictions)
    written = delta.replace_days("gold", case.predictions_table, predictions, first, last, day=case.day)
    counts = predictions.group_by("model_version").len().sort("model_version").iter_rows()
    return {
        "rows": predictions.height,
        "days": len(days),
        "by_version": {str(version): rows for version, rows in counts},
        "changed": written.changed,
        "table_version": written.version,
        "features_version": version,
    }
