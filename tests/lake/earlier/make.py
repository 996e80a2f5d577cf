"""Makes a lake as an earlier commit of this repository made it: how the archives beside this file came to be.

    git worktree add /tmp/earlier <commit>
    cd /tmp/earlier && export PYTHONPATH=$PWD NOCTURNE_VAR=/tmp/made
    <clone>/.venv/bin/python <clone>/tests/lake/earlier/make.py
    tar -C /tmp/made -cJf <clone>/tests/lake/earlier/<name>.tar.xz lake landing

Two nights of four flights each go through that commit's own ingestion, dbt project and publishing, on a Spark inside
this process. `day_alone.tar.xz` is of 31d2bd6^, the last commit whose bronze was partitioned by day alone;
`day_and_night.tar.xz` of 31d2bd6, the first commit of the layout of now.
"""

import json
import os
import shlex
import shutil
from typing import Any

from include.services import jars
from include.services.programs import spark_configuration
from include.settings import settings

ROWS = 4
DAY = {"schedule": "flight_date", "actuals": "flight_date", "weather": "weather_date"}


def start_spark() -> Any:
    """A classic session with a catalogue in memory, which the code under test gets for its Spark Connect session."""
    from pyspark.sql import SparkSession

    here = settings()
    for path in (here.var / "spark" / "tmp", here.log):
        path.mkdir(parents=True, exist_ok=True)
    jars.fetch(here)
    configuration = spark_configuration(here) | {
        "spark.sql.catalogImplementation": "in-memory",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.adaptive.enabled": "false",
    }
    arguments = ["--master", "local[1]"]
    for name, value in configuration.items():
        arguments += ["--conf", f"{name}={value}"]
    os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join([*arguments, "pyspark-shell"])
    return SparkSession.builder.getOrCreate()


def land(nights: Any) -> None:
    """The demonstration's files of ``nights``, each cut after a few rows."""
    from demo import replay

    shutil.rmtree(settings().landing, ignore_errors=True)
    replay.replay(settings().landing, nights, with_dimensions=True)
    for path in settings().landing.rglob("*.csv"):
        lines = path.read_text().splitlines(keepends=True)
        # a register that lacks the aircraft is no register
        path.write_text("".join(lines[: 1 + ROWS]))


def ingest(source: Any, nights: Any) -> None:
    from include.sources import ingest, landing

    plan = landing.plan(source, nights)
    candidates = ingest.load(source, nights, plan)
    audited = ingest.audit(source, nights, plan, candidates)
    ingest.publish_all(source, plan, candidates, audited)


def build(stage: str, nights: Any, select: list[str]) -> None:
    """What the task ``build`` of a DAG does, and the one after it."""
    from dbt.cli.main import dbtRunner

    from include.lake import candidate, dbt

    suffix, target = candidate.suffix(nights), settings().var / "dbt" / "target"
    os.environ |= {
        "NOCTURNE_FROM": str(nights.first),
        "NOCTURNE_TO": str(nights.last),
        "NOCTURNE_CANDIDATE_SUFFIX": suffix,
    }
    here = {"type": "spark", "method": "session", "host": "here", "schema": "silver", "threads": 1}
    profile = {"nocturne": {"target": "spark", "outputs": {"spark": here}}}
    (settings().var / "profiles.yml").write_text(json.dumps(profile))  # which names no Spark server
    where = ["--project-dir", "dbt_project", "--profiles-dir", str(settings().var), "--target-path", str(target)]
    done = dbtRunner().invoke(["run", *where, "--threads", "1", "--select", *select])
    assert done.success, done.exception
    folder = dbt.artifacts(stage)
    folder.mkdir(parents=True, exist_ok=True)
    for name in dbt.ARTIFACTS:
        shutil.copyfile(target / name, folder / name)
    (folder / dbt.BUILD).write_text(json.dumps({"nights": nights.key, "also": [], "suffix": suffix}))
    dbt.publish_built(stage, nights)


def main() -> None:
    session = start_spark()
    from include.partitions import Partitions

    from include.lake import spark as lake
    from include.sources import sources

    lake.session = lambda: session
    source = sources()["flights"]
    nights = [Partitions.parse(day) for day in ("2013-06-01", "2013-06-02")]
    land(Partitions.parse("2013-06-01..2013-06-02"))
    lake.create_layers(session)
    for night in nights:
        ingest(source, night)
        feeds = [f"source:flights.{feed.name}+,marts.core" for feed in source.feeds]
        build("lakehouse_transform_flights", night, feeds if night is nights[0] else feeds[:3])
    for night in nights:
        build("flight_delays_features", night, ["marts.flight_delays"])


if __name__ == "__main__":
    main()
