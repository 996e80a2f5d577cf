"""The stages of a use case: what their tasks do. Which there are and in what order, ``dags/use_cases/<case>.py`` says.

Each function makes one task inside a DAG, for the use case that it is given by name; its docstring is what Airflow and
``docs/dags`` say of the task. What a task does is imported when it runs, so that reading a DAG file stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, PokeReturnValue, task
from airflow.sdk import dag as airflow_dag
from airflow.sdk.exceptions import AirflowSkipException

from include.core.errors import BadRequestError
from include.core.partitions import Partitions, of_run
from include.orchestration import alerts, assets, defaults
from include.orchestration.operators.approve import Approve
from include.orchestration.operators.dbt import DbtBuild
from include.orchestration.operators.run_again import RunAgain
from include.use_cases import use_case

AGAIN = "then `make refresh use_case={case} yes=1` has the champion score these days again"
ROLLED_BACK = (
    "nothing: the champion scores all rows again. `make rollout use_case={case}` shows what it was taken back for"
)
# What a stage's DAG says of itself in Airflow, where its function in the DAG file does not.
DOCS = {
    "features": """\
Silver to gold: what is known of the event date after the partition, and the labels that have become known.

**Reads** `silver.*`. **Writes** `gold.<case>__features`, `gold.<case>__labels` and `gold.<case>__profiles`; what the
feature gate refuses, to `gold.<case>__faults`. **Parameters**: `from` and `to` for a range.

**Waits** for the partitions of its look-back that are on their way, without a worker. **Fails** at once, naming the
partition, where one of them has failed or has not landed; and where a model, a test or an expectation of the
feature gate does. Nothing is published then.
""",
    "predict": """\
Score the event date after the partition with the champion of that day.

**Reads** `gold.<case>__features` and the ledgers of deployments and rollouts. **Writes** `gold.<case>__predictions`,
each entity once, with the model's version; a rerun replaces. While a challenger is rolled out, it scores all rows too:
what of both is not published goes to `gold.<case>__shadow`. **Parameters**: `from` and `to` for a range.

**Skips** where the ledger names no champion for the day: train one first. Of a range, the days before the first
champion are left out.
""",
    "monitor": """\
Watch the champion: measure what became known in the partition, sense drift, decide whether to retrain.

**Reads** predictions, labels, features and the champion's training reference. **Writes** `gold.<case>__monitoring`
and `gold.<case>__decisions`. **Parameters**: `from` and `to` for a range, whose nights get a decision each.

The sensors are green where they fired and skipped where all is quiet, of a range in its last night.
`request_retraining` is green where the policy decided "yes", which starts `<case>_train`, and skipped where it decided
"no"; its log says why. `look_again` is green where a version that waited, or was rolled out, became champion, and
skipped where it is refused, rolled back or goes on; steps of a rollout are lines of `gold.<case>__rollouts`. Where the
spec wants approvals, `request_approval` announces a version that was let through, which starts `<case>_promote`.
""",
    "train": """\
Train a challenger on everything known by the partition, and promote it if it passes its gates.

**Reads** `gold.<case>__features` and `gold.<case>__labels`. **Writes** a version of the model in MLflow, lines of
`gold.<case>__trainings` and `gold.<case>__judgements`, and if it is promoted, one of `gold.<case>__deployments` that
says from which day on. `promote` is skipped where the version is refused, or waits for more days with labels. The days
that have waited for a champion are scored then, and monitored. Where the spec wants approvals, `request_approval`
announces a version that was let through, which starts `<case>_promote`.

Runs when the policy requests a retraining. The first champion is trained by hand: *Trigger* with the partition key
or `to` set to the last day to learn from. Training twice for one partition makes one version.
""",
}


def dag(case: str, stage: str, after: Asset) -> Callable[[Callable[[], None]], Callable[[], DAG]]:
    """Make the DAG ``<case>_<stage>`` of a function, which runs for each partition that ``after`` announces.

    The function's docstring is its documentation in Airflow; where it has none, what ``DOCS`` says of the stage.
    """
    return lambda recipe: _dag(case, stage, after, recipe)


def _dag(case: str, stage: str, after: Asset, recipe: Callable[[], None]) -> Callable[[], DAG]:
    make = airflow_dag(
        dag_id=f"{case}_{stage}",
        schedule=PartitionedAssetTimetable(assets=after),
        **defaults.DAG,
        params=defaults.PARAMS,
        default_args=defaults.DEFAULTS | {"owner": use_case(case).owner},
        tags=[case],
        is_paused_upon_creation=None if use_case(case).enabled else True,
        doc_md=recipe.__doc__ or DOCS[stage].replace("<case>", case),
    )
    return make(recipe)


# --- features ---


def announce_inputs(case: str, source: str, built: Any) -> Any:
    """After a source of a case that reads several: announce the nights of which all of them are there."""

    @task(task_id=f"announce_inputs_of_{case}", doc_md=announce_inputs.__doc__, outlets=[assets.inputs(case)])
    def announce(built, **context):
        from include.lake import dbt
        from include.orchestration import readiness

        nights = [of_run(context), *(Partitions(night, night) for night in dbt.also_built(built))]
        whole = [part for one in nights for part in readiness.complete(use_case(case), one)]
        if not whole:
            others = ", ".join(name for name in use_case(case).sources if name != source)
            raise AirflowSkipException(f"{case} waits for {others}, and goes on after whichever source comes last")
        assets.announce_all(context, assets.inputs(case), whole)

    return announce(built)


def history(case: str) -> Any:
    """Wait for the partitions that the look-back needs and that are on their way; refuse half a history."""

    @task.sensor(**defaults.WAIT, task_id="history", doc_md=history.__doc__)
    def wait(**context):
        from include.features import catalogue
        from include.orchestration import readiness

        drawn = catalogue.drawn_days(use_case(case))
        return all(
            readiness.are_through(
                readiness.awaited_by_features(case, of_run(context), drawn, name),
                readiness.before_features(name),
                context["dag_run"],
                name,
            )
            for name in use_case(case).sources
        )

    return wait()


def build(case: str) -> DbtBuild:
    """Build features and labels as candidates, and run dbt's tests on them."""
    return DbtBuild(
        task_id="build",
        doc_md=build.__doc__,
        stage=f"{case}_features",
        select=f"marts.use_cases.{case}",
        **defaults.LONG,
        **defaults.SPARK,
    )


def audit(case: str, built: Any) -> Any:
    """The feature gate: nothing is scored or trained on that has not passed it, each day beside the days before it."""

    @task(task_id="audit", doc_md=audit.__doc__)
    def check(built):
        from include.quality import features

        features.audit(case, built)

    return check(built)


def publish(case: str, built: Any) -> Any:
    """Replace exactly these days, with the profiles that the gate has made of them, and announce them."""

    @task(task_id="publish", doc_md=publish.__doc__, outlets=[assets.features(case)])
    def replace(built, **context):
        from include.governance import events, staleness
        from include.quality import features

        also = staleness.recording(use_case(case))
        published = features.publish_built(case, built, defaults.name_of(context), also)
        print(*published, sep="\n")
        assets.announce(context, assets.features(case), of_run(context))
        events.emit(context, events.of_dbt, f"{case}_features", published)

    return replace(built)


def discard(built: Any) -> Any:
    """Remove what was only needed on the way."""

    @task(task_id="discard", doc_md=discard.__doc__)
    def remove(built):
        from include.lake import dbt

        dbt.discard_built(built)

    return remove(built)


# --- predict ---


def score(case: str) -> Any:
    """Score every entity of the days to predict, once, with the champion of each day."""

    @task(task_id="score", doc_md=score.__doc__, outlets=[assets.predictions(case)], **defaults.FIRST)
    def predict(**context):
        from include.ml import ledger
        from include.serving import batch

        try:
            days = batch.with_champion(case, of_run(context).shift(use_case(case).horizon_days))
        except ledger.NoChampionError as nobody:
            raise AirflowSkipException(f"{nobody} Nothing was scored.") from None
        return _scored(case, days, context)

    return predict()


def _scored(case: str, days: Partitions, context: Any) -> dict[str, Any]:
    """Score ``days``, event dates, and announce the partitions that are to be monitored with that."""
    from include.governance import events
    from include.serving import batch

    ti = context["ti"]
    result = batch.predict(case, days.first, days.last, is_last_try=ti.try_number > ti.max_tries)
    for said in result["fallback"]:
        todo = f"restore what it names, or have another champion; {AGAIN.format(case=case)}"
        alerts.tell(context, "fallback", f"fallback {case} {days.key}", said, todo)
    assets.announce(context, assets.predictions(case), days.shift(-use_case(case).horizon_days), **result)
    if result["rows"]:
        events.emit(context, events.of_scoring, case, result)
    return result


# --- monitor ---


def window(case: str) -> Any:
    """Wait for earlier partitions whose evidence counts and that are on their way; go on without those that failed."""

    @task.sensor(**defaults.WAIT, task_id="window", doc_md=window.__doc__)
    def wait(**context):
        from include.orchestration import readiness

        awaited = readiness.awaited_by_monitor(case, of_run(context))
        return readiness.are_through(
            awaited, readiness.before_monitor(case), context["dag_run"], use_case(case).sources[0], goes_on=True
        )

    return wait()


def measure(case: str) -> Any:
    """Join matured labels; compute drift and quality; store them."""

    @task(task_id="measure", doc_md=measure.__doc__)
    def store(**context):
        from include.governance import staleness
        from include.ml import monitor

        nights = of_run(context)
        with staleness.measuring(use_case(case), nights, run=defaults.name_of(context)):
            return monitor.measure(case, nights.first, nights.last)

    return store()


def sensor(case: str, name: str) -> Any:
    """One drift sensor, ``input_drift``, ``prediction_drift`` or ``quality``: green where it fired, skipped where not.

    It looks once: the evidence of a partition is complete when it is measured.
    """

    @task.sensor(task_id=name, doc_md=sensor.__doc__, timeout=0, soft_fail=True)
    def look(**context):
        from include.ml import monitor

        reading = getattr(monitor, name)(case, of_run(context).last)
        return PokeReturnValue(is_done=reading["fired"], xcom_value=reading)

    return look()


def request_retraining(case: str) -> Any:
    """The policy's decision on each night, stored either way; only a "yes" is announced."""

    @task(
        task_id="request_retraining",
        doc_md=request_retraining.__doc__,
        outlets=[assets.retrain_request(case)],
        trigger_rule="none_failed",
    )
    def decide(**context):
        from include.ml import policy

        nights = of_run(context)
        decisions = policy.decide_nights(case, nights.first, nights.last)
        asked = [one for one in decisions if one["decision"] == "yes"]
        if not asked:
            raise AirflowSkipException(f"no retraining for {nights}: {decisions[-1]['reason']}")
        night = policy.train_as_of(case, date.fromisoformat(asked[0]["partition_day"]), nights.last)
        assets.announce(context, assets.retrain_request(case), Partitions(night, night), reason=asked[-1]["reason"])
        return asked[-1]

    return decide()


def look_again(case: str) -> Any:
    """Judge the version that waits, where the partition has brought days enough for the next look at it.

    A version that is rolled out is looked at each night: it goes forward, or back, by what came of the days so far.

    Where the spec wants approvals, ``request_approval`` comes after it.
    """

    @task(task_id="look_again", doc_md=look_again.__doc__, outlets=[assets.champion(case)])
    def judge(**context):
        from include.ml import rollout

        result = rollout.look_again(case, of_run(context).last)
        if result is None:
            raise AirflowSkipException("no version waits")
        if said := result.get("rolled_back"):
            alerts.tell_once(context, said, ROLLED_BACK.format(case=case))
        require_promoted(result)
        assets.announce(context, assets.champion(case), of_run(context), **result)
        return result

    return _before_approval(case, judge())


# --- train ---


def train(case: str) -> Any:
    """Fit, evaluate on later days than it was fitted on, register as challenger."""

    @task(task_id="train", doc_md=train.__doc__, **defaults.TRAINING)
    def fit(**context):
        from include.governance import events
        from include.ml import train

        challenger = train.train(case, of_run(context).last)
        events.emit(context, events.of_training, case, challenger)
        return challenger

    return fit()


def promote(case: str, challenger: Any) -> Any:
    """Through the gates, or refused with the reasons.

    Where the spec wants approvals, ``request_approval`` comes after it.
    """

    @task(task_id="promote", doc_md=promote.__doc__, outlets=[assets.champion(case)])
    def judge(challenger, **context):
        from include.ml import promotion

        result = promotion.promote(case, challenger["version"], of_run(context).last)
        require_promoted(result)
        return _announced(case, result, of_run(context), context)

    return _before_approval(case, judge(challenger))


def _announced(case: str, result: dict[str, Any], nights: Partitions, context: Any) -> dict[str, Any]:
    """Announce the champion of ``result``, and add to that the days that have waited for it."""
    from include.serving import batch

    # Said here, so that a second try of what scores them knows them still.
    waiting = batch.waiting(case, date.fromisoformat(result["effective_from"]))
    result["waiting"] = waiting.key if waiting else None
    assets.announce(context, assets.champion(case), nights, **result)
    return result


def require_promoted(result: dict[str, Any]) -> None:
    """Skip the task, and say why, where a version was judged and is not champion."""
    if not result["promoted"]:
        what = {"wait": "waits", "refuse": "was refused", "promote": "is not champion yet"}[result["verdict"]]
        why = [result["awaits"]] if result["awaits"] else result["reasons"]
        raise AirflowSkipException(f"version {result['version']} {what}: {'; '.join(why)}")


def score_waiting(case: str, promoted: Any) -> Any:
    """Score the days that have waited for this champion: their features were there, and nobody to score them."""

    @task(task_id="score", doc_md=score_waiting.__doc__, outlets=[assets.predictions(case)])
    def predict(promoted, **context):
        if promoted["waiting"] is None:
            raise AirflowSkipException("no day with features waits for it: the next partition is its first")
        return _scored(case, Partitions.parse(promoted["waiting"]), context)

    return predict(promoted)


# --- refresh ---


def refreshed(case: str, stage: str) -> tuple[Any, Any]:
    """Two tasks: look what is stale of a stage by now, and run that stage for it, a range after the other."""

    @task(
        task_id=f"stale_{stage}",
        doc_md="Which partitions have to pass this stage again, by what is there now.",
        trigger_rule="none_failed",
    )
    def look(**context):
        from include.governance import staleness
        from include.orchestration import refresh

        found = staleness.find(use_case(case), *_asked(context))
        print(*refresh.told([one for one in found if one.stage == stage]), sep="\n")
        return refresh.conf(found, stage)

    again = RunAgain.partial(
        task_id=stage,
        doc_md="Run the stage for each of them.",
        trigger_dag_id=f"{case}_{stage}",
        max_active_tis_per_dagrun=1,
    )
    looked = look()
    return looked, again.expand(conf=looked)


def still_stale(case: str) -> Any:
    """Say what is stale now: what was published meanwhile has made it so."""

    @task(task_id="report", doc_md=still_stale.__doc__, trigger_rule="none_failed")
    def report(**context):
        from include.governance import staleness
        from include.orchestration import refresh

        print(*refresh.told(staleness.find(use_case(case), *_asked(context))), sep="\n")

    return report()


def _asked(context: Any) -> tuple[date, date]:
    """The first and the last night of a run that may be given either, or neither: all, then."""
    first, last = context["params"].get("from"), context["params"].get("to")
    return date.fromisoformat(first or str(date.min)), date.fromisoformat(last or str(date.max))


# --- publish, to other systems ---


def publish_to(case: str) -> Any:
    """Bring the predictions of these partitions to one target, where it has not got them yet. One fails by itself."""

    @task(task_id="publish", doc_md=publish_to.__doc__, map_index_template="{{ task.op_kwargs['target'] }}")
    def send(target, **context):
        from include.serving import publishing

        asked = context["params"].get("target")
        if asked and publishing.target_of(use_case(case), asked).name != target:
            raise AirflowSkipException(f"this run is for the target {asked}")
        days = of_run(context).shift(use_case(case).horizon_days)
        return publishing.publish(case, target, days.first, days.last, defaults.name_of(context))

    return send.expand(target=[one.name for one in use_case(case).publish])


# --- promote, by persons ---


def _before_approval(case: str, judged: Any) -> Any:
    """``judged``, followed by ``request_approval`` where the spec wants approvals."""
    if use_case(case).promotion.approvals:
        judged >> request_approval(case)
    return judged


def request_approval(case: str) -> Any:
    """Announce a version that the gates let through, and that persons have to approve. Nothing waits for them here."""

    @task(
        task_id="request_approval",
        doc_md=request_approval.__doc__,
        outlets=[assets.approval_request(case)],
        trigger_rule="none_failed",
    )
    def announce(**context):
        from include.ml import approvals

        found = approvals.open_judgement(use_case(case))
        if found is None:
            raise AirflowSkipException("no version was let through that persons were not asked about")
        assets.announce(context, assets.approval_request(case), of_run(context), version=found.model_version)

    return announce()


def ask(case: str) -> Any:
    """Write down what persons are asked: the version, its verdict, the metrics of both, and what it would replace."""

    @task(task_id="ask", doc_md=ask.__doc__)
    def write(params, dag_run, **context):
        from include.ml import approvals, by_person

        version, why, who = params["version"], params["why"], approvals.GATES
        if version is not None:
            who = f"{dag_run.triggering_user_name or 'airflow'} in Airflow"
            if not why:
                raise BadRequestError("a version is promoted by hand with a reason, for the ledger: give `why`")
        found = by_person.ask(case, defaults.name_of(context | {"dag_run": dag_run}), version, who, why)
        if found is None:
            raise AirflowSkipException("no version was let through that persons were not asked about")
        print(f"{found.subject}\n\n{found.body}")
        return {"version": found.model_version, "subject": found.subject}

    return write()


def approvals(case: str) -> list[Approve]:
    """A task for each person who has to approve: none, one, or two after each other."""
    ids = ("approve", "approve_too")[: use_case(case).promotion.approvals]
    docs = ("Ask a person, with what there is to know of the version.", "Ask another person the same.")
    return [Approve(task_id=name, doc_md=docs[n], case=case, place=n + 1) for n, name in enumerate(ids)]


def carry_out(case: str) -> Any:
    """Make the version champion, if it and all else is still what was approved, by as many persons as the spec asks."""

    @task(task_id="promote", doc_md=carry_out.__doc__, outlets=[assets.champion(case)])
    def write(**context):
        from include.ml import by_person

        result = by_person.carry_out(case, defaults.name_of(context))
        require_promoted(result)
        # A run that a person has started has no partition: the version's is what it is told under.
        return _announced(case, result, Partitions.parse(result["partition"]), context)

    return write()
