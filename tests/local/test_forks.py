"""What config/airflow_local_settings.py does ahead of the tasks leaves nothing behind that a fork would wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# As the fork server and a task after it: dbt has read the project, and in a fork reads it again, as after an edit.
FORKED = """
import os, signal, sys
sys.path.insert(0, "config")
import airflow_local_settings as ahead
ahead._parse_dbt_project()
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
signal.alarm(60)
from dbt.cli.main import dbtRunner
places = ["--project-dir", "dbt_project", "--profiles-dir", "dbt_project", "--target-path", sys.argv[1]]
done = dbtRunner().invoke(["--quiet", "--no-partial-parse", "--log-path", sys.argv[1], "parse", *places])
os._exit(0 if done.success else 1)
"""


def test_dbt_reads_the_project_again_in_a_fork(home: Path) -> None:
    """Its static parser had threads before the fork, and every task that had to read a model waited for them."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(home / "again")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "NOCTURNE_VAR": str(home), "SPARK_REMOTE": "sc://none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "dbt" / "ahead" / "partial_parse.msgpack").exists()
