"""What the pages tell a reader to type, and what they name, read off their text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from include.cli.__main__ import COMMANDS
from include.cli.program import Command, Parser
from include.core.settings import HOME

# What a guide calls the things that its reader makes.
OF_A_READER = ("shop", "orders", "reorders", "mine", "rides")
MADE_BY_A_READER = ("docker/.env", "docker/compose.override.yaml")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_PLACEHOLDER = re.compile(r"<[^<>]*>|…|\{[^{}]*\}")
_TARGET = re.compile(r"^([a-z][a-z-]*):.*\n((?:\t.*\n)*)", re.MULTILINE)
_GIVEN = re.compile(r"\$\(NOCTURNE\) ([a-z-]+) \$\(given\)")
_VARIABLE = re.compile(r"\$\((\w+)\)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]*)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def pages() -> list[Path]:
    """The pages that people read. Of the decisions, which tell of the past, only the links are held to anything."""
    return [HOME / "README.md", HOME / "AGENTS.md", *sorted((HOME / "docs").glob("*.md"))]


def blocks(text: str) -> list[str]:
    """The fenced blocks of commands, and of what has no language."""
    return [block for language, block in _FENCE.findall(text) if language in ("", "sh")]


def section(text: str, heading: str) -> str:
    """The part of a page below ``heading``, up to the next one of its level."""
    level, begin = heading.partition(" ")[0], text.index(f"\n{heading}\n")
    end = text.find(f"\n{level} ", begin + 1)
    return text[begin : end if end > 0 else None]


def lines(block: str) -> list[str]:
    """The commands of a block, a line each, without their comments."""
    whole = (line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in whole if line]


def inline(text: str) -> list[str]:
    """What stands in backquotes, on one line each; not what is in a fenced block."""
    return [" ".join(one.split()) for one in _INLINE.findall(_FENCE.sub("", text))]


def make_commands(text: str) -> Iterator[list[str]]:
    """The words behind each ``make`` that a reader may type. A placeholder is one word."""
    for line in [*(line for block in blocks(text) for line in lines(block)), *inline(text)]:
        try:
            words = shlex.split(_PLACEHOLDER.sub("x", line).replace("[", "").replace("]", ""))
        except ValueError:  # prose with an apostrophe
            continue
        if "make" in words and re.match(r"[A-Z_]+=|make$|docker$", words[0]):
            yield words[words.index("make") + 1 :]


def targets(makefile: str) -> dict[str, set[str]]:
    """The targets of the Makefile, each with the variables that its recipe reads or hands on to a command."""
    known = {command.name: command for of_group in COMMANDS.values() for command in of_group}
    return {
        name: set(_VARIABLE.findall(recipe))
        | {option for command in _GIVEN.findall(recipe) for option in options(known[command])}
        for name, recipe in _TARGET.findall(makefile)
    }


def options(command: Command) -> set[str]:
    """The options of a command as make has them: ``at_once`` of ``--at-once``."""
    return {name.lstrip("-").replace("-", "_") for name in Parser(command).names()}


def odd_commands(text: str, makefile: str) -> list[str]:
    """Targets, and variables of them, that a page names and the Makefile does not know."""
    known, found = targets(makefile), []
    for words in make_commands(text):
        named = [word for word in words if "=" not in word]
        taken = set[str]().union(*(known.get(target, set()) for target in named))
        found += [f"make {target}: there is no such target" for target in named if target not in known]
        given = [word.partition("=")[0] for word in words if "=" in word]
        found += [f"make {' '.join(named)}: does not take {name}" for name in given if name not in taken]
    return found


def odd_paths(text: str) -> list[str]:
    """Paths below the repository, and modules of it, that a page names and that are not there.

    For a placeholder, or what a guide calls its reader's own things, anything will do; but one there must be.
    """
    below = {path.name for path in HOME.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"var"}
    found = []
    for one in inline(text):
        if one.partition("/")[0] in below and "/" in one and " " not in one and one not in MADE_BY_A_READER:
            pattern = re.sub(rf"\b({'|'.join(OF_A_READER)})\b", "*", _PLACEHOLDER.sub("*", one)).rstrip("/")
            if not any(HOME.glob(re.sub(r"\*+", "*", pattern))):
                found.append(one)
    for module in re.findall(r"python -m ((?:include|tests|examples)[\w.]*)", text):
        path = HOME / module.replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").is_file()):
            found.append(f"python -m {module}")
    return found


def anchors(page: Path) -> set[str]:
    """What links call the headings of a page."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def odd_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there. Those to other places are not followed."""
    found = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            found.append(link)
    return found
