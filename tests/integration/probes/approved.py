"""For tests of the stack: small use cases whose versions persons have to approve, with the project's own recipes.

**Reads** tables that the test makes. **Writes** what trainings and approvals write.
"""

import runpy
from pathlib import Path

import include.use_cases
from include.contracts.use_case import Promotion
from include.orchestration import assets, stages
from tests.ml.conftest import toy_case

SECONDS = 60
CASES = {
    name: toy_case(name=name, promotion=promotion)
    for name, promotion in {
        "probe_both": Promotion(approvals=2, approvers=("admin", "ann")),
        "probe_no": Promotion(approvals=1),
        "probe_nobody": Promotion(approvals=1, approvers=("eve",), approval_hours=SECONDS / 3600),
    }.items()
}


def train() -> None:
    stages.score_waiting("probe_both", stages.promote("probe_both", stages.train("probe_both")))


if __name__.startswith("unusual_prefix"):  # as Airflow names it, in a process of its own; the test imports it too
    include.use_cases.use_cases = lambda: CASES
    stages.dag("probe_both", "train", after=assets.retrain_request("probe_both"))(train)()
    runpy.run_path(str(Path(__file__).resolve().parents[3] / "dags" / "promote.py"))
