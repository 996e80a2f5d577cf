"""A confined process sees neither the folders hidden from it nor into other processes, and writes as before."""

import subprocess
import sys
from pathlib import Path

import pytest

from include.local.confine import confine

CODE = """
import os, sys
from pathlib import Path
from include.local.confine import confine
folder = Path(sys.argv[1])
reason = confine([folder / "secrets"], [folder / "secrets" / "kept"])
if reason:
    print("cannot:", reason)
    sys.exit()
os.execv(sys.executable, [sys.executable, "-c", f'''
import os
from pathlib import Path
folder = Path({str(folder)!r})
print(sorted(os.listdir(folder / "secrets")), (folder / "secrets" / "kept").read_text())
(folder / "a").mkdir(), (folder / "b").mkdir()
(folder / "a" / "x").write_text("x")
(folder / "a" / "x").rename(folder / "b" / "x")
try:
    print("read", len(Path("/proc/{os.getppid()}/environ").read_bytes()))
except PermissionError:
    print("others are closed")
'''])
"""


def test_a_confined_process_sees_what_it_needs_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name in ("kept", "jwt_secret"):
        (tmp_path / "secrets" / name).write_text(name)
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True)
    if done.stdout.startswith("cannot:"):
        pytest.skip(f"this system hides nothing: {done.stdout}")
    assert done.stdout.splitlines() == ["['kept'] kept", "others are closed"]
    assert (tmp_path / "b" / "x").exists()
    assert (tmp_path / "secrets" / "jwt_secret").read_text() == "jwt_secret"  # for all others it is there as before


def test_what_cannot_be_hidden_is_said_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert confine([tmp_path], []) == "only Linux can"
