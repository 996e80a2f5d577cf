"""Predictions, brought to where they are used: a table, files, an API, a topic. One DAG a use case with targets.

**Reads** `gold.<case>__predictions`. **Writes** to each target of the spec (`publish`) what it has not got yet, and a
line of `gold.<case>__published` for it. **Parameters**: `from` and `to` for a range of nights, `target` for one alone.

A target is a mapped task: where one **fails**, the others do not. Run again, it goes on where it was and sends nothing
twice that is known to be there. What is guaranteed of each target: `docs/publish-predictions.md`.
"""

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, dag

from include.contracts.use_case import UseCase
from include.orchestration import assets, defaults, stages
from include.use_cases import use_cases


def publish(case: UseCase) -> DAG:
    @dag(
        dag_id=f"{case.name}_publish",
        schedule=PartitionedAssetTimetable(assets=assets.predictions(case.name)),
        **defaults.DAG,
        params=defaults.PARAMS | {"target": Param(None, type=["null", "string"], title="This target alone")},
        default_args=defaults.DEFAULTS | {"owner": case.owner},
        is_paused_upon_creation=None if case.enabled else True,
        doc_md=__doc__,
        tags=[case.name],
    )
    def recipe() -> None:
        stages.publish_to(case.name)

    return recipe()


for one in use_cases().values():
    if one.publish:
        publish(one)
