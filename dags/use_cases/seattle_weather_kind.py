"""Of which kind will tomorrow's weather be in Seattle?

Four DAGs. Each listens to the asset that the one before it announces. What the tasks do is in
`include/orchestration/stages.py`, what the model is in
`include/use_cases/seattle_weather_kind/`, the SQL of features and labels in
`dbt_project/models/marts/use_cases/seattle_weather_kind/`.
"""

from include.orchestration import assets, stages

CASE = "seattle_weather_kind"


@stages.dag(CASE, "features", after=assets.silver("seattle_weather"))
def features() -> None:
    """Silver to gold: what is known of the event date after the partition, and the labels that have become known.

    **Reads** `silver.*`. **Writes** `gold.<case>__features` and `gold.<case>__labels`. **Parameters**: `from` and `to`
    for a range.

    **Waits** for the partitions of its look-back that are on their way, without a worker. **Fails** at once, naming the
    partition, where one of them has failed or has not landed; and where a model, a test or an expectation of the
    feature gate does. Nothing is published then.
    """
    build = stages.build(CASE)
    built = build.output
    stages.history(CASE) >> build >> stages.audit(CASE, built) >> stages.publish(CASE, built) >> stages.discard(built)


@stages.dag(CASE, "predict", after=assets.features(CASE))
def predict() -> None:
    """Score the event date after the partition with the champion of that day.

    **Reads** `gold.<case>__features` and the deployment ledger. **Writes** `gold.<case>__predictions`, each entity
    once, with the model's version; a rerun replaces. **Parameters**: `from` and `to` for a range.

    **Skips** where the ledger names no champion for the day: train one first.
    """
    stages.score(CASE)


@stages.dag(CASE, "monitor", after=assets.predictions(CASE))
def monitor() -> None:
    """Watch the champion: measure what became known in the partition, sense drift, decide whether to retrain.

    **Reads** predictions, labels, features and the champion's training reference. **Writes** `gold.<case>__monitoring`
    and `gold.<case>__decisions`. **Parameters**: `from` and `to` for a range, which gets one decision.

    The sensors are green where they fired and skipped where all is quiet. `request_retraining` is green where the
    policy decided "yes", which starts `<case>_train`, and skipped where it decided "no"; its log says why.
    """
    sensors = [stages.sensor(CASE, name) for name in ("input_drift", "prediction_drift", "quality")]
    stages.window(CASE) >> stages.measure(CASE) >> sensors >> stages.request_retraining(CASE)


@stages.dag(CASE, "train", after=assets.retrain_request(CASE))
def train() -> None:
    """Train a challenger on everything known by the partition, and promote it if it passes its gates.

    **Reads** `gold.<case>__features` and `gold.<case>__labels`. **Writes** a version of the model in MLflow, and if it
    is promoted, a row in `gold.<case>__deployments` that says from which day on.

    Runs when the policy requests a retraining. The first champion is trained by hand: *Trigger* with the partition key
    or `to` set to the last day to learn from. Training twice for one partition makes one version.
    """
    stages.promote(CASE, stages.train(CASE))


features()
predict()
monitor()
train()
