"""Which rows are worth a person's label: those that a model is least sure of, and those unlike what it learned from.

Half of the budget goes to each, in turns. *Least sure*: of two classes the probability nearest to a half, of several
the smallest margin between the two likeliest, of quantiles the widest interval. *Unlike*: the mean distance to the
five nearest of the rows that it was trained on. Of rows that are near each other one is asked for. What was asked for
once is not asked for again, and nothing here is drawn by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import Binary, Feature, Multiclass, UseCase
from include.core.errors import BadRequestError
from include.core.lease import lease
from include.lake import chain, delta
from include.ml import answers, dataset, ledger, model_files, scoring, tasks
from include.ml.ledger import Champion
from include.ml.reference import features_of

NEAREST = 5
TRAINED = 4_000
"""So many rows of training, spread over its days, stand for all of them."""
MOST = 20_000
"""So many candidates are looked at: those of the newest days."""
FAR = 5.0
"""A number so many spreads from its median counts as no farther."""
KEY = "_key"

type Floats = npt.NDArray[np.float64]

SCHEMA: dict[str, pl.DataType] = {
    "request": pl.Int64(),  # from 1; a file each
    "rank": pl.Int64(),  # within it, from 1
    "prediction_day": pl.Date(),
    KEY: pl.String(),  # as JSON
    "why": pl.String(),
    "model_version": pl.Int64(),
    "asked_at": pl.Datetime("us", "UTC"),
    "by": pl.String(),
}


@dataclass(frozen=True)
class Scaled:
    """How features become coordinates in which distances mean something: numbers in spreads, categories as places."""

    features: tuple[Feature, ...]
    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, features: tuple[Feature, ...], rows: pl.DataFrame) -> Scaled:
        values = dataset.matrix(features, rows).astype(np.float64)
        with np.errstate(all="ignore"):
            low, centre, high = (_quantile(values, share) for share in (0.25, 0.5, 0.75))
            wide = _quantile(values, 0.99) - _quantile(values, 0.01)
        spread = (high - low) / 1.349  # of a normal distribution: its standard deviation
        spread = np.where(spread > 0, spread, wide / 4.65)
        return cls(features, np.nan_to_num(centre), np.where(spread > 0, spread, 1.0))

    def coordinates(self, rows: pl.DataFrame) -> tuple[Floats, list[str]]:
        """Coordinates of each row, rows × columns, and of which feature each column is."""
        values = dataset.matrix(self.features, rows).astype(np.float64)
        columns, names = list[Floats](), list[str]()
        for place, feature in enumerate(self.features):
            own = values[:, place]
            if feature.kind == "categorical":
                # Two rows of different levels are 1 apart.
                parts = [(own == code) / np.sqrt(2) for code in range(len(feature.levels))]
            else:
                scaled = np.clip((own - self.centre[place]) / self.spread[place], -FAR, FAR)
                parts = [np.nan_to_num(scaled, nan=0.0), np.isnan(own).astype(np.float64)]
            columns += parts
            names += [feature.name] * len(parts)
        return np.column_stack(columns), names


def _quantile(values: Floats, share: float) -> Floats:
    """Of each column, missing values apart; NaN of one that has none."""
    found = np.full(values.shape[1], np.nan)
    for place in range(values.shape[1]):
        there = values[~np.isnan(values[:, place]), place]
        if len(there):
            found[place] = np.quantile(there, share)
    return found


def unsure(case: UseCase, predictions: pl.DataFrame) -> tuple[Floats, list[str]]:
    """How unsure each prediction is, more is less sure, and that in words; NaN where the task does not say."""
    names = [name for name in tasks.of(case).columns if name in predictions.columns]
    match case.task:
        case Binary():
            score = predictions["score"].to_numpy()
            return -np.abs(score - 0.5), [f"a probability of {one:.2f}" for one in score]
        case Multiclass():
            shares = np.sort(predictions.select(names[1:]).fill_null(0).to_numpy(), axis=1)
            margin = shares[:, -1] - shares[:, -2]
            return -margin, [f"its two likeliest classes are {one:.2f} apart" for one in margin]
        case _:
            if len(names) < 2:
                return np.full(predictions.height, np.nan), [""] * predictions.height
            values = predictions.select(names).to_numpy()
            width = values.max(axis=1) - values.min(axis=1)
            return width, [f"an interval {one:.3g} wide" for one in width]


@dataclass(frozen=True)
class Chosen:
    """Places of the rows that are chosen, in order, and why each of them."""

    places: list[int]
    why: list[str]


def choose(sure: Floats, words: list[str], new: Floats, learned: Floats, names: list[str], budget: int) -> Chosen:
    """Choose at most ``budget`` rows: the least sure and the most novel in turns, none near one that is chosen.

    ``sure`` and ``words`` are what :func:`unsure` gives of the rows, in the order of their keys; ``new`` their
    coordinates, ``learned`` those of the rows of training. Near is nearer than half of the rows of training are to the
    nearest other one.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(NEAREST, len(learned)), algorithm="brute").fit(learned)
    distances, nearest = neighbours.kneighbors(new)
    novelty = distances.mean(axis=1)
    own = neighbours.kneighbors(learned, n_neighbors=min(2, len(learned)))[0][:, -1]
    near, usual = float(np.median(own)), float(np.median(neighbours.kneighbors(learned)[0].mean(axis=1)))
    orders = [np.argsort(-novelty, kind="stable").tolist()]
    if not np.isnan(sure).any():
        orders.insert(0, np.argsort(-sure, kind="stable").tolist())
    chosen, why = list[int](), list[str]()
    turns = [iter(order) for order in orders]
    while turns and len(chosen) < budget:
        for turn in list(turns):
            place = next((one for one in turn if _is_apart(new, one, chosen, near)), None)
            if place is None:
                turns.remove(turn)
            elif len(chosen) < budget:
                is_unsure = len(orders) == 2 and turn is turns[0] and words[place]
                chosen.append(place)
                far = _novel(place, new, learned, nearest, names, novelty, usual)
                why.append(f"least sure: {words[place]}" if is_unsure else far)
    return Chosen(chosen, why)


def _is_apart(new: Floats, place: int, chosen: list[int], near: float) -> bool:
    if place in chosen:
        return False
    return not chosen or float(np.linalg.norm(new[chosen] - new[place], axis=1).min()) > near


def _novel(
    place: int, new: Floats, learned: Floats, nearest: Any, names: list[str], novelty: Floats, usual: float
) -> str:
    off = np.abs(new[place] - learned[nearest[place, 0]])
    most = dict.fromkeys(names[one] for one in np.argsort(-off, kind="stable")[:3] if off[one] > 0)
    times = novelty[place] / usual if usual > 0 else np.inf
    return f"most novel: {times:.1f} times the usual distance, by {', '.join(most) or 'nothing'}"


def ask(case: UseCase, first: date, last: date, budget: int, out: Any, who: str) -> tuple[int, pl.DataFrame]:
    """Choose rows of the scored days ``first`` to ``last``, write them to the file ``out``, and note that.

    Rows that have a label, by dbt or by a person, and those asked for before are left out. Returns the number of the
    request, and what was written. After a kill the same rows are written again. Raises NoChampionError,
    BadRequestError where there is nothing to ask for, and what reading the champion's reference raises.
    """
    if budget < 1:
        raise BadRequestError(f"budget is {budget}; it must be a number of rows")
    champion = ledger.latest_champion(case)
    if champion is None:
        raise ledger.NoChampionError(f"{case.name} has no champion: nobody knows what would teach it. Train one first.")
    with lease(f"labels {case.name}"):
        asked = _asked(case)
        number = max(asked["request"].to_list(), default=0) + 1
        rows = candidates(case, first, last, asked)
        if rows.is_empty():
            raise BadRequestError(
                f"{case.name}: of {first} to {last} nothing is left to ask for: all of it has a label, or was asked for"
            )
        features = features_of(model_files.load_reference(case, champion))
        learned = trained_on(case, champion, features)
        scaled = Scaled.of(features, learned)
        new, names = scaled.coordinates(rows)
        sure, words = unsure(case, rows)
        chosen = choose(sure, words, new, scaled.coordinates(learned)[0], names, budget)
        file = _file(case, rows, features, chosen)
        part = out.with_name(f".{out.name}.part")
        out.parent.mkdir(parents=True, exist_ok=True)
        file.write_csv(part)
        part.replace(out)
        # Then: after a kill in between the next one chooses the same, and writes the same file.
        lines = (
            rows[chosen.places]
            .select(pl.col(case.day).alias("prediction_day"), keyed(case).alias(KEY))
            .with_columns(
                pl.lit(number, pl.Int64).alias("request"),
                pl.int_range(1, len(chosen.places) + 1, dtype=pl.Int64).alias("rank"),
                pl.Series("why", chosen.why, pl.String),
                pl.lit(champion.model_version, pl.Int64).alias("model_version"),
                pl.lit(datetime.now(UTC)).alias("asked_at"),
                pl.lit(who).alias("by"),
            )
        )
        table, what = f"gold.{case.label_requests_table}", f"request {number} of {case.name}"
        chain.append(table, lines.select(*SCHEMA).cast(pl.Schema(SCHEMA)), what)
    return number, file


def keyed(case: UseCase) -> pl.Expr:
    return pl.struct(case.key).struct.json_encode()


def _asked(case: UseCase) -> pl.DataFrame:
    if not delta.exists("gold", case.label_requests_table):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_all("gold", case.label_requests_table, columns=["request", KEY])


def candidates(case: UseCase, first: date, last: date, asked: pl.DataFrame) -> pl.DataFrame:
    """Features and predictions of what may be asked for, in the order of the key; the newest, where it is much."""
    days = (first, last)
    predictions = delta.scan_days("gold", case.predictions_table, *days, day=case.day)
    features = delta.scan_days("gold", case.features_table, *days, day=case.day)
    names = [*tasks.of(case).columns, scoring.VERSION]
    there = set(predictions.collect_schema().names())
    rows = features.join(predictions.select(*case.key, *(name for name in names if name in there)), on=case.key)
    if delta.exists("gold", case.labels_table):
        labels = delta.scan_days("gold", case.labels_table, *days, day=case.day)
        known = labels.filter(pl.col(case.label).is_not_null()).select(case.key)
        rows = rows.join(known, on=case.key, how="anti")
    if delta.exists("gold", case.labelled_table):
        rows = rows.join(answers.read(case).lazy().select(case.key), on=case.key, how="anti")
    keys = asked[KEY].to_list() if asked.height else []
    return rows.filter(~keyed(case).is_in(keys)).sort(case.key).tail(MOST).collect()


def trained_on(case: UseCase, champion: Champion, features: tuple[Feature, ...]) -> pl.DataFrame:
    """Rows of the days that the champion was fitted on: every so many of them, in the order of the key."""
    days = (champion.trained_from, champion.fitted_through)
    rows = delta.scan_days("gold", case.features_table, *days, day=case.day)
    names = dict.fromkeys([*case.key, *(one.name for one in features)])
    found = rows.select(*names).sort(case.key).collect()
    return found.gather_every(max(1, -(-found.height // TRAINED)))


def _file(case: UseCase, rows: pl.DataFrame, features: tuple[Feature, ...], chosen: Chosen) -> pl.DataFrame:
    """What is written: the key, the place for the label, why, what is predicted, the features."""
    those = rows[chosen.places]
    predicted = [name for name in (*tasks.of(case).columns, scoring.VERSION) if name in those.columns]
    others = [one.name for one in features if one.name not in case.key]
    return those.select(
        *case.key, pl.lit("").alias(case.label), pl.Series("why", chosen.why, pl.String), *predicted, *others
    )


def told(case: UseCase, file: pl.DataFrame) -> str:
    """How many rows were chosen for what, in words."""
    unsure_ = int(file["why"].str.starts_with("least sure").sum())
    return f"{file.height} rows of {case.name}: {unsure_} least sure, {file.height - unsure_} most novel"
