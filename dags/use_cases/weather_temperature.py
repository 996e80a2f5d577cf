"""Weather: how much warmer will tomorrow be than today, at each of New York's airports?

Four DAGs. Each listens to the asset that the one before it announces. What the tasks do is in
`include/orchestration/stages.py`, what the model is in
`include/use_cases/weather_temperature/`, the SQL of features and labels in
`dbt_project/models/marts/use_cases/weather_temperature/`.
"""

from include.orchestration import assets, stages

CASE = "weather_temperature"


@stages.dag(CASE, "features", after=assets.silver("flights"))
def features() -> None:
    build = stages.build(CASE)
    built = build.output
    stages.history(CASE) >> build >> stages.audit(CASE, built) >> stages.publish(CASE, built) >> stages.discard(built)


@stages.dag(CASE, "predict", after=assets.features(CASE))
def predict() -> None:
    stages.score(CASE)


@stages.dag(CASE, "monitor", after=assets.predictions(CASE))
def monitor() -> None:
    sensors = [stages.sensor(CASE, name) for name in ("input_drift", "prediction_drift", "quality")]
    looks = [*sensors, stages.look_again(CASE)]
    stages.window(CASE) >> stages.measure(CASE) >> looks >> stages.request_retraining(CASE)


@stages.dag(CASE, "train", after=assets.retrain_request(CASE))
def train() -> None:
    stages.score_waiting(CASE, stages.promote(CASE, stages.train(CASE)))


features()
predict()
monitor()
train()
