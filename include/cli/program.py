"""How a command is found, its options are read, and an error is told: what every command has in common.

The commands themselves are the table in ``include/cli/__main__.py``. Whatever a command imports is imported when that
command is called: ``status`` does not wait for Spark.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib import import_module
from typing import NoReturn

from pydantic import ValidationError

from include.core.errors import BadRequestError, NocturneError
from include.core.settings import settings
from include.local.checks import InstallationError, denied_problem, full_disk_problem
from include.local.environment import become, is_inside

PROGRAM = "nocturne"
WELL, FAILED, NO_SENSE, INTERRUPTED = 0, 1, 2, 130
# A service that is down, by the classes of its clients' errors: importing them for comparison takes seconds.
OF_SERVICES = {"httpx.HTTPError", "mlflow.MlflowException"}


class Needs(Enum):
    """What has to be there before a command runs."""

    NOTHING = "nothing"
    ENVIRONMENT = "the environment of the installation"
    SERVICES = "that, and the services"


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: as it is typed behind ``nocturne``, and behind ``make``.
        help: what it does, in a line.
        run: ``<module>:<function>``, which takes what was given (argparse.Namespace) and returns the exit code. Beside
            it ``<function>_arguments`` adds the options to a parser, where there are any.
        example: options as somebody would give them.
    """

    name: str
    help: str
    run: str
    example: str = ""
    needs: Needs = Needs.NOTHING


def for_make(command: Command) -> str:
    """The example as make takes it: ``--from 2013-06-01 --at-once`` is ``from=2013-06-01 at_once=1``.

    Another command is nothing that make takes: then it is the example of ``nocturne``.
    """
    if command.example.startswith("-- "):
        return f"{PROGRAM} {command.name} {command.example}"
    words: list[str] = []
    for word in shlex.split(command.example):
        if word.startswith("--"):
            words.append(f"{word[2:].replace('-', '_')}=1")
        else:
            words[-1] = words[-1].removesuffix("1") + shlex.quote(word)
    return " ".join(["make", command.name, *words])


def functions(command: Command) -> tuple[Callable[[argparse.Namespace], int], Callable[[Parser], None]]:
    """What runs the command, and what adds its options: nothing, where its module does not have that."""
    module, name = command.run.split(":")
    there = import_module(module)
    return getattr(there, name), getattr(there, f"{name}_arguments", lambda parser: None)


def near(word: str, known: Iterable[str]) -> str:
    """`` Did you mean …?`` where something known is spelled nearly as ``word`` is; empty where nothing is."""
    found = get_close_matches(word, list(known), n=2, cutoff=0.7)
    return f" Did you mean {' or '.join(found)}?" if found else ""


class Parser(argparse.ArgumentParser):
    """The options of one command. A mistake is one line, with what is near and an example for make."""

    def __init__(self, command: Command) -> None:
        examples = dict.fromkeys([f"{PROGRAM} {command.name} {command.example}".rstrip(), for_make(command)])
        self.told = f"As in: {for_make(command)}" if command.example else ""
        super().__init__(
            prog=f"{PROGRAM} {command.name}",
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog="\n  ".join(["example:", *examples]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _, add_arguments = functions(command)
        add_arguments(self)

    def error(self, message: str) -> NoReturn:
        self.exit(NO_SENSE, " ".join(filter(None, (f"{self.prog}: {message}.", self.told))) + "\n")

    def names(self) -> list[str]:
        """Every option, as ``--from``."""
        return [name for action in self._actions for name in action.option_strings]

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """What ``argv`` gives. Ends the program where that makes no sense: first of all an option that is none, which
        would else be told as another one that is missing."""
        known = self.names()
        for word in argv[: argv.index("--")] if "--" in argv else argv:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                self.exit(NO_SENSE, f"{self.prog}: there is no {name}.{near(name, known)} `{self.prog} -h` lists all\n")
        return self.parse_args(argv)


def overview(groups: Mapping[str, Sequence[Command]]) -> str:
    """All commands, a line each."""
    lines = [f"usage: {PROGRAM} <command> [options]     each has -h, with an example", ""]
    for title, commands in groups.items():
        lines += [f"{title}:", *(f"  {one.name:16} {one.help}" for one in commands), ""]
    return "\n".join([*lines, f"the same by make: `{PROGRAM} up --take-lake` is `make up take_lake=1`"])


def main(groups: Mapping[str, Sequence[Command]], argv: Sequence[str]) -> int:
    """Run the command that ``argv`` begins with; the exit code.

    0 it is well, 1 it failed, 2 the request makes no sense and nothing was done, 130 after Ctrl-C.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview(groups))
        return WELL
    commands = {command.name: command for of_group in groups.values() for command in of_group}
    if argv[0] not in commands:
        said = f"there is no command {argv[0]}.{near(argv[0], commands)} `{PROGRAM} -h` lists all"
        print(f"{PROGRAM}: {said}", file=sys.stderr)
        return NO_SENSE
    return run(commands[argv[0]], argv[1:])


def run(command: Command, argv: Sequence[str]) -> int:
    """Run one command; the exit code."""

    def work() -> int:
        given = Parser(command).read(argv)
        provide(command, argv)
        return functions(command)[0](given)

    return guarded(command.name, work)


def guarded(name: str, work: Callable[[], int]) -> int:
    """What ``work`` returns, or the exit code of its error: one that is foreseen is told on standard error, in its own
    words and without a traceback. Any other is a fault of ours, and raised.
    """
    try:
        return work()
    except KeyboardInterrupt as end:
        print(f"\n{PROGRAM} {name}: {end or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if (line := told(error)) is None:
            raise
        print(f"{PROGRAM} {name}: {line}", file=sys.stderr)
        return NO_SENSE if isinstance(error, BadRequestError) else FAILED


def provide(command: Command, argv: Sequence[str]) -> None:
    """Start the services where the command needs them here, and begin it again in the installation's environment.

    What Python and its libraries are told by that, they read when they start.
    Whoever gave that environment to this process has seen to the services already.
    """
    if command.needs is Needs.NOTHING or is_inside(settings()):
        return
    if command.needs is Needs.SERVICES and not settings().airflow_remote:
        from include.cli.console import say
        from include.local import control

        control.up(settings(), say)
    become([sys.executable, "-P", "-m", "include.cli", command.name, *argv], settings())


def told(error: Exception) -> str | None:
    """What a person is told of an error that is foreseen, None of any other."""
    if isinstance(error, NocturneError | InstallationError):
        return str(error)
    if isinstance(error, OSError) and (line := full_disk_problem(error) or denied_problem(error)):
        return line
    if isinstance(error, ValidationError) and error.title == "Settings":
        return "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors(include_input=False))
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return (str(error) or repr(error)) if names & OF_SERVICES else None
