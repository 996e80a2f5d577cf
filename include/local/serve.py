"""One service in the foreground, as a container has it (``nocturne serve``), and what all of them share (``init``).

Nothing is made here that another machine would have to see: a service that lacks something says so and ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from include.core.errors import NeedsAttentionError
from include.core.settings import EMBEDDED, Settings
from include.local import control, setup, shared
from include.local.checks import make_bucket
from include.local.credentials import private_folder, write_passwords, write_private
from include.local.doors import check_container, check_host
from include.local.launch import become_service
from include.local.programs import Program, program
from include.local.ready import problems

Progress = Callable[[str], None]


class NotReadyError(NeedsAttentionError):
    """A service lacks something. A line each."""


def serve(settings: Settings, name: str) -> None:
    """Become the service ``name``. Raises BadRequestError for one that there is not, NotReadyError and
    InstallationError where it lacks something; nothing was started then.
    """
    check_host(settings)
    check_container(settings)
    its = program(settings, name)
    if lines := problems(settings, its):
        raise NotReadyError(f"{name} is not started: " + f"\nnocturne serve: {name} is not started: ".join(lines))
    os.umask(0o077)
    own_files(settings, its)
    become_service(settings, its, before=lambda: register(settings) if name == "spark" else None)


def own_files(settings: Settings, its: Program) -> None:
    """The folders that a service writes, and the files that it reads its secrets from."""
    for path in (settings.run, settings.log, settings.secrets, its.folder):
        private_folder(path)
    for path in (settings.var / "spark" / "tmp", settings.var / "openlineage"):
        path.mkdir(parents=True, exist_ok=True)
    if its.name == "api-server":
        write_passwords(settings)
    if its.name == "mlflow":
        write_private(its.folder / "basic_auth.ini", setup.mlflow_auth(settings))
    if its.name == "spark":
        for path in its.hidden:
            private_folder(path)
        if key := settings.given("pseudonym_key"):
            write_private(settings.secrets / "pseudonym_key", key + "\n")


def register(settings: Settings) -> None:
    """Have Apache Spark's catalogue, which a new container has not, know the lake's tables once the server answers."""
    if settings.engine == EMBEDDED:
        return
    from include.local.environment import environment

    subprocess.Popen(  # a module of ours, which ends by itself
        [sys.executable, "-m", "include.local.register"],
        env=environment(settings.model_copy(update={"spark_remote": ""}), frozenset({"SPARK_REMOTE"}), ("AWS_",)),
        cwd=settings.home,
        stdin=subprocess.DEVNULL,
    )


def init(settings: Settings, progress: Progress) -> None:
    """Make what all services share, and bring it forward. Two at once end as one, and a second call finds all done.

    Raises InstallationError, DatabaseError and NotSetUpError, in a line, where something is missing.
    """
    shared.check_given(settings)
    for uri in (settings.lake_uri, settings.landing_uri, settings.model_store):
        if uri.startswith("s3://") and make_bucket(settings.place(uri)):
            progress(f"the bucket of {uri}")
    setup.set_up(settings, progress)
    control.bring_lake_forward(settings, progress)
    progress("all that the services share is there, and of this release")
