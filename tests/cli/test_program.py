"""What every command has in common: help, exit codes, one line for an error, what is near a slip, a target of make."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from include.cli import program, runs, services
from include.cli.__main__ import COMMANDS
from include.cli.program import Command, Needs, Parser, for_make, guarded
from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.settings import HOME, settings
from include.local import clean as cleaning
from include.local import credentials
from include.local.checks import InstallationError
from include.local.environment import environment
from include.orchestration import incidents
from include.orchestration.incidents import Incident
from include.use_cases import use_case
from tests import commands
from tests.docs import pages

ALL = {command.name: command for of_group in COMMANDS.values() for command in of_group}
MAKEFILE = (HOME / "Makefile").read_text()
HEAVY = {"airflow", "deltalake", "mlflow", "pandas", "polars", "pyspark", "xgboost"}
OF_ANOTHER = ("exec", "cluster-do")  # they take a command, which make does not
Capture = pytest.CaptureFixture[str]


def shown(*words: str) -> list[str]:
    """What make would run."""
    done = subprocess.run(["make", "--dry-run", *words], cwd=HOME, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


# --- help ---


@pytest.mark.parametrize("name", ALL)
def test_each_command_has_help_with_an_example(name: str, capsys: Capture) -> None:
    assert commands.run(name, "--help") == 0
    said = capsys.readouterr().out
    assert f"  nocturne {name}" in said
    assert (f"  make {name}" in said) != (name in OF_ANOTHER)


@pytest.mark.parametrize("name", [name for name, command in ALL.items() if command.example and name not in OF_ANOTHER])
def test_each_example_is_one_that_the_command_takes(name: str) -> None:
    words = program.shlex.split(ALL[name].example)
    assert Parser(ALL[name]).read(words)


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",)])
def test_all_commands_are_listed(argv: tuple[str, ...], capsys: Capture) -> None:
    assert commands.run(*argv) == 0
    listed = re.findall(r"^  (\S+) +\S", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(ALL)


# --- make ---


def test_each_target_that_calls_the_program_calls_a_command() -> None:
    called = set(re.findall(r"\$\(NOCTURNE\) ([a-z-]+)", MAKEFILE))
    assert called <= ALL.keys()
    of_programs = {one.name for one in COMMANDS["for other programs"]} | {*OF_ANOTHER, "foreground", "init", "serve"}
    assert called | of_programs >= ALL.keys(), "no command is out of reach for make"


@pytest.mark.parametrize("name", pages.targets(MAKEFILE))
def test_a_target_is_a_command_or_a_tool_of_those_who_change_the_code(name: str) -> None:
    tools = {"help", "venv", "test", "test-full", "bench", "check", "format", "image", "lock", "sbom", "screenshots"}
    assert (name in tools) != (name in ALL)


@pytest.mark.parametrize("name", re.findall(r"\$\(NOCTURNE\) ([a-z-]+) \$\(given\)", MAKEFILE))
def test_what_make_is_given_becomes_options(name: str) -> None:
    """The example for make is, behind make, the example for the program."""
    words = program.shlex.split(for_make(ALL[name]))[1:]
    (line,) = [line for line in shown(*words) if "include.cli" in line]
    given = program.shlex.split(line.partition("include.cli ")[2])
    parser = Parser(ALL[name])
    assert given[0] == name
    assert parser.read(given[1:]) == parser.read(program.shlex.split(ALL[name].example))


def test_a_value_comes_through_make_and_the_shell_as_it_was_given() -> None:
    label = "count(order_id) > 0 and  state = 'it''s' -- $HOME `x`"
    (line,) = [one for one in shown("use-case", f"label={label.replace('$', '$$')}", "owner=") if "include.cli" in one]
    printed = f"printf '%s|' {line.partition('include.cli ')[2]}"
    done = subprocess.run(["sh", "-c", printed], capture_output=True, text=True, check=True)
    assert done.stdout == f"use-case|--label={label}|"


# --- what makes no sense ---


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("backfil",), "nocturne: there is no command backfil. Did you mean backfill?"),
        (("zzz",), "nocturne: there is no command zzz. `nocturne -h` lists all"),
        (("backfill", "--form=2013-06-01", "--to=2013-06-02"), "there is no --form. Did you mean --from"),
        (("backfill", "--sourc", "rides"), "there is no --sourc. Did you mean --source?"),
        (
            ("backfill", "--from=2013-06-01"),
            "required: --to. As in: make backfill from=2013-06-01 to=2013-06-07",
        ),
        (
            ("train",),
            "required: --use-case, --partition. As in: make train use_case=flight_delays partition=2013-05-31",
        ),
        (
            ("night", "--partition=2013-06-01"),
            "one of the arguments --source --use-case is required. As in: make night",
        ),
        (("backfill", "--from=2013-06-31", "--to=2013-07-01"), "'2013-06-31' is no partition key"),
        (("night", "--source=flights", "--partition=2999-01-01"), "reaches into the future"),
        (("backfill", "--from=2013-06-03", "--to=2013-06-02"), "ends before it begins"),
        (("backfill", "--from=2013-06-01..2013-06-02", "--to=2013-06-02"), "are several days, and one is wanted"),
        (("backfill", "--source=fligths", "--from=2013-06-01", "--to=2013-06-02"), "no source is called 'fligths'"),
        (("train", "--use-case=x", "--partition=2013-06-01"), "no use case `x`; there are: flight_delays"),
        (("up", "--take-lake=perhaps"), "'perhaps' is neither yes nor no"),
        (("source-check", "--file=/nowhere.csv"), "/nowhere.csv is not there"),
        (("exec",), "exec needs a command"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("home")
def test_a_request_without_sense_is_one_line_and_exit_code_2(argv: tuple[str, ...], said: str, capsys: Capture) -> None:
    assert commands.run(*argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("word", "is_yes"), [("", True), ("=1", True), ("=yes", True), ("=0", False), ("=no", False)])
def test_a_flag_is_yes_or_no(word: str, is_yes: bool) -> None:
    assert Parser(ALL["upgrade"]).read([f"--dry-run{word}"]).dry_run is is_yes


# --- errors ---


def failing(error: BaseException) -> int:
    def work() -> int:
        raise error

    return guarded("trace", work)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NeedsAttentionError("the lake is empty: run a night"), 1),
        (BadRequestError("the lake is empty: run a night"), 2),
        (InstallationError("the lake is empty: run a night"), 1),
        (httpx.ConnectError("the lake is empty: run a night"), 1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_that_is_foreseen_is_a_line_and_an_exit_code(error: Exception, code: int, capsys: Capture) -> None:
    assert failing(error) == code
    assert capsys.readouterr() == ("", "nocturne trace: the lake is empty: run a night\n")


def test_a_full_disk_is_foreseen(capsys: Capture) -> None:
    assert failing(OSError(28, "No space left on device", "/lake")) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError("a fault"))


def test_who_looks_away_is_told_where_it_goes_on(capsys: Capture) -> None:
    def work() -> int:
        with runs.watching("http://airflow/dags/x"):
            raise KeyboardInterrupt

    assert guarded("backfill", work) == 130
    assert "what was started goes on. To stop it: http://airflow/dags/x" in capsys.readouterr().err


def test_an_unknown_name_is_told_without_the_quotes_of_a_key_error(capsys: Capture) -> None:
    assert guarded("train", lambda: bool(use_case("x"))) == 2
    assert capsys.readouterr().err.startswith("nocturne train: no use case `x`;")


# --- what has to be there ---


@pytest.fixture
def begun(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done before a command runs, for an installation that is set up."""
    credentials.generate(settings())
    done: list[str] = []
    monkeypatch.setattr("include.local.control.up", lambda of, say: done.append("up"))
    monkeypatch.setattr(program, "become", lambda argv, of: done.append(" ".join(argv[1:])))
    return done


def of(needs: Needs) -> Command:
    return Command("lake", "", "include.cli.lake:lake", needs=needs)


@pytest.mark.parametrize(
    ("needs", "done"),
    [
        (Needs.NOTHING, []),
        (Needs.ENVIRONMENT, ["-P -m include.cli lake --x"]),
        (Needs.SERVICES, ["up", "-P -m include.cli lake --x"]),
    ],
    ids=str,
)
def test_a_command_finds_what_it_needs(begun: list[str], needs: Needs, done: list[str]) -> None:
    program.provide(of(needs), ["--x"])
    assert begun == done


def test_services_that_are_elsewhere_are_not_started(begun: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_AIRFLOW_REMOTE", "http://api-server:8080")
    settings.cache_clear()
    program.provide(of(Needs.SERVICES), ["--x"])
    assert begun == ["-P -m include.cli lake --x"]


def test_a_command_in_the_environment_of_the_installation_runs_at_once(
    begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings(), frozenset()).items():
        monkeypatch.setenv(name, value)
    program.provide(of(Needs.SERVICES), [])
    assert begun == []


@pytest.mark.parametrize("s3", ["", "s3://bucket/lake"])
def test_who_is_given_the_environment_knows_it(tmp_path: Path, s3: str) -> None:
    """Else the command would begin itself again and again."""
    of_caller = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "NO_PROXY": "a,b", "DATABASE_URL": "x://u:p@h/d"}
    given = {"NOCTURNE_VAR": str(tmp_path), "NOCTURNE_LAKE_URI": s3, "SPARK_HOME": "/elsewhere"} | of_caller
    told = "from include.core.settings import settings; from include.local import credentials, environment as e;"
    told += "import sys; print(e.is_inside(settings()), flush=True);"
    code = f"{told.partition('print')[0]} credentials.generate(settings()); {told}"
    code += f"e.become([sys.executable, '-c', {told!r}], settings())"
    outside = {name: value for name, value in os.environ.items() if not name.startswith("NOCTURNE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=outside | given, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")


# --- quick ---


@pytest.mark.parametrize(
    "argv", [["--help"], ["status", "--quiet"], ["down", "--help"], ["backfill", "--help"]], ids=str
)
def test_what_takes_seconds_to_import_is_left_alone(tmp_path: Path, argv: list[str]) -> None:
    code = (
        f"import sys, runpy; sys.argv[1:] = {argv}\n"
        "try:\n    runpy.run_module('include.cli', run_name='__main__')\n"
        "except SystemExit:\n"
        f"    print('HEAVY', sorted({HEAVY} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"NOCTURNE_VAR": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_status_tells_of_a_failure_without_importing_airflow(home: Path) -> None:
    incidents.report(Incident("failed dag partition", "failed", "the error", "mend it"))
    settings().landing.mkdir()
    code = (
        "import sys; from include.core.settings import settings; from include.cli.services import show_nights;"
        f"show_nights(settings()); print('HEAVY', sorted({ {'airflow', 'mlflow', 'xgboost'} } & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the error" in done.stdout
    assert "mend it" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_demonstration_is_a_program_of_its_own(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(services, "start", lambda quiet: None)
    monkeypatch.setattr(services, "become", lambda argv, of: became.append(argv[1:]))
    services.run(Parser(ALL["run"]).read(["--also=weather_temperature seattle_weather_kind"]))
    assert became == [["-m", "examples", "weather_temperature", "seattle_weather_kind"]]


def test_status_says_that_nothing_runs(home: Path, capsys: Capture) -> None:
    assert commands.run("status") == 3
    assert capsys.readouterr().out == "nothing runs: `make up` starts the services\n"
    assert commands.run("status", "--quiet") == 1


def test_clean_says_what_would_go_and_does_nothing(home: Path, capsys: Capture) -> None:
    credentials.generate(settings())
    (home / cleaning.MARKER).touch()
    assert commands.run("clean") == 1
    assert "`make clean CONFIRM=yes` does it" in capsys.readouterr().err
    assert settings().secrets.exists()
