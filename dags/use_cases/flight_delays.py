"""Flight delays: which of tomorrow's flights will arrive more than 15 minutes late, or not at all?

Four DAGs. Each listens to the asset that the one before it announces; `flight_delays_train` listens to a request of
the policy. What the tasks do is in `include/orchestration/stages.py`, what the model is in
`include/use_cases/flight_delays/`, the SQL of features and labels in
`dbt_project/models/marts/use_cases/flight_delays/`.
"""

from include.orchestration import assets, stages

CASE = "flight_delays"


@stages.dag(CASE, "features", after=assets.silver("flights"))
def features() -> None:
    """Silver to gold: what is known of tomorrow's flights, and how today's went.

    **Reads** `silver.*`. **Writes** `gold.flight_delays__features` of the day after the partition, whose schedule is
    known, `gold.flight_delays__labels` of the partition's own day, which has just ended, and
    `gold.flight_delays__profiles`; what the feature gate refuses, to `gold.flight_delays__faults`. **Parameters**:
    `from` and `to` for a range.

    **Waits** for the partitions of its look-back that are on their way, without a worker. **Fails** at once, naming the
    partition, where one of them has failed or has not landed; and where a model, a test or an expectation of the
    feature gate does. Nothing is published then.
    """
    build = stages.build(CASE)
    built = build.output
    stages.history(CASE) >> build >> stages.audit(CASE, built) >> stages.publish(CASE, built) >> stages.discard(built)


@stages.dag(CASE, "predict", after=assets.features(CASE))
def predict() -> None:
    """Score the flights of the day after the partition with the champion of that day.

    **Reads** `gold.flight_delays__features` and the deployment ledger. **Writes** `gold.flight_delays__predictions`,
    each flight once, with the model's version; a rerun replaces. **Parameters**: `from` and `to` for a range.

    **Skips** where the ledger names no champion for the day: train one first. Of a range, the days before the first
    champion are left out.
    """
    stages.score(CASE)


@stages.dag(CASE, "monitor", after=assets.predictions(CASE))
def monitor() -> None:
    """Watch the champion: measure what became known in the partition, sense drift, decide whether to retrain.

    **Reads** predictions, labels, features and the champion's training reference. **Writes**
    `gold.flight_delays__monitoring` and `gold.flight_delays__decisions`, one decision a night, also when it is
    "no". **Parameters**: `from` and `to` for a range, whose nights get a decision each.

    The sensors are green where they fired and skipped where all is quiet, of a range in its last night.
    `request_retraining` is green where the policy decided "yes", which starts `flight_delays_train`, and skipped where
    it decided "no"; its log says why. `look_again` is green where a version that waited, or was rolled out, became
    champion, and skipped where it is refused, rolled back or goes on.
    """
    sensors = [stages.sensor(CASE, name) for name in ("input_drift", "prediction_drift", "quality")]
    looks = [*sensors, stages.look_again(CASE)]
    stages.window(CASE) >> stages.measure(CASE) >> looks >> stages.request_retraining(CASE)


@stages.dag(CASE, "train", after=assets.retrain_request(CASE))
def train() -> None:
    """Train a challenger on everything known by the partition, and promote it if it passes its gates.

    **Reads** `gold.flight_delays__features` and `__labels` up to the partition. **Writes** a version of the model
    `flight_delays` in MLflow, alias `challenger`, lines of `gold.flight_delays__trainings` and `__judgements`, and if
    it is promoted, alias `champion` and a line of `gold.flight_delays__deployments` that says from which day on. It
    then scores the days that have waited for a champion, which are monitored. `promote` is skipped where the version
    is refused, or waits for more days with labels.

    Runs when the policy requests a retraining. The first champion is trained by hand: *Trigger* with the partition key
    or `to` set to the last day to learn from. Training twice for one partition makes one version.
    """
    stages.score_waiting(CASE, stages.promote(CASE, stages.train(CASE)))


features()
predict()
monitor()
train()
