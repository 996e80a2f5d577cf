"""The cluster of docker/compose.cluster.yaml: start, stop, look at."""

import argparse

from rich.table import Table

from include.cli.console import console, say
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.settings import settings
from include.local import cluster


def up_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="localhost", help="by which name people reach this machine")
    flag(parser, "--gpu", "give the worker of the queue gpu a GPU")


def up(given: argparse.Namespace) -> int:
    """Build, start and wait; then say where the pages are."""
    from include.ml.code import UNKNOWN, code_state

    code = code_state(settings().home)
    commit = "" if code.dirty or code.commit == UNKNOWN else code.commit
    if made := cluster.up(settings(), host=given.name, gpu=given.gpu, commit=commit):
        say(f"secrets in {cluster.secrets_folder(settings())}: {', '.join(made)}")
    if line := cluster.certificate_problem(settings()):
        say(line)
    say("all services are healthy; docs/cluster.md says where they are")
    return 0


def down(given: argparse.Namespace) -> int:
    cluster.down(settings())
    return 0


def status(given: argparse.Namespace) -> int:
    """Print one row a container. 0 when all are well, 1 when some are not, 3 when nothing runs."""
    rows = cluster.status(settings())
    if not rows:
        console.print("nothing runs: `make cluster-up` starts the cluster")
        return 3
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("service", "state", "health"):
        table.add_column(name)
    for row in rows:
        state = f"{row.state} ({row.exit_code})" if row.state == "exited" else row.state
        table.add_row(row.name, state, row.health if row.well else f"[red]{row.health or 'not well'}[/red]")
    console.print(table)
    if line := cluster.certificate_problem(settings()):
        console.print(f"[red]{line}[/red]")
    return 0 if all(row.well for row in rows) else 1


def do_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command ...", help="one of these commands")


def do(given: argparse.Namespace) -> int:
    """Carry out a command of this program beside the cluster's services. Its exit code is 0 where the command's is."""
    argv = given.argv[1:] if given.argv[:1] == ["--"] else given.argv
    if not argv:
        raise BadRequestError("cluster-do needs a command, as in: cluster-do verify")
    cluster.do(settings(), argv)
    return 0
