"""The images of the cluster, built where there is no engine of containers and no registry of images.

Ours are built by buildah from ``docker/Dockerfile``. What they begin with is made of Debian's packages (debootstrap)
and of the Python that runs this; PostgreSQL, Redis and nginx are Debian's, SeaweedFS is built of its Go module. They
get the names that the compose file has, for this machine alone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.cluster.containers import MissingError, run
from tests.docker.compose_file import CLUSTER, compose

ROOT = Path(__file__).resolve().parents[2]
STANDINS = Path(__file__).resolve().parent / "standins"
DEBIAN, PYTHON = "docker.io/library/debian:bookworm-slim", "docker.io/library/python:3.12-slim-bookworm"
MIRROR = "http://deb.debian.org/debian"
SEAWEEDFS = "github.com/seaweedfs/seaweedfs"
OURS = ("airflow", "mlflow", "spark")
PREFIX = "localhost/nocturne"
# What the standard library of Python is linked with.
LIBRARIES = "ca-certificates libbz2-1.0 libcrypt1 libexpat1 libffi8 liblzma5 libncursesw6 libnsl2 libreadline8"
LIBRARIES += " libsqlite3-0 libssl3 libtirpc3 libuuid1 zlib1g"
NOT_IN_PYTHON = ("test", "idlelib", "config-*", "__pycache__", "site-packages")


def exists(image: str) -> bool:
    """Whether there is such an image here."""
    return run("buildah", "inspect", "--type", "image", image, check=False).returncode == 0


def build(image: str, file: Path, context: Path, **arguments: str) -> None:
    """Build an image, with the layers that are here already."""
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--pull-never", *given]
    run(*command, "--file", str(file), "--tag", image, str(context))


def debian() -> None:
    """Make the image of Debian. Raises MissingError where debootstrap is not here."""
    if exists(DEBIAN):
        return
    if not shutil.which("debootstrap"):
        raise MissingError(f"apt-get install debootstrap: there is no image {DEBIAN}, and it makes one")
    with tempfile.TemporaryDirectory() as folder:
        run("debootstrap", "--variant=minbase", "--include=ca-certificates,netbase,tzdata", "bookworm", folder, MIRROR)
        name = run("buildah", "from", "scratch").stdout.strip()
        run("buildah", "add", name, folder, "/")
        run("buildah", "commit", "--rm", name, DEBIAN)


def python() -> None:
    """Make the image of Python, of the interpreter that runs this."""
    if exists(PYTHON):
        return
    debian()
    name = run("buildah", "from", "--pull-never", DEBIAN).stdout.strip()
    there = Path(run("buildah", "mount", name).stdout.strip())
    prefix, local = Path(sys.base_prefix), there / "usr" / "local"
    shutil.copytree(
        prefix / "lib" / "python3.12",
        local / "lib" / "python3.12",
        ignore=shutil.ignore_patterns(*NOT_IN_PYTHON),
        dirs_exist_ok=True,
    )
    for library in (prefix / "lib").glob("libpython3.12.so*"):
        shutil.copy2(library, local / "lib")
    shutil.copy2(prefix / "bin" / "python3.12", local / "bin")
    for link in ("python3", "python"):
        (local / "bin" / link).symlink_to("python3.12")
    # the certificates that this machine trusts, and the index that its pip asks
    for path in (Path("/usr/local/share/ca-certificates"), Path("/etc/pip.conf")):
        if path.is_dir():
            shutil.copytree(path, there / path.relative_to("/"), dirs_exist_ok=True)
        elif path.exists():
            shutil.copy2(path, there / path.relative_to("/"))
    (there / "etc" / "uv").mkdir()
    (there / "etc" / "uv" / "uv.toml").write_text("native-tls = true\n")
    install = f"apt-get update && apt-get install --yes --no-install-recommends {LIBRARIES}"
    finish = "rm -rf /var/lib/apt/lists/* /var/cache/apt && update-ca-certificates && ldconfig && python3 -m ensurepip"
    run("buildah", "run", "--isolation", "chroot", name, "--", "sh", "-c", f"{install} && {finish}")
    run("buildah", "config", "--env", "LANG=C.UTF-8", "--cmd", "python3", name)
    run("buildah", "commit", "--rm", name, PYTHON)


def weed(folder: Path) -> Path:
    """SeaweedFS's program. Raises MissingError where there is no Go to build it with.

    Its module cannot be installed by name, since it replaces others of its own: it is built where it was fetched to.
    """
    if not shutil.which("go"):
        raise MissingError("install Go: SeaweedFS is built with it")
    run("go", "mod", "init", "nocturne/weed", cwd=folder)
    run("go", "mod", "download", f"{SEAWEEDFS}@latest", cwd=folder, check=False)
    source = run("go", "list", "-m", "-f", "{{.Dir}}", f"{SEAWEEDFS}@latest", cwd=folder).stdout.strip()
    shutil.copytree(source, folder / "source", copy_function=shutil.copyfile)
    run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "weed"), "./weed", cwd=folder / "source")
    return folder / "weed"


def standins() -> None:
    """Make the images of others that the compose file names."""
    debian()
    services = compose(file=CLUSTER)["services"]
    for service, name in (("postgres", "postgres"), ("redis", "redis"), ("proxy", "nginx"), ("s3", "seaweedfs")):
        image = services[service]["image"]
        if exists(image):
            continue
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder) / "context"
            shutil.copytree(STANDINS, context)
            if name == "seaweedfs":
                shutil.copy2(weed(Path(folder)), context / "weed")
            build(image, context / f"{name}.Dockerfile", context)


def ours() -> None:
    """Build ours: what did not change is taken from the layers that are here."""
    python()
    for name in OURS:
        build(f"{PREFIX}-{name}", ROOT / "docker" / "Dockerfile", ROOT, IMAGE=name)


def size(image: str) -> int:
    """Bytes of an image, with all of its layers."""
    name = run("buildah", "from", "--pull-never", image).stdout.strip()
    there = run("buildah", "mount", name).stdout.strip()
    try:
        return int(run("du", "--summarize", "--bytes", "--one-file-system", there).stdout.split()[0])
    finally:
        run("buildah", "rm", name)
