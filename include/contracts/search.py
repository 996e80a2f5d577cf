"""How hyper-parameters are searched for: what the spec of a use case says of it, in literals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

type Scalar = float | int | str

ALIASES: Mapping[str, str] = {
    "eta": "learning_rate",
    "lambda": "reg_lambda",
    "alpha": "reg_alpha",
    "min_split_loss": "gamma",
}
"""XGBoost's second names of a parameter."""

DEFAULTS: Mapping[str, Scalar] = {
    "learning_rate": 0.3,
    "max_depth": 6,
    "min_child_weight": 1,
    "gamma": 0,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "colsample_bylevel": 1.0,
    "colsample_bynode": 1.0,
    "reg_lambda": 1.0,
    "reg_alpha": 0.0,
    "max_delta_step": 0,
    "max_leaves": 0,
    "max_bin": 256,
    "grow_policy": "depthwise",
}
"""What XGBoost takes where a spec does not say: the spec's own value of a parameter that is searched for."""

NOT_SEARCHED = (
    "objective",
    "num_class",
    "quantile_alpha",
    "eval_metric",
    "seed",
    "nthread",
    "device",
    "base_score",
    "scale_pos_weight",
)


@dataclass(frozen=True)
class Range:
    """The values from ``low`` to ``high``, both included; whole numbers where both are written as such.

    With ``log``, a value is as likely between 1 and 10 as between 10 and 100.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a range goes from {self.low} to {self.high}; it must rise")
        if self.log and self.low <= 0:
            raise ValueError(f"a range goes from {self.low} by its logarithm; it must begin above 0")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def has(self, value: Scalar) -> bool:
        fits = not isinstance(value, str) and self.low <= value <= self.high
        return fits and (not self.whole or float(value).is_integer())

    def with_value(self, value: Scalar) -> Range:
        """The same range, made wide enough for ``value``."""
        if isinstance(value, str) or self.has(value):
            return self
        low = min(self.low, value)
        return Range(low, max(self.high, value), self.log and low > 0)


type Choices = Range | tuple[Scalar, ...]

USUAL: Mapping[str, Range] = {
    "learning_rate": Range(0.01, 0.3, log=True),
    "max_depth": Range(2, 10),
    "min_child_weight": Range(1.0, 100.0, log=True),
    "subsample": Range(0.5, 1.0),
    "colsample_bytree": Range(0.2, 1.0),
    "reg_lambda": Range(0.1, 50.0, log=True),
    "reg_alpha": Range(0.0, 5.0),
}
"""Where a spec names no space: the ranges that are usual for boosted trees."""


@dataclass(frozen=True)
class Search:
    """A search for better parameters than those of the spec, before each training.

    The last ``days`` of those that a model would be fitted on are set aside. Each trial is fitted on the days before
    them, and scored on them; validation and holdout are not seen. The first trial has the spec's own parameters, and
    only one that is better with some certainty replaces them.

    Attributes:
        trials: so many are made, those that are pruned included.
        seconds: no trial begins when those before took so long; None: as long as it takes. Where this ends a search,
            the same training may choose other parameters another time.
        space: what is searched for, by XGBoost's name of it, or ``rounds``: a ``Range``, or a tuple of which one is
            taken. Empty: ``USUAL``.
        days: the days that trials are scored on, ``blocks`` times.
        blocks: so many fits a trial: the first is scored on the last days, each other one on as many before them, by
            a fit on what lies before these. Several tell what is good in one season from what is good in each.
        metric: one of those that a challenger can be compared by; empty: the task's loss.
        level: how often a trial that is as good as the spec's own parameters is taken for a better one at most, were it
            the only one. It is the best of all of them, so that this is lower than it looks strict.
        seed: of the sampler, so that the same data gives the same trials.
    """

    trials: int = 30
    seconds: float | None = None
    space: dict[str, Choices] = field(default_factory=dict)
    days: int = 28
    blocks: int = 3
    metric: str = ""
    level: float = 0.01
    seed: int = 7

    def __post_init__(self) -> None:
        if self.trials < 2 or self.days < 2:
            raise ValueError(f"a search has {self.trials} trials on {self.days} days; it needs two of each")
        if self.blocks < 1:
            raise ValueError(f"a search has {self.blocks} blocks of days; it needs one")
        if not 0 < self.level <= 0.5:
            raise ValueError(f"the level of a search is {self.level}; it must be above 0 and not above 0.5")
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError(f"a search has {self.seconds} seconds; it needs more than none")
        for name, choices in self.space.items():
            if name in NOT_SEARCHED:
                raise ValueError(f"a search cannot look for {name}: it is no matter of how good a model is")
            if not isinstance(choices, Range | tuple) or (isinstance(choices, tuple) and len(set(choices)) < 2):
                raise ValueError(f"a search for {name} has {choices!r}; give a Range, or a tuple of different values")

    def choices(self, params: Mapping[str, Scalar], rounds: int) -> dict[str, Choices]:
        """The space beside the ``params`` and ``rounds`` of a spec, by the names that these have there."""
        if not self.space:
            spelled = {ALIASES.get(name, name): name for name in params}
            names = {spelled.get(name, name): name for name in USUAL}
            own = self.own(params, rounds, names)
            return {name: USUAL[usual].with_value(own[name]) for name, usual in names.items()}
        own = self.own(params, rounds, self.space)
        for name, choices in self.space.items():
            there = choices.has(own[name]) if isinstance(choices, Range) else own[name] in choices
            if not there:
                raise ValueError(
                    f"a search for {name} leaves out {own[name]}, which the spec has itself: without it nobody knows "
                    "whether what is found is better"
                )
        return dict(self.space)

    def own(self, params: Mapping[str, Scalar], rounds: int, names: Mapping[str, object]) -> dict[str, Scalar]:
        """The spec's own values of ``names``. Raises ValueError for one that neither it nor XGBoost has."""
        found: dict[str, Scalar] = {}
        for name in names:
            other = next((one for one in params if one != name and _same(one, name)), None)
            if other is not None:
                raise ValueError(f"a search for {name}, which the spec calls {other}: call it so in both places")
            known = {name: DEFAULTS.get(ALIASES.get(name, name)), **params, "rounds": rounds}
            if (value := known[name]) is None:
                raise ValueError(f"a search for {name}: put the value that it has without one into the params")
            found[name] = value
        return found


def _same(one: str, other: str) -> bool:
    return ALIASES.get(one, one) == ALIASES.get(other, other)
