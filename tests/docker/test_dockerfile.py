"""Rules of the Dockerfile, read off its text: what our images are made of, and as whom they run."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text()
IMAGES = ("laptop", "airflow", "gpu", "mlflow", "spark")
SECRET = re.compile("(?i)passw|secret|token|credential|_key\\b")

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """(instruction, arguments) of a Dockerfile, with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def problems(text: str) -> list[str]:
    """What hadolint and we object to, a line each."""
    all_of_it = instructions(text)
    lines = []
    stages = {rest.partition(" AS ")[2] for word, rest in all_of_it if word == "FROM"}
    defaults = dict(rest.split("=", 1) for word, rest in all_of_it if word == "ARG" and "=" in rest)
    for word, rest in all_of_it:
        if word == "FROM":
            image = rest.partition(" AS ")[0]
            if image == "${IMAGE}":  # one of the stages above
                continue
            image = re.sub(r"\$\{(\w+)\}", lambda found: defaults.get(found[1], ""), image)
            if image not in stages and (":" not in image or image.endswith(":latest")):
                lines.append(f"{image} names no version")
        elif word == "ADD":
            lines.append(f"ADD {rest}: COPY does what it says")
        elif word in ("ARG", "ENV") and SECRET.search(rest):
            lines.append(f"{word} {rest}: a secret stays in the image")
        elif word == "RUN" and "apt-get install" in rest:
            if "--no-install-recommends" not in rest or "rm -rf /var/lib/apt/lists/*" not in rest:
                lines.append(f"RUN {rest}: leaves more than it needs")
        elif word == "RUN" and "pip install" in rest:
            lines.append(f"RUN {rest}: a package outside of the lock files")
        elif word in ("ENTRYPOINT", "CMD") and not rest.startswith("["):
            lines.append(f"{word} {rest}: a shell in between would take the signals")
    return lines + [f"{image} runs as root" for image in IMAGES if runs_as_root(all_of_it, image)]


def runs_as_root(all_of_it: list[Instruction], image: str) -> bool:
    """Whether the image that the stage ``image`` ends in has root, or nobody, as its user."""
    users: dict[str, str] = {}
    stage = ""
    for word, rest in all_of_it:
        if word == "FROM":
            before, _, stage = rest.partition(" AS ")
            users[stage] = users.get(before, "")
        elif word == "USER":
            users[stage] = rest.partition(":")[0]
    return users[image] in ("", "root", "0")


def copied() -> list[str]:
    """What the image takes from the repository."""
    sources = [rest.split()[:-1] for word, rest in instructions(TEXT) if word == "COPY" and "--from=" not in rest]
    return sorted({source for several in sources for source in several})


def ignored(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore keeps ``path`` out: the last rule that is about it, or about what it lies in, decides."""
    out = False
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        parts = [path, *(str(parent) for parent in Path(path).parents)]
        names = [Path(path).name] if rule.startswith("**/") else parts
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            out = not rule.startswith("!")
    return out


def rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_it_keeps_every_rule() -> None:
    assert problems(TEXT) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("python:3.12-slim-bookworm", "python:latest"),
        ("python:3.12-slim-bookworm", "python"),
        ("USER 1000:1000\nEXPOSE 5000\n", "USER root\nEXPOSE 5000\n"),
        ("USER 1000:1000\nEXPOSE 5000\n", "EXPOSE 5000\n"),
        ("USER 1000:1000\nEXPOSE 8080 5000\n", "EXPOSE 8080 5000\n"),
        ("COPY config config\nCOPY dags", "ADD config config\nCOPY dags"),
        ('CMD ["foreground"]', "CMD foreground"),
        ('ARG COMMIT=""', "ARG INDEX_PASSWORD"),
        ("--no-install-recommends ", ""),
        ("    && rm -rf /var/lib/apt/lists/*\n", "    && true\n"),
        ("EXPOSE", "RUN pip install something\nEXPOSE"),
    ],
)
def test_each_rule_refuses(before: str, after: str) -> None:
    assert before in TEXT
    assert len(problems(TEXT.replace(before, after, 1))) == 1


def test_a_linter_of_dockerfiles_finds_nothing() -> None:
    """But for DL3008: Debian keeps no package of yesterday that one could pin."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", "--ignore", "DL3008", ROOT / "docker" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_image_can_be_asked_for() -> None:
    stages = {rest.partition(" AS ")[2] for word, rest in instructions(TEXT) if word == "FROM"}
    assert set(IMAGES) <= stages


def test_the_first_process_passes_signals_on_and_reaps() -> None:
    entry = [json.loads(rest) for word, rest in instructions(TEXT) if word == "ENTRYPOINT"]
    assert [command[:2] for command in entry] == [["tini", "--"]]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_reaches_the_build(source: str) -> None:
    assert (ROOT / source).exists()
    assert not ignored(source, rules())


@pytest.mark.parametrize(
    "path",
    ["var/secrets/fernet_key", ".git/config", ".env", ".venv/bin/python", "include/x/__pycache__/y.pyc", "tests/x.py"],
)
def test_state_secrets_and_what_nobody_needs_stay_out(path: str) -> None:
    assert ignored(path, rules())


def test_the_stage_of_packages_has_every_module_of_the_bootstrap(tmp_path: Path) -> None:
    """It is built before the project is copied, so that an edit of the project installs nothing anew."""
    for source in copied():
        if "/" in source and source.endswith(".py"):
            target = tmp_path / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
    bootstrap = [one.removesuffix(".py").replace("/", ".") for one in copied() if one.endswith("bootstrap.py")]
    assert len(bootstrap) == 1
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); import {bootstrap[0]}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_tree_of_the_project_is_in_the_image() -> None:
    """A new one that DAGs import must not be missed."""
    trees = {path.parent.name for path in ROOT.glob("*/*.py")} | {"dags", "dbt_project"}
    assert trees - {"tests", "docs", "docker"} <= set(copied())
