"""dbt's own pages: every model and column, what they are made of, and the graph of it all, in one file.

``make docs`` builds them; the transform does at the end of a run where models or tables have changed. Airflow's menu
opens them (``include/web/pages.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from include.core.errors import NocturneError
from include.core.locks import alone
from include.core.settings import settings
from include.core.storage import put

if TYPE_CHECKING:
    from upath import UPath

# What dbt itself writes into a project, and what says nothing about its models.
NOT_THE_PROJECT = {"target", "logs", "dbt_packages"}


class DocsFailedError(NocturneError):
    """dbt could not build its pages. The earlier ones stay."""


def folder() -> UPath:
    """Where the pages are. Of several machines one builds them and another shows them: there they are in the lake."""
    here = settings()
    return here.lake / "dbt" / "docs" if here.lease_connection else here.place(str(_workshop()))


def _workshop() -> Path:
    """Where they are built."""
    return settings().var / "dbt" / "docs"


def page() -> UPath:
    """The pages: one file that needs nothing else. It is missing until they are built for the first time."""
    return folder() / "index.html"


def fingerprint() -> str:
    """sha256 of what the pages show: the project's files, and the columns of the lake's tables."""
    from include.lake import usage  # Polars, which Airflow's web server, that asks for the page, does without

    project = settings().home / "dbt_project"
    digest = hashlib.sha256()
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if path.is_file() and inside.parts[0] not in NOT_THE_PROJECT:
            digest.update(f"{inside}\0".encode() + path.read_bytes())
    for table in usage.tables():
        digest.update(f"{table}\0{usage.opened(table).schema().to_json()}".encode())
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[UPath]:
    """One build at a time on a machine; a second waits. Gives the file with the fingerprint of the last one."""
    with alone(_workshop() / ".lock"):
        yield folder() / "fingerprint"


def refresh(force: bool = False) -> bool:
    """Build the pages, unless they show what is there already. Returns whether they were built.

    Raises DocsFailedError.
    """
    now = fingerprint()
    with _alone() as built:
        if not force and page().exists() and built.exists() and built.read_text() == now:
            return False
        _build()
        put(built, now)
    return True


def _build() -> None:
    from dbt.cli.main import dbtRunner

    project, target = settings().home / "dbt_project", _workshop() / "target"
    arguments = ["--quiet", "docs", "generate", "--static"]
    arguments += ["--project-dir", str(project), "--profiles-dir", str(project)]
    # A target of its own: what a build of models parsed stays there for the next one.
    arguments += ["--target-path", str(target), "--log-path", str(settings().log / "dbt")]
    done = dbtRunner().invoke(arguments)
    if not done.success:
        raise DocsFailedError(f"dbt docs generate failed, see {settings().log / 'dbt' / 'dbt.log'}: {done.exception}")
    # Into place in one step: nobody is ever shown half a page.
    page().parent.mkdir(parents=True, exist_ok=True)
    put(page(), (target / "static_index.html").read_text())
