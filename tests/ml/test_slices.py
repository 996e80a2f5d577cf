"""What is counted within slices: each row once, what adds up adds up, and training and nights see the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from include.contracts.use_case import Feature
from include.ml import counted, evidence, figures, slices
from include.ml.slices import Layout, Sliced

FEATURES = (Feature("weight"), Feature("metal", "categorical", vocabulary=("gold", "iron")))
NAMES = ("metal=gold", "metal=iron", "shop=(none)")
EDGES = {"weight": [-1.0, 0.0, 1.0], "metal": [0.5, 1.5]}

type Array = npt.NDArray[Any]


def coins(rows: int, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    weight = pl.Series("weight", random.normal(size=rows))
    return pl.DataFrame(
        {
            "weight": weight.set(pl.Series(random.random(rows) < 0.1), None),
            "metal": random.choice(["gold", "iron", "tin"], rows),
            "shop": [None if n % 3 else "a" for n in range(rows)],
        }
    )


def values_of(rows: pl.DataFrame) -> Array:
    metal = rows["metal"].replace_strict({"gold": 0.0, "iron": 1.0}, default=2.0, return_dtype=pl.Float32)
    return np.column_stack([rows["weight"].cast(pl.Float32).to_numpy(), metal.to_numpy()]).astype(np.float32)


def whole(values: Array) -> dict[str, Array]:
    numbers, _ = evidence.numeric_by_day(values[:, 0], np.zeros(len(values), np.intp), 1, EDGES["weight"])
    shares, _ = evidence.shares_by_day(np.bincount(values[:, 1].astype(int), minlength=3)[np.newaxis])
    return {"weight": numbers[0], "metal": shares[0]}


def sliced(rows: pl.DataFrame) -> Sliced:
    values = values_of(rows)
    return slices.of_day(Layout(FEATURES), EDGES, values, slices.grouped(NAMES, rows), whole(values))


def test_a_slice_has_the_numbers_of_its_own_rows_less_those_of_all() -> None:
    rows = coins(300)
    found, values = sliced(rows), values_of(rows)
    for place, inside in enumerate((rows["metal"] == "gold", rows["metal"] == "iron", rows["shop"].is_null())):
        own = values[inside.to_numpy()]
        expected = np.concatenate([whole(own)[name] - whole(values)[name] for name in ("weight", "metal")])
        assert found.rows[place] == inside.sum()
        assert found.numbers[place] == pytest.approx(expected)
        assert found.counts["weight"][place].sum() == inside.sum()
        assert found.counts["weight"][place][-1] == np.isnan(own[:, 0]).sum()


def test_training_and_a_night_see_the_same_numbers() -> None:
    """Training looks at one column of all days, a night at all columns of a day."""
    frames = [coins(120, seed) for seed in range(3)]
    rows, layout = pl.concat(frames), Layout(FEATURES)
    index, values, groups = np.repeat(np.arange(3), 120), values_of(rows), slices.grouped(NAMES, rows)
    for n, feature in enumerate(FEATURES):
        at = layout.places[feature.name]
        numbers, floors = slices.column_by_day(feature, values[:, n], index, 3, groups, EDGES[feature.name])
        for day, frame in enumerate(frames):
            night = sliced(frame)
            assert numbers[day] - whole(values_of(frame))[feature.name] == pytest.approx(night.numbers[:, at])
            assert np.maximum(floors[day], slices.LEAST_OFF) == pytest.approx(night.floors[:, at])


def test_the_days_of_a_slice_add_up() -> None:
    frames, told = [coins(200, seed) for seed in range(4)], []
    for frame in frames:
        of = sliced(frame)
        counts = {name: one[0].tolist() for name, one in of.counts.items()}
        told.append({"inputs": {"counts": counts, "sums": {name: one[0].tolist() for name, one in of.sums.items()}}})
    gold = pl.concat(frames).filter(metal="gold")["weight"]
    middle, width = evidence.middle_and_spread(EDGES["weight"])
    found, known = figures.within_of(told, "inputs", "weight"), gold.drop_nulls().to_numpy()
    assert found["mean"] == pytest.approx((known.mean() - middle) / width, abs=1e-6)
    assert found["spread"] == pytest.approx(known.std() / width, abs=1e-6)
    assert found["missing"] == pytest.approx(gold.null_count() / len(gold))
    assert figures.within_of(told, "inputs", "metal")["mean"] is None
    assert figures.within_of([], "inputs", "weight") == {"mean": None, "spread": None, "missing": None}


def test_slices_are_those_that_are_large_enough_and_no_more_than_a_night_can_hold() -> None:
    inside = {f"metal={n}": np.arange(1000) < size for n, size in enumerate((500, 300, 95, 120))}
    assert slices.chosen(FEATURES, inside, 10) == ["metal=0", "metal=1", "metal=3"]
    wide = tuple(Feature(f"x{n}") for n in range(slices.MOST_NUMBERS // 6))  # as many as let two slices in
    assert slices.chosen(wide, inside, 10) == ["metal=0", "metal=1"]


def test_of_a_large_day_every_nth_row_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = sliced(coins(300)).rows[:2].sum()
    monkeypatch.setattr(slices, "MOST_ROWS", 50)
    assert 0 < sliced(coins(300)).rows[:2].sum() <= 50 < everything


def test_evidence_that_is_packed_is_never_more_and_stays_the_same() -> None:
    random = np.random.default_rng(2)
    state = evidence.State(None, random.normal(size=50), random.normal(size=50), np.exp(random.normal(0, 3, (50, 10))))
    once = state.rounded()
    assert (once.values <= state.values * (1 + 1e-9)).all()
    assert (once.values >= state.values * 0.999).all()
    for one, other in ((once, evidence.State.from_dict(state.packed())), (once.rounded(), once)):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.level, other.level)


def test_predictions_have_the_slice_of_their_own_features() -> None:
    features = pl.DataFrame({"coin": ["a", "b", "c"], "day": [1, 1, 1], "metal": ["gold", "iron", "gold"]})
    groups, key = slices.grouped(["metal=gold"], features), ("coin", "day")
    other = features.select("coin", "day").reverse()
    assert counted.in_order(key, groups, other, features).codes[0].tolist() == [0, 1, 0]
    fewer = pl.DataFrame({"coin": ["b", "x"], "day": [1, 1]})
    assert counted.in_order(key, groups, fewer, features).codes[0].tolist() == [1, 1]
