"""The pages that are made of dbt's project and of specs, and how fresh what they describe is."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from include.core.settings import settings


def docs(given: argparse.Namespace) -> int:
    """Build dbt's pages, also where nothing has changed. Raises DocsFailedError."""
    from include.governance import docs

    docs.refresh(force=True)
    print(f"{docs.page()}\n{settings().airflow_link}/plugin/dbt-docs")
    return 0


def catalogue(given: argparse.Namespace) -> int:
    """Write the pages of sources, features, settings and DAGs, and what dbt reads of sources. Raises BlankError."""
    from include.features import catalogue as features
    from include.governance import catalogue as sources
    from include.governance import reference
    from include.orchestration import catalogue as dags

    for path in [*sources.write(), *features.write(), *reference.write(), *dags.write()]:
        print(path.relative_to(settings().home))
    return 0


def freshness(given: argparse.Namespace) -> int:
    """dbt's own exit code: 0 where each feed is as fresh as its objective, 1 where one is not."""
    project, target = settings().home / "dbt_project", settings().var / "dbt" / "freshness"
    argv = [str(Path(sys.executable).with_name("dbt")), "source", "freshness"]
    argv += ["--project-dir", str(project), "--profiles-dir", str(project)]
    argv += ["--target-path", str(target), "--log-path", str(target)]
    return subprocess.run(argv, check=False).returncode  # noqa: S603  # dbt, on folders of ours
