"""What the machine lacks is said in one line that names the remedy."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.local import checks
from include.local.checks import InstallationError

DEBIAN_17 = 'openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)\n'


@pytest.mark.parametrize(
    ("text", "major"),
    [
        (DEBIAN_17, 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "17-ea"', 17),
        ("No Java runtime present, requesting install.", None),
        ("", None),
    ],
)
def test_java_major(text: str, major: int | None) -> None:
    assert checks.java_major(text) == major


@pytest.mark.parametrize("text", ['openjdk version "11.0.2"', 'java version "1.8.0_392"', "Segmentation fault", ""])
def test_a_java_that_spark_does_not_run_on_is_named(text: str) -> None:
    line = checks.java_problem(Path("/usr/bin/java"), text, {})
    assert line is not None
    assert "/usr/bin/java" in line
    assert "install Java 17" in line
    assert "\n" not in line


def test_java_17_is_right() -> None:
    assert checks.java_problem(Path("/usr/bin/java"), DEBIAN_17, {}) is None


def test_a_missing_java_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match=r"no java on PATH.*install Java 17"):
        checks.check_java({"PATH": str(tmp_path)})
    with pytest.raises(InstallationError, match=f"JAVA_HOME is {tmp_path}, which has no bin/java"):
        checks.check_java({"PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path)})


def test_a_java_that_fails_to_start_is_not_taken(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'version \"17\"'; exit 1\n")
    java.chmod(0o755)
    with pytest.raises(InstallationError, match="no Java that starts"):
        checks.check_java({"PATH": str(tmp_path)})


def test_the_java_of_java_home_comes_first(tmp_path: Path) -> None:
    for folder in ("home/bin", "path"):
        java = tmp_path / folder / "java"
        java.parent.mkdir(parents=True)
        java.write_text("")
        java.chmod(0o755)
    both = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}
    assert checks.java_executable(both) == tmp_path / "home" / "bin" / "java"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_seen(taken: int) -> None:
    assert not checks.port_is_free("127.0.0.1", taken)


def test_a_port_that_was_just_closed_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)):
        pass
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    assert checks.port_is_free("127.0.0.1", port)


def test_an_address_of_another_machine_names_the_setting() -> None:
    with pytest.raises(InstallationError, match="NOCTURNE_HOST"):
        checks.port_is_free("203.0.113.7", 0)


def test_the_line_of_a_taken_port_names_port_holder_and_variable() -> None:
    line = checks.port_problem("mlflow", 5000, "NOCTURNE_MLFLOW_PORT", "python (pid 12)")
    assert "5000" in line
    assert "python (pid 12)" in line
    assert "NOCTURNE_MLFLOW_PORT=" in line
    assert " by " not in checks.port_problem("mlflow", 5000, "NOCTURNE_MLFLOW_PORT", None)


def test_too_little_disk_says_how_much_is_needed(tmp_path: Path) -> None:
    checks.check_disk(tmp_path / "not" / "there" / "yet", 1, "set-up")
    with pytest.raises(InstallationError, match=r"set-up needs 1000000000\.0 GB"):
        checks.check_disk(tmp_path, 10**18, "set-up")


def test_a_path_with_a_space_is_refused(tmp_path: Path) -> None:
    checks.check_path(tmp_path, "this clone")
    with pytest.raises(InstallationError, match=r"this clone is .*my data"):
        checks.check_path(tmp_path / "my data", "this clone")


def test_only_a_full_disk_is_called_one() -> None:
    line = checks.full_disk_problem(OSError(errno.ENOSPC, "No space left on device", "/x/y"))
    assert line is not None
    assert "/x/y" in line
    assert checks.full_disk_problem(PermissionError(errno.EACCES, "no")) is None


def test_a_folder_of_somebody_else_is_named_with_what_to_do() -> None:
    """As in a volume that a container of another user has filled."""
    line = checks.denied_problem(PermissionError(errno.EACCES, "Permission denied", "/nocturne/var/.lock"))
    assert line is not None
    assert "/nocturne/var/.lock" in line
    assert "start as the user who owns it" in line
    assert checks.denied_problem(OSError(errno.EROFS, "Read-only file system", "/nocturne/x")) is not None
    assert checks.denied_problem(OSError(errno.ENOENT, "No such file", "/nocturne/x")) is None
    assert checks.denied_problem(PermissionError(errno.EPERM, "of no file")) is None


def test_the_network_of_a_container_is_enough_for_the_embedded_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "refusal", lambda: "Operation not permitted")
    checks.check_embedded(container=True)
    with pytest.raises(InstallationError, match="no network of its own"):
        checks.check_embedded()
