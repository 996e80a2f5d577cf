"""The services: set up, start, look at, stop, and run something beside them."""

import argparse
import sys
import time
from datetime import UTC, datetime

from rich.table import Table

from include.cli.console import console, say
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.roles import AIRFLOW_USER
from include.core.settings import MLFLOW_USER, Settings, settings
from include.local import clean as cleaning
from include.local import control
from include.local.checks import InstallationError
from include.local.environment import become
from include.local.health import WELL

FEW = 3
"""So many incidents are shown beside the services; `make incidents` shows all."""


def run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--also", default="", help="use cases to show as well, as 'weather_temperature …'")


def run(given: argparse.Namespace) -> int:
    """Start the services, unless they are elsewhere, and become the demonstration: a program of its own."""
    if not settings().airflow_remote:
        start(quiet=False)
    become([sys.executable, "-m", "examples", *given.also.split()], settings())


def setup(given: argparse.Namespace) -> int:
    from include.local.setup import set_up

    set_up(settings(), say)
    return 0


def up_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--quiet", "no addresses at the end")
    flag(parser, "--take-lake", "write a lake that another installation has written")


def up(given: argparse.Namespace) -> int:
    start(quiet=given.quiet, take_lake=given.take_lake)
    return 0


def start(*, quiet: bool, take_lake: bool = False) -> None:
    """Set up, start, wait for health and, unless ``quiet``, say where the services are."""
    begun = time.monotonic()
    control.up(settings(), say, take_lake=take_lake)
    if not quiet:
        say(f"all services are healthy ({time.monotonic() - begun:.0f} s)")
        addresses(settings())


def addresses(of: Settings) -> None:
    """Where to look, as whom, and which file has the password. Never the password itself: consoles are logged."""
    console.print(
        f"  Airflow  {of.airflow_link}  user {AIRFLOW_USER}, password: cat {of.secrets}/airflow_admin_password"
    )
    console.print(f"  MLflow   {of.mlflow_link}  user {MLFLOW_USER}, password: cat {of.secrets}/mlflow_admin_password")
    console.print(f"  Spark    {of.spark_url}")


def upgrade_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--dry-run", "say which tables would change, and do nothing")


def upgrade(given: argparse.Namespace) -> int:
    """Stop, bring all that an earlier release made to this one, start."""
    if given.dry_run:
        control.bring_lake_forward(settings(), say, dry_run=True)
        return 0
    control.down(settings(), say)
    control.up(settings(), say)
    say("all is of this release, and healthy")
    return 0


def down(given: argparse.Namespace) -> int:
    control.down(settings(), say)
    return 0


def foreground(given: argparse.Namespace) -> int:
    """Start, show what the services write until a signal comes, stop."""
    from include.local.foreground import foreground as run

    return run(settings(), say, lambda: addresses(settings()))


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", help="api-server, scheduler, dag-processor, triggerer, worker, mlflow or spark")


def serve(given: argparse.Namespace) -> int:
    """Become one service, with its own environment and only its secrets; what it lacks is a line each."""
    from include.local.serve import serve as become_one

    become_one(settings(), given.service)
    raise AssertionError("a service that has started does not come back")


def init(given: argparse.Namespace) -> int:
    """Make what all services share, and bring it forward."""
    from include.local.serve import init as make

    make(settings(), say)
    return 0


def status_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--quiet", "no table: what is not healthy, in a line; exit code 0 or 1")


def status(given: argparse.Namespace) -> int:
    """Print one row a service. 0 when all are healthy, 1 when some are not, 3 when nothing runs."""
    return quiet_status(settings()) if given.quiet else show_status(settings())


def show_status(of: Settings) -> int:
    """The table of ``status``, what failed last, and which nights wait."""
    from include.local.supervisor import Supervisor

    try:
        rows = control.status(of)
    except (ConnectionError, FileNotFoundError):
        console.print("nothing runs: `make up` starts the services")
        return 3
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("service", "state", "health", "pid", "up", "memory", "address"):
        table.add_column(name, justify="right" if name in ("pid", "up", "memory") else "left")
    for row in rows:
        health = row.health if row.health == WELL else f"[red]{row.health}[/red]"
        pid, alive = str(row.pid or ""), f"{row.up:.0f} s" if row.pid else ""
        table.add_row(row.service, row.state, health, pid, alive, f"{row.memory / 2**20:.0f} MiB", row.url)
    table.add_row("together", "", "", "", "", f"{sum(row.memory for row in rows) / 2**20:.0f} MiB", "")
    console.print(table)
    if line := control.given_up(Supervisor(of).services(), of):
        console.print(f"[red]{line}[/red]; `make up` tries again")
    show_nights(of)
    return 0 if all(row.health == WELL for row in rows) else 1


def quiet_status(of: Settings) -> int:
    """Print what is not healthy, in one line. 0 when all are, else 1: what an engine of containers asks for."""
    try:
        ill = control.ill(of)
    except (ConnectionError, FileNotFoundError):
        ill = ["nothing runs"]
    if ill:
        console.print(", ".join(ill), markup=False)
    return 1 if ill else 0


def show_nights(of: Settings) -> None:
    """Print what is wrong, and the nights that have landed and are not through.

    The lake is read for that, which nobody waits for before something has landed.
    """
    if (of.lake / "ledger" / "incidents").exists():
        from include.cli.incidents import show
        from include.orchestration import incidents

        for incident in [one for one in incidents.open_incidents().values() if one.told_at][:FEW]:
            show(incident)
    if of.landing.exists() and any(of.landing.iterdir()):
        from include.orchestration import catch_up
        from include.sources import sources

        for line in catch_up.told(sources().values(), datetime.now(UTC))[:10]:
            console.print(line, markup=False)


def clean_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--yes", "do it; else it is only said what would go")


def clean(given: argparse.Namespace) -> int:
    """Stop and remove all state. Without a yes, list what would go and raise InstallationError."""
    if given.yes:
        control.clean(settings(), say)
        return 0
    for line in cleaning.plan(settings()):
        console.print(line)
    raise InstallationError(
        f"this would stop the services and remove {settings().var}: `make clean CONFIRM=yes` does it"
    )


def execute_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command ...", help="the command, behind a --")


def execute(given: argparse.Namespace) -> int:
    """Become a command in the environment that the services have."""
    argv = given.argv[1:] if given.argv[:1] == ["--"] else given.argv
    if not argv:
        raise BadRequestError("exec needs a command, as in: exec -- airflow dags list")
    become(argv, settings())
