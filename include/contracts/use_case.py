"""What a use case is: frozen dataclasses that its ``spec.py`` fills with literals.

A use case is one model with its data, its gates and its drift policy. Adding one means adding a package under
``include/use_cases/`` whose ``spec.py`` exports ``SPEC``; no existing file changes.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

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
        first_day: the first flight day whose features have their complete look-back. Earlier days never train.
        valid_days: days between train and holdout that early stopping looks at; 0 without early stopping.
        holdout_days: the last days, never trained on: what a version is judged by.
        min_train_days: fewer than this many days to train on is an error.
        seed, threads: both fixed, so that the same data gives the same bytes.
    """

    params: dict[str, float | int | str]
    rounds: int
    first_day: date
    early_stopping_rounds: int | None = None
    window_days: int = 365
    valid_days: int = 0
    holdout_days: int = 14
    min_train_days: int = 28
    seed: int = 7
    threads: int = 2

    def __post_init__(self) -> None:
        if (self.early_stopping_rounds is not None) != (self.valid_days > 0):
            raise ValueError("early_stopping_rounds and valid_days go together: set both or neither")


@dataclass(frozen=True)
class Gates:
    """What a challenger must show on its holdout before it becomes champion.

    Attributes:
        min_auc: below this something is missing.
        max_auc: above this something leaks; nobody predicts tomorrow that well.
        baseline: the one feature whose plain value is the ranking to beat.
        min_lift: how much AUC the model must add to the baseline's.
        max_calibration_error: largest expected calibration error, in probability.
        max_auc_loss: how much AUC the challenger may lose to the champion on the same holdout.
        max_log_loss_loss: the same for log loss, in nats a row.
    """

    min_auc: float
    max_auc: float
    baseline: str
    min_lift: float = 0.02
    max_calibration_error: float = 0.10
    max_auc_loss: float = 0.005
    max_log_loss_loss: float = 0.01


@dataclass(frozen=True)
class DriftPolicy:
    """When the sensors fire and when a retraining is asked for.

    Attributes:
        drift_window_days: scored days that the two drift sensors look at together. Single days differ too much
            from each other to mean anything: the flights of one day share its weather.
        drift_min_days: fewer days with data than this in the window is too little evidence.
        drift_min_rows: the same in rows.
        feature_psi_floor: a feature counts as drifted only above this PSI, and above the largest PSI that any window
            of the champion's own training data shows (its ``psi_limit``).
        input_drift_share: the sensor fires when drifted features carry at least this share of the model's gain.
        prediction_psi: the sensor fires when the PSI of the scores against the champion's holdout reaches this.
        quality_window_days: days with labels that the quality sensor looks at together.
        quality_min_days: fewer such days is too little evidence.
        quality_auc_drop: the mean daily AUC must have fallen by this much against the holdout …
        quality_calibration_gap: … or mean score and mean label must differ by this much, in probability …
        quality_z: … and in either case by this many standard errors, with days as the independent unit.
        cool_down_days: no retraining before so many days of labels are new since the champion's training data
            ended, nor within so many days of the last request.
        max_age_days: retrain on schedule when the champion's data is this old, sensors or not.
    """

    drift_window_days: int = 7
    drift_min_days: int = 5
    drift_min_rows: int = 1000
    feature_psi_floor: float = 0.2
    input_drift_share: float = 0.33
    prediction_psi: float = 0.25
    quality_window_days: int = 14
    quality_min_days: int = 7
    quality_auc_drop: float = 0.05
    quality_calibration_gap: float = 0.05
    quality_z: float = 2.0
    cool_down_days: int = 31
    max_age_days: int = 120


@dataclass(frozen=True)
class UseCase:
    """One model and everything the platform must know about it. See the attributes of the parts for defaults.

    Attributes:
        name: package, DAG folder, dbt folder, MLflow model and table prefix, all the same.
        source: the source whose silver tables it reads.
        entity: key column of one thing to predict, unique in features and labels.
        day: the column with the business day that a row belongs to.
        label: the 0/1 column of the labels table.
        horizon_days: the night of day T builds features for, and scores, day T + this.
        context: further columns of the features table that are not features.
    """

    name: str
    description: str
    owner: str
    source: str
    entity: str
    label: str
    features: tuple[Feature, ...]
    training: Training
    gates: Gates
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    day: str = "flight_date"
    horizon_days: int = 1
    context: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.feature_names
        if len(set(names)) != len(names):
            raise ValueError(f"use case {self.name}: a feature is listed twice")
        if self.gates.baseline not in names:
            raise ValueError(f"use case {self.name}: the baseline {self.gates.baseline} is not a feature")

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    # Tables, all in the gold layer. dbt writes the first two, include/ml the others.
    @property
    def features_table(self) -> str:
        return f"{self.name}__features"

    @property
    def labels_table(self) -> str:
        return f"{self.name}__labels"

    @property
    def predictions_table(self) -> str:
        return f"{self.name}__predictions"

    @property
    def monitoring_table(self) -> str:
        return f"{self.name}__monitoring"

    @property
    def decisions_table(self) -> str:
        return f"{self.name}__decisions"

    @property
    def deployments_table(self) -> str:
        return f"{self.name}__deployments"
