"""The list of parts names every package that is pinned, with its hashes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from include.core.settings import HOME


def test_every_pinned_package_is_a_part_with_hashes(tmp_path: Path) -> None:
    lock, to = HOME / "requirements.txt", tmp_path / "sbom.json"
    program = Path(sys.executable).parent / "cyclonedx-py"
    subprocess.run([program, "requirements", "--output-reproducible", "--of", "JSON", "-o", to, lock], check=True)
    parts = json.loads(to.read_text())["components"]
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,-]*\])?==([^ ;]+)", lock.read_text(), flags=re.MULTILINE)
    assert {(part["name"], part["version"]) for part in parts} == {*pinned}
    assert [part["name"] for part in parts if not any("hashes" in at for at in part["externalReferences"])] == []
