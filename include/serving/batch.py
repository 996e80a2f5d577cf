"""Score days with the champion that the ledger names for each of them, and with a challenger that is rolled out.

Such a challenger scores every row beside the champion. Of the two predictions of a row one is published, and while the
rollout goes on the other one is kept in the shadow table, which nobody uses but those who compare them.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, takewhile
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError, may_pass
from include.core.partitions import Partitions
from include.core.settings import SPARK, settings
from include.lake import candidate, commit, delta, publications, usage
from include.ml import dataset, ledger, rollouts, scoring
from include.ml.ledger import Champion
from include.ml.rollouts import Step
from include.ml.scoring import FEATURES
from include.serving import fallback, throughput
from include.serving.fallback import Fallback
from include.use_cases import use_case

log = logging.getLogger(__name__)


class IncompletePredictionsError(NeedsAttentionError, ValueError):
    """Predictions that are not exactly one for each row of features."""


def check_complete(case: UseCase, features: pl.DataFrame, predictions: pl.DataFrame) -> None:
    """Raise IncompletePredictionsError unless each row of features has exactly one prediction, and nothing else has."""
    wanted, got = features.select(case.key), predictions.select(case.key)
    if got.equals(wanted) and wanted.n_unique() == wanted.height:
        return  # as nearly always: the rows are in the same order
    if wanted.is_duplicated().any():
        raise IncompletePredictionsError(
            f"{case.features_table} has an {case.entity_name} twice in {wanted.height} rows"
        )
    if got.height != wanted.height or got.is_duplicated().any() or got.join(wanted, on=case.key, how="anti").height:
        different = got.unique().height
        raise IncompletePredictionsError(
            f"{wanted.height} rows of features gave {got.height} predictions ({different} different)"
        )


def predict(name: str, first: date, last: date, *, is_last_try: bool = False) -> dict[str, Any]:
    """Task: score the days ``first`` to ``last`` (event dates) of use case ``name``, and publish the predictions.

    Reads the features table and the ledger; replaces those days of the predictions table. Scoring again writes nothing
    where nothing changed. Where a champion cannot be loaded, or fails, somebody else scores its days
    (``include.serving.fallback``); where that may pass, only at the last try. Raises NoChampionError, DataMissingError
    (days or columns), UnfitFeatureError, TableMissingError and IncompletePredictionsError, and where there is no
    fallback DamagedModelError, ModelRefusedError, UnfitOutputError, and RegistryAwayError.

    Returns ``rows``, ``days``, ``by_version`` (rows of each model version), ``changed``, ``table_version``, the
    ``features_version`` that was read, and ``fallback``: a sentence for each champion whose days somebody else scored,
    and for a challenger that could not score.
    """
    case = use_case(name)
    with ledger.deploying(case), throughput.measured(case, first, last) as run:
        return run.has_done(_predict(case, first, last, is_last_try))


def with_champion(name: str, days: Partitions) -> Partitions:
    """The ones of ``days``, event dates, that have a champion: what comes before the first one, nobody scores.

    So a range is scored as its nights would be by themselves. Raises NoChampionError where none has.
    """
    decided = ledger.read(use_case(name))
    ledger.require_champion(use_case(name), decided, days.last)
    return Partitions(max(days.first, min(row.effective_from for row in decided)), days.last)


def waiting(name: str, since: date) -> Partitions | None:
    """The event dates from ``since`` on that have features and were never scored, up to the first without features.

    They wait for a champion: ``since`` is the first day of a new one, before which every day is another's or nobody's.
    None where no day waits.
    """
    case = use_case(name)
    table = f"gold.{case.features_table}"
    built = usage.days_of(table)
    scored = usage.days_of(f"gold.{case.predictions_table}")
    ahead = dataset.days_between(since, max(built)) if built and max(built) >= since else []
    published = publications.known(table, ahead)
    days = list(takewhile(lambda day: day in published and day not in scored, ahead))
    return Partitions(days[0], days[-1]) if days else None


def _predict(case: UseCase, first: date, last: date, is_last_try: bool) -> dict[str, Any]:
    decided = ledger.read(case)
    days = dataset.days_between(first, last)
    for day in days:
        ledger.require_champion(case, decided, day)
    with commit.committing():  # so that the contents are those of that version
        version = delta.version("gold", case.features_table)
        contents = publications.contents_of(f"gold.{case.features_table}", days)
    scan = delta.scan_days("gold", case.features_table, first, last, day=case.day, version=version)
    a_day = scan.group_by(case.day).len().sort(case.day).collect()
    gaps = dataset.quiet_days(case, first, last)
    if a_day.is_empty() and publications.known(f"gold.{case.features_table}", days) == set(days):
        return _nothing(case, first, last, version)
    dataset.require_days(case.features_table, a_day, first, last, case.day, gaps)
    if settings().score_on == SPARK and (on_spark := _on_spark(case, decided, a_day, version, contents)):
        return on_spark | {"days": len(days), "features_version": version}
    parts, shadows, fallen_back = list[pl.DataFrame](), list[pl.DataFrame](), list[Fallback]()
    beside = _Beside(case, rollouts.read(case), is_last_try)
    # Some days at a time: of a long range the features, which are wide, are never in memory all at once.
    for part in dataset.parts(a_day.rows()):
        features = dataset.between(case, scan, part).collect()
        scored, instead = _scored(case, decided, features, is_last_try)
        published, shadow = beside.score(decided, features, scored)
        parts.append(published)
        shadows += [shadow] if shadow is not None else []
        fallen_back += instead
    # Of two versions one may have classes that the other has not.
    predictions = pl.concat(parts, how="diagonal")
    content = pl.col(case.day).replace_strict(contents, default=None, return_dtype=pl.String)
    predictions = with_columns_of_table(case.predictions_table, predictions.with_columns(content.alias(FEATURES)))
    if shadows:
        _keep(case, pl.concat(shadows, how="diagonal").with_columns(content.alias(FEATURES)))
    written = delta.replace_days("gold", case.predictions_table, predictions, first, last, day=case.day)
    counts = predictions.group_by(scoring.VERSION).len().drop_nulls().sort(scoring.VERSION).iter_rows()
    return {
        "rows": predictions.height,
        "days": len(days),
        "by_version": {str(version): rows for version, rows in counts},
        "changed": written.changed,
        "table_version": written.version,
        "features_version": version,
        "fallback": [*(str(one) for one in fallback.joined(fallen_back)), *beside.failed],
    }


def _on_spark(
    case: UseCase, decided: list[Champion], a_day: pl.DataFrame, version: int, contents: Mapping[date, str]
) -> dict[str, Any] | None:
    """What ``_predict`` returns of days that executors have scored; ``a_day`` has the rows of each.

    None where the process has to: a day whose champion cannot be loaded, or beside which a challenger scores.
    """
    from include.serving import executors  # Spark's client takes a second to import

    champions = {day: ledger.require_champion(case, decided, day) for day in a_day[case.day]}
    steps = rollouts.read(case)
    if any(rollouts.of_day(steps, day, champion) for day, champion in champions.items()):
        return None
    groups = [(champion, list(days)) for champion, days in groupby(champions, key=champions.__getitem__)]
    spans = [(champion, Partitions(days[0], days[-1])) for champion, days in groups]
    try:
        name, counts = executors.score(case, spans, version, contents)
    except fallback.OF_MODEL as error:
        log.warning("scored in the process: %s", error)
        return None
    rows, different = int(a_day["len"].sum()), executors.different(case, name)
    if not sum(counts.values()) == different == rows:
        raise IncompletePredictionsError(
            f"{rows} rows of features gave {sum(counts.values())} predictions ({different} different)"
        )
    found = with_columns_of_table(case.predictions_table, candidate.rows(name))
    published = executors.published(case, name, list(champions), found)
    return {
        "rows": published.rows,
        "by_version": {str(one): number for one, number in sorted(counts.items())},
        "changed": bool(published.replaced),
        "table_version": delta.version("gold", case.predictions_table),
        "fallback": [],
    }


def _scored(
    case: UseCase, decided: list[Champion], features: pl.DataFrame, is_last_try: bool
) -> tuple[pl.DataFrame, list[Fallback]]:
    """The predictions of some days, complete and sorted, and who else than their champions has made them."""
    parts, fallen_back = list[pl.DataFrame](), list[Fallback]()
    for champion, group in groupby(sorted(features[case.day].unique()), key=lambda day: ledger.pick(decided, day)):
        if champion is None:
            raise AssertionError("each day has a champion")
        days = list(group)
        scored, instead = fallback.score(
            case, decided, champion, dataset.between(case, features, (days[0], days[-1])), is_last_try
        )
        parts.append(scored)
        fallen_back += [instead] if instead else []
    predictions = pl.concat(parts, how="diagonal")
    check_complete(case, features, predictions)
    # Sorted: the written files are then the same for the same content.
    return predictions.sort(case.key), fallen_back


@dataclass
class _Beside:
    """A challenger that is rolled out, beside the champion of each day.

    Attributes:
        steps: the ledger of rollouts, with what is added to it here.
        failed: what could not be scored by it, in sentences.
    """

    case: UseCase
    steps: list[Step]
    is_last_try: bool
    failed: list[str] = field(default_factory=list)

    def score(
        self, decided: list[Champion], features: pl.DataFrame, scored: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """What is published of some days, and what of them is kept for comparison; None where nothing is.

        ``scored`` is what is published without a challenger.
        """
        if not self.steps:
            return scored, None
        case, found, kept = self.case, scored, list[pl.DataFrame]()
        for day in sorted(features[case.day].unique()):
            step = rollouts.of_day(self.steps, day, ledger.pick(decided, day))
            going = rollouts.current(self.steps)
            is_open = step is not None and going is not None and going.model_version == step.model_version
            if step is None or not (step.share or is_open):
                continue  # of a shadow that has ended, nothing is wanted any more
            rows = features.filter(pl.col(case.day) == day)
            theirs = self._challenger(step, day, rows, is_open)
            if theirs is None:
                continue
            of_share = theirs.filter(rollouts.is_canary(case, step, theirs))
            used = of_share.with_columns(pl.lit(scoring.CANARY).alias(scoring.SCORED_BY))
            others = found.filter(pl.col(case.day) == day)
            if is_open:
                unused = [
                    theirs.join(of_share, on=case.key, how="anti"),
                    others.join(of_share, on=case.key, how="semi"),
                ]
                kept += [one.with_columns(pl.lit(scoring.SHADOW).alias(scoring.SCORED_BY)) for one in unused]
            found = pl.concat([found.join(of_share, on=case.key, how="anti"), used], how="diagonal")
        check_complete(case, features, found)
        return found.sort(case.key), pl.concat(kept, how="diagonal") if kept else None

    def _challenger(self, step: Step, day: date, rows: pl.DataFrame, is_open: bool) -> pl.DataFrame | None:
        """The rows of ``day``, which its champion could score, by the challenger; None where that one cannot.

        Where it never will, it is rolled back. Nobody waits for a shadow: what may pass leaves the day without one.
        """
        try:
            return scoring.score_rows(self.case, step.challenger, rows)
        except Exception as error:
            passes = may_pass(error)
            if passes and step.share and not self.is_last_try:
                raise
            said = f"{str(error).rstrip('.')}."
            self.failed.append(
                f"version {step.model_version}, {step.stage}, could not score {day}: all rows are by the champion. "
                f"{said}"
            )
            if is_open and not passes:
                self.steps.append(rollouts.cannot_score(self.case, step, day, said))
            return None


def _keep(case: UseCase, shadow: pl.DataFrame) -> None:
    """Replace the days of the shadow table that ``shadow`` has."""
    first, last = shadow[case.day].min(), shadow[case.day].max()
    if not (isinstance(first, date) and isinstance(last, date)):
        raise AssertionError("a shadow has days")
    table = with_columns_of_table(case.shadow_table, shadow.sort(case.key))
    delta.replace_days("gold", case.shadow_table, table, first, last, day=case.day)


def _nothing(case: UseCase, first: date, last: date, version: int) -> dict[str, Any]:
    """What comes of days on which there is nothing to score: what was scored for them earlier goes."""
    found: dict[str, Any] = {"rows": 0, "days": 0, "by_version": {}, "changed": False, "table_version": None}
    if delta.exists("gold", case.predictions_table):
        none = delta.scan("gold", case.predictions_table).clear().collect()
        written = delta.replace_days("gold", case.predictions_table, none, first, last, day=case.day)
        found |= {"changed": written.changed, "table_version": written.version}
    return found | {"features_version": version, "fallback": []}


def with_columns_of_table[Frame: (pl.DataFrame, pl.LazyFrame)](table: str, predictions: Frame) -> Frame:
    """``predictions`` with the columns that the table has of other versions' classes or quantiles, empty."""
    if not delta.exists("gold", table):
        return predictions
    there = delta.scan("gold", table).collect_schema()
    here = predictions.lazy().collect_schema().names()
    missing = {name: kind for name, kind in there.items() if name not in here}
    return predictions.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())
