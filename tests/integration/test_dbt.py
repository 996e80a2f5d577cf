"""dbt's own unit tests, which are beside the logic that they test, on both engines. No table need be there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from include.local.environment import environment
from tests.integration.conftest import Stack

pytestmark = pytest.mark.integration


def test_dbts_unit_tests_pass(stack: Stack, tmp_path: Path) -> None:
    dbt = [str(Path(sys.executable).with_name("dbt")), "test", "--select", "test_type:unit"]
    project = stack.settings.home / "dbt_project"
    folders = {"project-dir": project, "profiles-dir": project, "target-path": tmp_path, "log-path": tmp_path}
    done = subprocess.run(
        [*dbt, *(f"--{name}={folder}" for name, folder in folders.items())],
        env=environment(stack.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    tests = json.loads((tmp_path / "manifest.json").read_text())["unit_tests"]
    passed = [
        one for one in json.loads((tmp_path / "run_results.json").read_text())["results"] if one["status"] == "pass"
    ]
    assert tests
    assert {one["unique_id"] for one in passed} == set(tests)
