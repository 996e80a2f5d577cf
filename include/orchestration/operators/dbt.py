"""dbt as an Airflow task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from airflow.sdk import Context
from cosmos import ProfileConfig
from cosmos.operators.local import DbtBuildLocalOperator

from include.core.partitions import of_run
from include.core.settings import settings
from include.lake import candidate, dbt, spark

# Which earlier nights a run is for as well as its own.
Also = Callable[[Context], list[date]]
PROJECT = settings().home / "dbt_project"


class DbtBuild(DbtBuildLocalOperator):
    """``dbt build`` of the models that ``select`` names, for the nights of the run.

    One task, not one a model: a model that failed its tests is named in the log, nothing of the build is published
    either way, and a night has fewer processes to wait for (docs/decisions/dbt-as-one-task.md). ``also`` tells the
    earlier nights to build as well, since something of theirs came late.
    """

    def __init__(self, *, stage: str, also: Also = lambda context: [], **kwargs: Any) -> None:
        super().__init__(
            project_dir=str(PROJECT),
            profile_config=ProfileConfig(
                profile_name="nocturne", target_name="spark", profiles_yml_filepath=PROJECT / "profiles.yml"
            ),
            # Tests of later stages that also look at these models have to wait for theirs.
            indirect_selection="buildable",
            install_deps=False,
            emit_datasets=False,
            # dbt's unit tests are of the code, not of tonight's data: `make test` runs them.
            dbt_cmd_flags=["--exclude-resource-type", "unit_test"],
            append_env=True,
            # Reading the project again each night would take longer than building a day.
            cache_dir=settings().var / "dbt" / "parsed",
            callback=dbt.keep_artifacts,
            **kwargs,
        )
        self.stage = stage
        self.also = also

    def execute(self, context: Context, **kwargs: Any) -> dbt.Build:
        """Returns what the tasks behind it need to know: whichever machine they run on, they are told."""
        # Not on top: a DAG file that names this module must not import Polars.
        from include.lake import commit

        nights, begun = of_run(context), commit.moment()
        suffix, also = candidate.suffix(nights), self.also(context)
        if not self.select:  # of a day without files there is nothing to build
            return dbt.built(nights, also, begun, spark.engine(), suffix, dbt.NOTHING_BUILT)
        left: dict[str, Any] = {}
        self.callback_args = {"stage": self.stage, "left": left}
        self.env = {
            "NOCTURNE_FROM": str(nights.first),
            "NOCTURNE_TO": str(nights.last),
            "NOCTURNE_ALSO": ",".join(map(str, also)),
            "NOCTURNE_CANDIDATE_SUFFIX": suffix,
        }
        try:
            super().execute(context, **kwargs)
        except Exception as error:
            # Cosmos raises one class for all; what a model or a test said, it says again at the next try.
            if broken := dbt.broken(left):
                raise broken from error
            raise
        return dbt.built(nights, also, begun, spark.engine(), suffix, left)
