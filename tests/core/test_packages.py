"""A spec that is half-finished is left out and told of; it stops nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.packages import specs

GOOD = "from types import SimpleNamespace\nSPEC = SimpleNamespace(name={name!r})\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SPEC = (", "SyntaxError"),
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("", "AttributeError"),
        (GOOD.format(name="another"), "its folder is `bad`"),
    ],
)
def test_it_is_left_out_and_the_others_are_there(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = f"catalogue_{abs(hash((text, why))) % 10**8}"  # each its own, since Python remembers modules
    for name, content in (("good", GOOD.format(name="good")), ("bad", text), ("empty", None)):
        folder = tmp_path / package / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        if content is not None:
            (folder / "spec.py").write_text(content)
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "removed" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    found, broken = specs(package, [str(tmp_path / package)], "SPEC")
    assert (list(found), list(broken)) == (["good"], ["bad"])
    (line,) = caplog.messages
    assert f"{package}.bad.spec cannot be read and is left out" in line
    assert why in line
