"""What a use case is: frozen dataclasses that its ``spec.py`` fills with literals.

A use case is one model with its data, its task and its drift policy. Adding one means adding a package under
``include/use_cases/`` whose ``spec.py`` exports ``SPEC``; no existing file changes.
"""

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import inf
from typing import Any, Literal

from include.contracts import publishing
from include.contracts.publishing import Target
from include.contracts.rollout import Rollout
from include.contracts.search import Scalar, Search
from include.contracts.tuples import require_tuples

STAGES = ("features", "predict", "monitor", "train")
"""What becomes of a partition, in this order; each is the DAG ``<use case>_<stage>``."""

LOOK_BACK_NIGHTS = 28
"""Evidence goes on from a night at most so many nights before; what lies farther back has faded."""

UNKNOWN = "unknown"
"""The category level that stands for every value outside a vocabulary, and for null."""


@dataclass(frozen=True)
class Feature:
    """What a model expects of one column of the features table. What the column is, dbt says beside its model.

    A version keeps the name, kind and vocabulary that it was trained with, and is scored with those, whatever is
    changed here. A model sees 32-bit floats: whole numbers beyond 2^24 are rounded, in training and in scoring alike.

    Attributes:
        name: the column.
        kind: ``numeric`` (null allowed, read as missing) or ``categorical``.
        low, high: the range that a gate accepts for a numeric value, both ends included; None means open.
        vocabulary: the levels of a categorical feature, in the order of their codes. ``unknown`` is added as the
            last code, so that a value never seen before is scored and not refused.
        nullable: whether a gate accepts nulls.
        min_distinct: fewer different values than this in what a night brings fail the gate: part of it is missing.
    """

    name: str
    kind: Literal["numeric", "categorical"] = "numeric"
    low: float | None = None
    high: float | None = None
    vocabulary: tuple[str, ...] = ()
    nullable: bool = True
    min_distinct: int = 1

    def __post_init__(self) -> None:
        require_tuples(f"feature {self.name}", self)
        if (self.kind == "categorical") != bool(self.vocabulary):
            raise ValueError(f"feature {self.name}: a vocabulary belongs to a categorical feature, and only there")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError(f"feature {self.name}: a level is in the vocabulary twice")
        if UNKNOWN in self.vocabulary:
            raise ValueError(f"feature {self.name}: `{UNKNOWN}` is added by the platform, leave it out")

    @property
    def levels(self) -> tuple[str, ...]:
        """The vocabulary with the unknown level last; a value's code is its position here."""
        return (*self.vocabulary, UNKNOWN) if self.kind == "categorical" else ()


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        params: XGBoost parameters, without device, seed and threads.
        rounds: trees; with early stopping the most there can be.
        early_stopping_rounds: stop when the validation log loss has not fallen for so many rounds; None trains
            exactly ``rounds`` trees.
        window_days: at most so many days of history, the holdout included.
        first_day: the first event date whose features have their complete look-back. Earlier days never train.
        valid_days: days between train and holdout that early stopping looks at; 0 without early stopping. Where a
            label takes days to mature, as many days before validation and holdout are left out: their labels overlap.
        holdout_days: the last days, never trained on: what a version is judged by.
        min_train_days: fewer than this many days to train on is an error.
        seed, threads: both fixed, so that the same data gives the same bytes.
        search: look for better parameters before each training; None trains with these.
    """

    params: dict[str, Scalar]
    rounds: int
    first_day: date
    early_stopping_rounds: int | None = None
    window_days: int = 365
    valid_days: int = 0
    holdout_days: int = 14
    min_train_days: int = 28
    seed: int = 7
    threads: int = 2
    search: Search | None = None

    def __post_init__(self) -> None:
        if (self.early_stopping_rounds is not None) != (self.valid_days > 0):
            raise ValueError("early_stopping_rounds and valid_days go together: set both or neither")
        if "scale_pos_weight" in self.params:
            raise ValueError("scale_pos_weight makes scores of probabilities: set positive_weight in the task instead")
        if self.search is not None:
            self.search.choices(self.params, self.rounds)


@dataclass(frozen=True)
class Value:
    """What it is worth, in any unit, to act on a row or not to, and how much of it a challenger may lose.

    Who acts where it is worth more than not to, acts on each row whose probability is at least ``threshold``. That
    follows from the four numbers: no day has to be looked at to find it, so that none can be fitted.

    Attributes:
        true_positive, false_positive: of acting on a row whose label is 1, and on one whose label is 0.
        false_negative, true_negative: of not acting on it.
        max_loss: the margin: so much a row the challenger may truly lose to the champion; None: it is reported, and
            compared by nobody.
    """

    true_positive: float
    false_positive: float
    false_negative: float = 0.0
    true_negative: float = 0.0
    max_loss: float | None = None

    def __post_init__(self) -> None:
        if not (self.true_positive > self.false_negative and self.true_negative > self.false_positive):
            raise ValueError(
                "a value must be higher of a true positive than of a false negative, and of a true negative than of a "
                "false positive: otherwise to act is always right, or never"
            )
        require_margin("max_loss", self.max_loss)

    @property
    def threshold(self) -> float:
        """The probability from which on to act is worth more."""
        right, wrong = self.true_positive - self.false_negative, self.true_negative - self.false_positive
        return wrong / (wrong + right)


@dataclass(frozen=True)
class Cost:
    """What a unit costs that is predicted too much, and one too little, and how much more a challenger may cost.

    What is judged is the quantile ``level``, which costs least, where the task predicts it, and the prediction
    otherwise.

    Attributes:
        over, under: of a unit of the label.
        max_loss: the margin: by this share the challenger's cost may truly be above the champion's; None: it is
            reported, and compared by nobody.
    """

    over: float
    under: float
    max_loss: float | None = None

    def __post_init__(self) -> None:
        if not (self.over > 0 and self.under > 0):
            raise ValueError(f"a unit costs {self.over} over and {self.under} under; both must be above 0")
        require_margin("max_loss", self.max_loss)

    @property
    def level(self) -> float:
        """The quantile of the label that costs least."""
        return self.under / (self.over + self.under)


def require_margin(name: str, margin: float | None) -> None:
    """Raise ValueError for a margin that no challenger can be within."""
    if margin is not None and not margin > 0:
        raise ValueError(f"{name} is {margin}; it must be above 0, or None")


@dataclass(frozen=True)
class Binary:
    """The label is 0 or 1, and a prediction is the probability of 1.

    Attributes:
        baseline: the numeric feature whose plain value is the ranking to beat.
        min_auc: a challenger below this AUC on its holdout is refused: something is missing.
        max_auc: one above it is refused too: something leaks; nobody predicts that well.
        min_lift: how much AUC the model must add to the baseline's.
        max_calibration_error: largest expected calibration error, in probability.
        max_auc_loss: the margin: so much AUC, within days, the challenger may truly lose to the champion.
        max_log_loss_loss: the same for log loss, in nats a row.
        quality_auc_drop: what the quality sensor tolerates: so far may the daily AUC be below the holdout's …
        quality_calibration_gap: … so much may mean score less mean label have moved, in probability, …
        quality_low_rise: … and so far may positives among the lowest scores of a day be above what is expected there,
            as the difference of the shares' roots.
        positive_weight: how many rows a row of label 1 counts for in the fit; ``balanced``: so that both labels count
            for the same. Scores stay probabilities (docs/decisions/search.md).
        budget_per_day, budget_share: how many rows of a day, or which share of them, can be acted on; one of the two,
            or None. The recall is that of the highest scores of each day.
        value: what it is worth to act or not; None where nobody has said.
        max_average_precision_loss, max_recall_loss: margins as ``max_auc_loss``, of average precision within days and
            of the recall at the budget; None: it is reported, and compared by nobody.
    """

    baseline: str
    min_auc: float = 0.55
    max_auc: float = 0.98
    min_lift: float = 0.02
    max_calibration_error: float = 0.10
    max_auc_loss: float = 0.01
    max_log_loss_loss: float = 0.015
    quality_auc_drop: float = 0.0
    quality_calibration_gap: float = 0.05
    quality_low_rise: float = 0.0
    positive_weight: float | Literal["balanced"] = 1.0
    budget_per_day: int | None = None
    budget_share: float | None = None
    value: Value | None = None
    max_average_precision_loss: float | None = None
    max_recall_loss: float | None = None

    def __post_init__(self) -> None:
        if self.positive_weight != "balanced" and not (
            isinstance(self.positive_weight, int | float) and self.positive_weight > 0
        ):
            raise ValueError(f"positive_weight is {self.positive_weight!r}; it must be above 0, or `balanced`")
        if self.budget_per_day is not None and self.budget_share is not None:
            raise ValueError("budget_per_day and budget_share say the same in two ways: set one of them")
        if self.budget_per_day is not None and self.budget_per_day < 1:
            raise ValueError(f"budget_per_day is {self.budget_per_day}; it must be a number of rows")
        if self.budget_share is not None and not 0 < self.budget_share < 1:
            raise ValueError(f"budget_share is {self.budget_share}; it must be between 0 and 1")
        if self.max_recall_loss is not None and not self.has_budget:
            raise ValueError("max_recall_loss is of the recall at a budget: set budget_per_day or budget_share")
        require_margin("max_recall_loss", self.max_recall_loss)
        require_margin("max_average_precision_loss", self.max_average_precision_loss)

    @property
    def has_budget(self) -> bool:
        return self.budget_per_day is not None or self.budget_share is not None


@dataclass(frozen=True)
class Multiclass:
    """The label is one of some classes, and a prediction is a probability for each of them.

    Attributes:
        classes: the values that the label can have, as text; the place of a class is its code.
        baseline: the categorical feature whose plain value is the class to beat; None: the most frequent class.
        min_auc, max_auc: as for a binary task; the AUC is that of each class against the others, in the mean over
            the rows of the classes.
        min_skill: by this share the log loss must be below that of always giving each class its frequency in training.
        min_lift: how much accuracy the model must add to the baseline's.
        min_class_rows: fewer training rows of a class than this are too few to learn it.
        max_calibration_error: largest expected calibration error of the most likely class, in probability.
        max_auc_loss, max_log_loss_loss: the margins, what the challenger may truly lose to the champion.
        quality_log_loss_rise: what the quality sensor tolerates: so far may daily log loss be above the holdout's, …
        quality_calibration_gap: … so far may the predicted class's mean probability less its hits have moved, …
        quality_unlikely_rise: … and so far may labels of a class that was given less than a tenth be above what is
            expected, as the difference of the shares' roots.
        class_weights: how many rows a row of each class counts for in the fit, in the order of the classes;
            ``balanced``: so that all classes count for the same; empty: one each. Scores stay probabilities.
    """

    classes: tuple[str, ...]
    baseline: str | None = None
    min_auc: float = 0.55
    max_auc: float = 0.98
    min_skill: float = 0.02
    min_lift: float = 0.0
    min_class_rows: int = 10
    max_calibration_error: float = 0.10
    max_auc_loss: float = 0.01
    max_log_loss_loss: float = 0.02
    quality_log_loss_rise: float = 0.10
    quality_calibration_gap: float = 0.10
    quality_unlikely_rise: float = 0.0
    class_weights: tuple[float, ...] | Literal["balanced"] = ()

    def __post_init__(self) -> None:
        if isinstance(self.classes, str) or len(self.classes) < 2 or not all(isinstance(c, str) for c in self.classes):
            raise ValueError(f"classes is {self.classes!r}; it must be a tuple of at least two texts")
        slugs = [class_slug(one) for one in self.classes]
        if twice := [slug for slug in slugs if slugs.count(slug) > 1]:
            raise ValueError(
                f"classes {', '.join(self.classes)}: two of them give the same column name, {twice[0]}. Call them by "
                "other words where the label is made, as `up to 50K` for <=50K"
            )
        weights = self.class_weights
        if weights != "balanced" and weights and not (len(weights) == len(self.classes) and min(weights) > 0):
            raise ValueError(f"class_weights are {weights!r}; give each class one above 0, or `balanced`")


@dataclass(frozen=True)
class Regression:
    """The label is a number, and a prediction is its mean, or its median with further quantiles.

    Errors are root mean squared errors where the mean is predicted, and mean absolute errors where the median is: each
    is the error that its prediction makes smallest.

    Attributes:
        baseline: the numeric feature whose plain value is the prediction to beat.
        quantiles: what to predict, in rising order, 0.5 among them; empty for the mean.
        min_skill: by this share the error must be below the baseline's, and below that of always saying what is usual
            in training, or something is missing.
        max_skill: by more than this share below it something leaks.
        max_error_loss: the margin: by this share the challenger's error may truly be above the champion's.
        max_crossed: largest share of rows whose quantiles are not in rising order before they are sorted.
        max_coverage_gap: how far the share of labels between the outermost quantiles may be from what they promise.
        quality_error_rise: what the quality sensor tolerates: so much, in shares of the holdout's error, may the daily
            error have risen, …
        quality_bias: … or the mean difference have moved, …
        quality_coverage_gap: … so far may the share of labels between the outermost quantiles have, …
        quality_far_rise: … and so far the root of the share of labels that are much farther off than most of their day.
        cost: what a unit too much and one too little costs; None where nobody has said.
    """

    baseline: str
    quantiles: tuple[float, ...] = ()
    min_skill: float = 0.02
    max_skill: float = 0.90
    max_error_loss: float = 0.02
    max_crossed: float = 0.05
    max_coverage_gap: float = 0.10
    quality_error_rise: float = 0.25
    quality_bias: float = 0.5
    quality_coverage_gap: float = 0.15
    quality_far_rise: float = 0.0
    cost: Cost | None = None

    def __post_init__(self) -> None:
        rising = list(self.quantiles) == sorted(set(self.quantiles))
        if self.quantiles and not (rising and 0.5 in self.quantiles and all(0 < q < 1 for q in self.quantiles)):
            raise ValueError(
                f"quantiles are {self.quantiles}; they must rise between 0 and 1, with 0.5, which is the prediction"
            )


type TaskSpec = Binary | Multiclass | Regression


def buckets(n: int) -> tuple[str, ...]:
    """The vocabulary of a feature that dbt's macro ``hashed`` puts into ``n`` buckets. Raises ValueError below two."""
    if n < 2:
        raise ValueError(f"{n} buckets tell no values apart: give two or more")
    return tuple(map(str, range(n)))


def class_slug(name: str) -> str:
    """A class as part of a column's name: lower case, with letters, digits and underscores only."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "_"


@dataclass(frozen=True)
class Promotion:
    """How certain it must be that a challenger may replace the champion.

    Both are judged on days that neither was fitted on. A challenger is promoted where it is certain enough that it is
    not worse than the champion by the margin of its task or more, refused where it is as certain that it is worse, and
    waits for more days with labels otherwise. How often that is right: docs/decisions/promotion.md.

    Attributes:
        level: how often a challenger that is worse by the margin is let through at most, all looks together. Of real
            days, which are not quite as independent as the test takes them for, it is one in twenty at .03.
        refusal_level: how often one that is as good as the champion is refused at most.
        looks: after how many days it is looked at, rising. Empty: when the holdout is full, and when there are 2 and
            4.3 times as many days: 14, 28 and 60 of them by default.
        approvals: how many persons have to approve what the gates let through, each another one: none, 1 or 2.
        approvers: who may, by the ids of their logins in Airflow. Empty: whoever may answer for the DAG there.
        approval_hours: how long they are waited for, all together. No answer is a no.
    """

    level: float = 0.03
    refusal_level: float = 0.05
    looks: tuple[int, ...] = ()
    approvals: Literal[0, 1, 2] = 0
    approvers: tuple[str, ...] = ()
    approval_hours: float = 72.0

    def __post_init__(self) -> None:
        if not (0 < self.level < 0.5 and 0 < self.refusal_level < 0.5):
            raise ValueError(f"levels are {self.level} and {self.refusal_level}; they must be above 0 and below 0.5")
        if list(self.looks) != sorted(set(self.looks)) or any(days < 2 for days in self.looks):
            raise ValueError(f"looks are {self.looks}; they must be numbers of days that rise, of at least 2")
        self._check_approvals()

    def _check_approvals(self) -> None:
        require_tuples("promotion", self)
        if isinstance(self.approvals, bool) or self.approvals not in (0, 1, 2):
            raise ValueError(f"approvals is {self.approvals!r}; it must be 0, 1 or 2")
        if not 0 < self.approval_hours < inf:
            raise ValueError(f"approval_hours is {self.approval_hours}; it must be above 0")
        named = self.approvers
        if len(set(named)) != len(named) or not all(isinstance(one, str) and one.strip() for one in named):
            raise ValueError(f"approvers are {named}; they must be different ids of logins in Airflow")
        if named and not self.approvals:
            raise ValueError(f"approvers are {named}, and approvals is 0: nobody would ask them")
        if named and len(named) < self.approvals:
            raise ValueError(f"approvers are {named}: {self.approvals} approvals need as many persons")

    @property
    def gates(self) -> dict[str, Any]:
        """What a verdict hangs on: by how much it is certain, and when. Who approves it changes no verdict."""
        return {"level": self.level, "refusal_level": self.refusal_level, "looks": self.looks}


@dataclass(frozen=True)
class Evaluation:
    """What a challenger is judged by beside the limits of its task: groups of rows, odd input, suspicion, speed, size.

    What a challenger misses here refuses it, and so does what was not measured. *Loss* is log loss, or of numbers the
    error; *the usual* is always saying what was usual in training. What is sound: docs/decisions/evaluation.md.

    Attributes:
        slices: columns, of the entity or of the features, each of whose values is a group that is judged by itself.
        min_slice_rows, min_slice_days: a group with fewer is shown, and not judged.
        max_slice_loss: refused where a group's loss is certainly higher by more than this share than the champion's on
            the same rows, or without a champion than the usual's.
        max_parity_gap: refused where a group's predictions are certainly off by so much more than those of all rows,
            in probability, or of numbers in mean errors, and by more than the champion's are.
        slice_level: how often one that is as good as the champion in every group is refused for one of them at most,
            all groups and looks together.
        max_missing_loss: with any one feature missing, the loss may be above the usual's by at most this share.
        max_noise_loss: where each number is off by a tenth of its spread, it may rise by this share of the usual's.
        max_gain_share: a feature of several that carries a larger share of the gain may be the label by another name.
        max_label_shift: how far the holdout's labels may be from those of training where there is no champion yet: as
            a share of rows, or of numbers in standard deviations. Days must be certain of it too.
        max_model_mib: largest model, in MiB.
        max_ms_p99: milliseconds in which 99 of 100 single rows are scored.
    """

    slices: tuple[str, ...] = ()
    min_slice_rows: int = 200
    min_slice_days: int = 7
    max_slice_loss: float = 0.10
    max_parity_gap: float = 0.15
    slice_level: float = 0.05
    max_missing_loss: float = 2.0
    max_noise_loss: float = 0.3
    max_gain_share: float = 0.995
    max_label_shift: float = 0.5
    max_model_mib: float = 256.0
    max_ms_p99: float = 1000.0

    def __post_init__(self) -> None:
        require_tuples("evaluation", self)
        if not 0 < self.slice_level < 0.5:
            raise ValueError(f"evaluation: slice_level is {self.slice_level}; it must be above 0 and below 0.5")
        if self.min_slice_days < 2:
            raise ValueError(f"evaluation: min_slice_days is {self.min_slice_days}; days do not scatter below 2")


@dataclass(frozen=True)
class Scoring:
    """How days are scored.

    Attributes:
        fallback: whether a day whose champion cannot be loaded, or fails, is scored by the champion before it, or by
            what is usual, each row marked as such, and somebody told. Else the night fails.
        reasons: how many features each prediction names that moved it most, with by how much; 0: none. It takes
            many times as long as scoring does (docs/decisions/scoring.md).
    """

    fallback: bool = True
    reasons: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.reasons, bool) or not isinstance(self.reasons, int) or self.reasons < 0:
            raise ValueError(f"reasons is {self.reasons!r}; it must be a number of features, or 0")


@dataclass(frozen=True)
class DriftPolicy:
    """How sure the sensors must be, and when a retraining is asked for. What became of older fields:
    docs/decisions/evidence.md.

    Attributes:
        false_alarm_rate: the share of quiet nights in which any sensor of drift and quality may fire, all together.
        cool_down_days: no retraining before so many days of labels are new since the champion's training data
            ended, nor within so many days of the last request.
        max_age_days: retrain on schedule when the champion's data is this old, sensors or not.
        max_label_days: retrain when so many days of labels are new; None: that is no reason.
        budget, budget_days: at most so many retrainings are asked for in so many days.
        max_refusals: a champion of which so many retrainings in a row came to nothing (they failed, or were refused) is
            left alone until another one takes over, or a person trains.
    """

    false_alarm_rate: float = 0.01
    cool_down_days: int = 31
    max_age_days: int = 120
    max_label_days: int | None = None
    budget: int = 6
    budget_days: int = 366
    max_refusals: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"drift: false_alarm_rate is {self.false_alarm_rate}; it must be above 0 and below 0.5")
        if self.max_label_days is not None and self.max_label_days < 1:
            raise ValueError(f"drift: max_label_days is {self.max_label_days}; it must be a number of days, or None")
        for name in ("budget", "budget_days", "max_refusals"):
            if getattr(self, name) < 1:
                raise ValueError(f"drift: {name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class UseCase:
    """One model and everything the platform must know about it. See the attributes of the parts for defaults.

    Attributes:
        name: package, DAG folder, dbt folder, MLflow model and table prefix, all the same.
        sources: the sources whose silver tables it reads.
        entity: key columns of one thing to predict; unique together with ``day``, so that one may recur on many days.
        day: the column with the event date that a row belongs to, in features, labels and predictions.
        label: the column of the labels table that is to be predicted.
        task: what kind of label it is, with the gates and quality limits of that kind.
        unlabelled: whether a label may be null, which says that there is none, as where nothing happened on the day.
            Such a row is scored; nothing is learned from it or measured by it. Where it is False, a null is an error.
        label_days: days until a label is known: that of event date D is known in the night D + this.
        horizon_days: the night of day T builds features for, and scores, event date T + this.
        context: further columns of the features table that are not features.
        rollout: the stages before a challenger that was let through is champion; None: it is at once.
        enabled: whether its DAGs run once they are there. Those of one that is not are paused until somebody takes
            that off in Airflow, and no partition is behind for it.
        publish: where its predictions go, beside the lake; each is a target of ``<use case>_publish``.
    """

    name: str
    description: str
    owner: str
    sources: tuple[str, ...]
    entity: tuple[str, ...]
    day: str
    label: str
    task: TaskSpec
    features: tuple[Feature, ...]
    training: Training
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    promotion: Promotion = field(default_factory=Promotion)
    evaluation: Evaluation = field(default_factory=Evaluation)
    scoring: Scoring = field(default_factory=Scoring)
    rollout: Rollout | None = None
    unlabelled: bool = False
    label_days: int = 0
    horizon_days: int = 1
    context: tuple[str, ...] = ()
    enabled: bool = True
    publish: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        for part, value in (("sources", self.sources), ("entity", self.entity)):
            if isinstance(value, str) or not value or len(set(value)) != len(value):
                raise ValueError(f"use case {self.name}: {part} is {value!r}; it must be a tuple of different names")
        require_tuples(f"use case {self.name}", self)
        names = self.feature_names
        if len(set(names)) != len(names):
            raise ValueError(f"use case {self.name}: a feature is listed twice")
        # A column of the entity may be a feature too. A day is none, and a label is what the features are without.
        others = (*self.entity, *names, *self.context)
        if twice := [one for one in (self.day, self.label) if one in others or self.day == self.label]:
            raise ValueError(f"use case {self.name}: {twice[0]} is its day or label, and something else too")
        if self.label_days < 0 or self.horizon_days < 0:
            raise ValueError(f"use case {self.name}: label_days and horizon_days must not be negative")
        if strange := set(self.evaluation.slices) - {*self.entity, *names}:
            raise ValueError(
                f"use case {self.name}: slices are columns of entity or features, and not {', '.join(sorted(strange))}"
            )
        search = self.training.search
        if search is not None and search.days < 2 * self.overlap_days:
            raise ValueError(
                f"use case {self.name}: a search on {search.days} days tells nothing of labels that take "
                f"{self.label_days}: give it {2 * self.overlap_days} or more"
            )
        if self.rollout is not None:
            self.rollout.require_days(self.overlap_days)
        self._check_baseline()
        publishing.check(self.name, self.publish, self.key)

    def _check_baseline(self) -> None:
        name = self.task.baseline
        if name is None:
            return
        found = next((one for one in self.features if one.name == name), None)
        if found is None:
            raise ValueError(f"use case {self.name}: the baseline {name} is not a feature")
        kind = "categorical" if isinstance(self.task, Multiclass) else "numeric"
        if found.kind != kind:
            raise ValueError(f"use case {self.name}: the baseline {name} is {found.kind}, and must be {kind}")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row: the event date, then the entity. Rows are sorted by them."""
        return (self.day, *self.entity)

    @property
    def matures(self) -> timedelta:
        """From an event date to the partition in which its label is known."""
        return timedelta(self.label_days)

    @property
    def entity_name(self) -> str:
        """The entity's columns in a message."""
        return " + ".join(self.entity)

    @property
    def overlap_days(self) -> int:
        """How many days in a row have labels that share time with each other; 1 where each is a day's own."""
        return self.label_days + 1

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many days of evidence a challenger is looked at."""
        holdout = max(2, self.training.holdout_days)
        return self.promotion.looks or (holdout, 2 * holdout, round(60 * holdout / 14))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def dag_ids(self) -> tuple[str, ...]:
        """Its DAGs in Airflow, one a stage."""
        return tuple(f"{self.name}_{stage}" for stage in STAGES)

    # Tables, all in the gold layer. dbt writes features and labels, include/quality profiles and faults, include/ml the
    # others.
    @property
    def features_table(self) -> str:
        return f"{self.name}__features"

    @property
    def labels_table(self) -> str:
        return f"{self.name}__labels"

    @property
    def profiles_table(self) -> str:
        return f"{self.name}__profiles"

    @property
    def predictions_table(self) -> str:
        return f"{self.name}__predictions"

    @property
    def monitoring_table(self) -> str:
        return f"{self.name}__monitoring"

    @property
    def figures_table(self) -> str:
        return f"{self.name}__figures"

    @property
    def decisions_table(self) -> str:
        return f"{self.name}__decisions"

    @property
    def deployments_table(self) -> str:
        return f"{self.name}__deployments"

    @property
    def trainings_table(self) -> str:
        return f"{self.name}__trainings"

    @property
    def judgements_table(self) -> str:
        return f"{self.name}__judgements"

    @property
    def approvals_table(self) -> str:
        return f"{self.name}__approvals"

    @property
    def shadow_table(self) -> str:
        return f"{self.name}__shadow"

    @property
    def rollouts_table(self) -> str:
        return f"{self.name}__rollouts"

    @property
    def faults_table(self) -> str:
        return f"{self.name}__faults"

    @property
    def made_table(self) -> str:
        return f"{self.name}__made"

    @property
    def published_table(self) -> str:
        return f"{self.name}__published"

    @property
    def outbox_table(self) -> str:
        return f"{self.name}__outbox"

    @property
    def label_requests_table(self) -> str:
        return f"{self.name}__label_requests"

    @property
    def labelled_table(self) -> str:
        return f"{self.name}__labelled"

    @property
    def ledgers(self) -> tuple[str, ...]:
        """Those of its tables that are only ever added to, and sealed."""
        return (
            self.trainings_table,
            self.judgements_table,
            self.approvals_table,
            self.deployments_table,
            self.rollouts_table,
            self.faults_table,
            self.made_table,
            self.published_table,
            self.label_requests_table,
            self.labelled_table,
        )
