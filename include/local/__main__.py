"""``python -m include.local setup|up|foreground|down|status|clean|exec``: the services from the command line."""

import argparse
import os
import sys
import time
from collections.abc import Set
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from include.core.settings import Settings, settings
from include.local import clean, control
from include.local.checks import InstallationError, denied_problem, full_disk_problem
from include.local.environment import AIRFLOW_USER, CLIENT_SECRETS, FERNET_KEY, MLFLOW_USER, environment
from include.local.foreground import foreground
from include.local.health import WELL
from include.local.setup import set_up
from include.local.supervisor import Supervisor

console = Console(highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line of progress."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {line}")


def addresses(settings: Settings) -> None:
    """Where to look, as whom, and which file has the password. Never the password itself: consoles are logged."""
    secret = settings.secrets
    console.print(
        f"  Airflow  {settings.airflow_url}  user {AIRFLOW_USER}, password: cat {secret}/airflow_admin_password"
    )
    console.print(f"  MLflow   {settings.mlflow_url}  user {MLFLOW_USER}, password: cat {secret}/mlflow_admin_password")
    console.print(f"  Spark    {settings.spark_url}")


def show_status(settings: Settings) -> int:
    """Print one row a service. 0 when all are healthy, 1 when some are not, 3 when nothing runs."""
    try:
        rows = control.status(settings)
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
    if line := control.given_up(Supervisor(settings).services(), settings):
        console.print(f"[red]{line}[/red]; `make up` tries again")
    show_nights(settings)
    return 0 if all(row.health == WELL for row in rows) else 1


def quiet_status(settings: Settings) -> int:
    """Print what is not healthy, in one line. 0 when all are, else 1: what an engine of containers asks for."""
    try:
        ill = control.ill(settings)
    except (ConnectionError, FileNotFoundError):
        ill = ["nothing runs"]
    if ill:
        console.print(", ".join(ill), markup=False)
    return 1 if ill else 0


def show_nights(settings: Settings) -> None:
    """Print what failed last, and the nights that have landed and are not through."""
    if not settings.alerts.exists() and not settings.landing.exists():
        return
    from include.orchestration import alerts, catch_up
    from include.sources import sources

    for alert in alerts.told()[-3:]:
        console.print(f"{alert['at']} {alerts.text(alert)}", markup=False)
    for line in catch_up.told(sources().values(), datetime.now(UTC))[:10]:
        console.print(line, markup=False)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="make everything that must exist before the first start")
    start = commands.add_parser("up", help="set up, start, wait for health")
    start.add_argument("--quiet", action="store_true", help="no addresses at the end")
    start.add_argument("--take-lake", action="store_true", help="write a lake that another installation has written")
    upgrade = commands.add_parser("upgrade", help="stop, bring all that an earlier release made to this one, start")
    upgrade.add_argument("--dry-run", action="store_true", help="say which tables would change, and do nothing")
    commands.add_parser("down", help="stop, leave no process")
    commands.add_parser("foreground", help="start, show what the services write until a signal comes, stop")
    status = commands.add_parser("status", help="a row for each service; exit 0 healthy, 1 not, 3 nothing runs")
    status.add_argument("--quiet", action="store_true", help="no table: what is not healthy, in a line; exit 0 or 1")
    commands.add_parser("clean", help="stop and remove all state").add_argument("--yes", action="store_true")
    execute = commands.add_parser("exec", help="run a command in the environment that the services have")
    execute.add_argument("argv", nargs=argparse.REMAINDER)
    return result


def of_command(argv: list[str]) -> Set[str]:
    """The secrets for a command: Airflow's own also reads and writes connections, which are encrypted."""
    is_airflow = Path(argv[0]).name == "airflow" or argv[1:3] == ["-m", "airflow"]
    return CLIENT_SECRETS | {FERNET_KEY} if is_airflow else CLIENT_SECRETS


def start(settings: Settings, *, take_lake: bool, quiet: bool) -> None:
    """Start the services and, unless ``quiet``, say where they are."""
    begun = time.monotonic()
    control.up(settings, say, take_lake=take_lake)
    if not quiet:
        say(f"all services are healthy ({time.monotonic() - begun:.0f} s)")
        addresses(settings)


def refuse_to_clean(settings: Settings) -> NoReturn:
    """Say what would be removed, and that nobody has confirmed it."""
    for line in clean.plan(settings):
        console.print(line)
    raise InstallationError(f"this would stop the services and remove {settings.var}: `make clean CONFIRM=yes` does it")


def execute(argv: list[str], settings: Settings) -> NoReturn:
    """Become the command ``argv``, which a ``--`` may come before, in the environment that the services have."""
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise InstallationError("exec needs a command")
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environment(settings, of_command(argv)))  # noqa: S606  # who asks for a shell names one


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do one command; the exit code."""
    match arguments.command:
        case "setup":
            set_up(settings, say)
        case "up":
            start(settings, take_lake=arguments.take_lake, quiet=arguments.quiet)
        case "upgrade" if arguments.dry_run:
            control.bring_lake_forward(settings, say, dry_run=True)
        case "upgrade":
            control.down(settings, say)
            control.up(settings, say)
            say("all is of this release, and healthy")
        case "down":
            control.down(settings, say)
        case "foreground":
            return foreground(settings, say, lambda: addresses(settings))
        case "status" if arguments.quiet:
            return quiet_status(settings)
        case "status":
            return show_status(settings)
        case "clean" if arguments.yes:
            control.clean(settings, say)
        case "clean":
            refuse_to_clean(settings)
        case "exec":
            execute(arguments.argv, settings)
    return 0


def main() -> int:
    """Every expected failure is one line on standard error and exit code 1."""
    try:
        return run(parser().parse_args(), settings())
    except (InstallationError, FileNotFoundError) as problem:
        print(f"nocturne: {problem}", file=sys.stderr)
    except OSError as error:
        line = full_disk_problem(error) or denied_problem(error)
        if line is None:
            raise
        print(f"nocturne: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
