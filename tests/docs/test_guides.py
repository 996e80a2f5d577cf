"""What a page says can be typed: its commands are the Makefile's, its paths are there, the first guides are run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from include.cli.__main__ import COMMANDS
from include.core.settings import HOME
from include.scaffold import remove
from include.scaffold.remove import Left
from tests.docs import pages
from tests.scaffold import companies
from tests.scaffold.repository import airflow_of, copied

MAKEFILE = (HOME / "Makefile").read_text()
ALL = sorted({*pages.pages(), *(HOME / "docs").rglob("*.md"), *(HOME / "include").rglob("README.md")})
GUIDE = (HOME / "docs" / "make-a-source.md").read_text()
GIT = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]


def name(page: Path) -> str:
    return page.relative_to(HOME).as_posix()


@pytest.mark.parametrize("page", pages.pages(), ids=name)
def test_each_command_is_one_of_the_makefile(page: Path) -> None:
    assert pages.odd_commands(page.read_text(), MAKEFILE) == []


@pytest.mark.parametrize("page", pages.pages(), ids=name)
def test_each_path_is_there(page: Path) -> None:
    assert pages.odd_paths(page.read_text()) == []


@pytest.mark.parametrize("page", ALL, ids=name)
def test_each_link_leads_somewhere(page: Path) -> None:
    assert pages.odd_links(page) == []


def test_what_is_odd_is_found(tmp_path: Path) -> None:
    text = (
        "# One\n`make sauce` and `make night\nday=1 source=…`, in `include/local/nowhere.py` or `dags/<x>/ingest.py`\n"
    )
    shown = "```\nNOCTURNE_X=1 make up take_lake=yes lake=1   # so\n```\n"
    assert pages.odd_commands(text + shown, MAKEFILE) == [
        "make up: does not take lake",
        "make sauce: there is no such target",
        "make night: does not take day",
    ]
    assert pages.odd_paths(text + "`include/sources/shop/spec.py`, `python -m include.nothing`") == [
        "include/local/nowhere.py",
        "python -m include.nothing",
    ]
    page = tmp_path / "a.md"
    page.write_text("# What's `this`?\n[a](#whats-this) [b](#that) [c](b.md) [d](https://example.org/x)")
    assert pages.odd_links(page) == ["#that", "b.md"]


def test_every_guide_is_found_from_the_list_of_them() -> None:
    listed = (HOME / "docs" / "README.md").read_text()
    assert [page.name for page in (HOME / "docs").glob("*.md") if f"({page.name}" not in listed] == ["README.md"]


def test_every_command_of_an_operator_is_among_the_commands() -> None:
    page = (HOME / "docs" / "commands.md").read_text()
    every = [one.name for title, some in COMMANDS.items() if title != "for other programs" for one in some]
    assert [one for one in every if f"`make {one}" not in page and f"`./nocturne {one}" not in page] == ["foreground"]


class Reader:
    """Somebody who types what a page says, in a copy of the repository, with orders of a shop in Downloads.

    A command of ``make`` is what ``make -n`` shows of it, without the set-up of the machine.
    """

    def __init__(self, folder: Path) -> None:
        tree = folder / "repository"
        settings = airflow_of(tree) | {"HOME": str(folder / "home"), **dict.fromkeys(GIT, "reader@localhost")}
        (folder / "home" / "Downloads" / "orders").mkdir(parents=True)
        companies.orders(folder / "home" / "Downloads" / "orders", 8)
        self.repository = copied(tree, settings)

    def types(self, line: str) -> str:
        """What the command says. Fails where it does."""
        if line.startswith("make "):
            shown = self.repository.run("sh", "-c", f"make --dry-run PYTHON={sys.executable} {line[5:]}")
            line = "\n".join(one for one in shown.splitlines() if "include/local/bootstrap.sh" not in one)
        return self.repository.run("sh", "-e", "-c", line)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"))


def commands(heading: str) -> list[str]:
    """What the guide tells to type below ``heading``, but what needs the services or is a test of its own."""
    elsewhere = ("make night", "make check", "make backfill", "make train", "make remove")
    every = [line for block in pages.blocks(pages.section(GUIDE, heading)) for line in pages.lines(block)]
    return [line for line in every if not line.startswith(elsewhere)]


@pytest.mark.integration
class TestFirstGuides:
    """In their order, each going on from where the one before it has ended."""

    def test_the_first_source(self, reader: Reader) -> None:
        (line,) = commands("## 1. Your first source")
        said = reader.types(line)
        assert "GUESS" in said
        (following,) = re.findall(r"^ *(mkdir -p .*?)  #", said, re.MULTILINE)
        landed, *_ = commands("## 2. One partition at once")
        assert following.replace("<files>", "~/Downloads/orders/*") == landed, "what it says to do next is in the guide"

    def test_its_files_are_where_a_night_looks_for_them(self, reader: Reader) -> None:
        for line in commands("## 2. One partition at once"):
            reader.types(line)
        (night,) = re.findall(r"^make night source=shop partition=(\S+)$", GUIDE, re.MULTILINE)
        code = (
            "from include.core.partitions import Partitions; from include.ingestion import landing;"
            "from include.sources import source; print(len(landing.plan(source('shop'), Partitions.parse("
            f"'{night}'))), 'landed')"
        )
        assert "1 landed" in reader.repository.run(sys.executable, "-c", code)

    def test_the_first_use_case(self, reader: Reader) -> None:
        said = [reader.types(line) for line in commands("## 3. Your first use case")]
        assert any("docs/features/reorders.md" in one for one in said), "its page is written"
        assert reader.repository.changed() == [], "and all of it is committed"
        (first,) = re.findall(r"(\S+) is the first with enough to learn from", "\n".join(said))
        assert f"Here it is {first}:" in GUIDE
        (trained,) = re.findall(r"^make train use_case=reorders partition=(\S+)", GUIDE, re.MULTILINE)
        assert trained >= first

    def test_the_readme_says_the_same(self) -> None:
        block = next(one for one in pages.blocks((HOME / "README.md").read_text()) if "make source" in one)
        every = [line for block in pages.blocks(GUIDE) for line in pages.lines(block)]
        assert [line for line in pages.lines(block) if line not in every] == []

    @pytest.mark.parametrize("left_of", [remove.of_use_case, remove.of_source], ids=["use_case", "source"])
    def test_removing_them(
        self, reader: Reader, home: Path, monkeypatch: pytest.MonkeyPatch, left_of: Callable[[Path, str], Left]
    ) -> None:
        """The commands that ``make remove`` prints, which needs the services for all else that it says."""
        monkeypatch.setattr(remove, "_models", lambda name: ())
        monkeypatch.setattr(remove, "_known_dags", lambda dags: ())
        name = "reorders" if left_of is remove.of_use_case else "shop"
        tree = reader.repository.tree
        reader.types(remove.how_to_remove(left_of(tree, name)))
        assert left_of(tree, name).is_nothing
        if name == "shop":
            reader.repository.commit("without them")
            first = reader.repository.run("git", "rev-list", "--max-parents=0", "HEAD").strip()
            assert reader.repository.run("git", "diff", "--stat", first) == "", "the tree is as it was"

    def test_a_task_that_is_added_as_the_guide_adds_one_keeps_the_rules(self, reader: Reader) -> None:
        guide = (HOME / "docs" / "change-a-dag.md").read_text()
        (code,) = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
        imports, at, function = code.partition("@stages.dag")
        (contract,) = re.findall(r"`MORE = (.*?)`", guide)
        dag = reader.repository.tree / "dags" / "use_cases" / "flight_delays.py"
        old = re.search(r'@stages.dag\(CASE, "predict".*?(?=\n\n\n)', dag.read_text(), re.DOTALL)
        assert old
        text = dag.read_text().replace(old[0], (at + function).strip())
        dag.write_text(text.replace("from include.orchestration import assets, stages\n", imports.strip() + "\n"))
        rules = reader.repository.tree / "tests" / "policy" / "test_dags.py"
        rules.write_text(re.sub(r"^(MORE: .* = ){}$", rf"\g<1>{contract}", rules.read_text(), flags=re.MULTILINE))
        reader.repository.python("pytest", "-q", str(rules), "-p", "no:cacheprovider")
