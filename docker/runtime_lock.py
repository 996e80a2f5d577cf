"""Writes the part of requirements.txt that the services need: what runs tests and checks stays out of the image.

``python runtime_lock.py requirements.in requirements.txt``: the same pins and hashes, on standard output. Standard
library only, since nothing is installed yet when the image asks for it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = "# Tests and checks"
"""The section of requirements.in, from its title to the next empty line, that the image does without."""
WITHOUT = {
    "nvidia-nccl-cu13": "345 MB; XGBoost loads it only to train one model on several GPUs at once",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normalized(name: str) -> str:
    """A package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(text: str) -> set[str]:
    """The names in requirements.in outside of its section of tests."""
    names, testing = set(), False
    for line in text.splitlines():
        testing = line.strip() == TESTS or (testing and bool(line.strip()))
        if not testing and (found := NAME.match(line)):
            names.add(normalized(found[0]))
    return names


def entries(text: str) -> Iterator[tuple[str, list[str], str]]:
    """(name, who needs it, lines) of each package in requirements.txt, as uv writes it."""
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if found := NAME.match(entry):
            via = entry.partition("# via")[2]
            yield normalized(found[0]), re.findall(r"-r \S+|[a-z0-9][a-z0-9._-]*", via), entry


def needed(roots: set[str], parents: dict[str, list[str]]) -> set[str]:
    """``roots`` and whatever they lead to, less ``WITHOUT``."""
    found = roots - WITHOUT.keys()
    while True:
        more = {name for name, via in parents.items() if not found.isdisjoint(via)} - found - WITHOUT.keys()
        if not more:
            return found
        found |= more


def runtime_lock(requested: str, lock: str) -> str:
    """The entries of ``lock`` (requirements.txt) that ``requested`` (requirements.in) needs without its tests.

    Raises ValueError where a package that is asked for is not locked.
    """
    packages = list(entries(lock))
    roots = asked_for(requested)
    if missing := roots - {name for name, _, _ in packages}:
        raise ValueError(f"requirements.txt has no {', '.join(sorted(missing))}: `make lock` writes it anew")
    wanted = needed(roots, {name: via for name, via, _ in packages})
    return "".join(entry for name, _, entry in packages if name in wanted)


if __name__ == "__main__":
    sys.stdout.write(runtime_lock(*(Path(name).read_text() for name in sys.argv[1:3])))
