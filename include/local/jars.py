"""Spark's additional jars: fetched once by Spark's resolver, checked against committed checksums at every start."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from include.core.locks import alone
from include.core.settings import Settings
from include.local.checks import InstallationError
from include.local.environment import SPARK_TOKEN, native

LOCAL_FILE_SYSTEM = "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem"
AWS = "software.amazon.awssdk"


@dataclass(frozen=True)
class Jars:
    """Packages that Spark's resolver fetches together, without what of their tree Spark brings or nobody needs."""

    packages: tuple[str, ...]
    excludes: tuple[str, ...]
    sums: str
    """The file with their checksums, in ``config/``."""


LAKE = Jars(
    packages=(
        "io.delta:delta-spark_4.2_2.13:4.4.0",
        "io.delta:delta-storage:4.4.0",
        # A local file system in plain Java. Hadoop's own starts a `chmod` process for every file it writes where its
        # native library is missing, as it is in PySpark's wheel: 6,000 processes for five months of flights.
        "com.globalmentor:hadoop-bare-naked-local-fs:0.1.0",
        # How Spark reads PostgreSQL: include/ingestion/connectors/database.py.
        "org.postgresql:postgresql:42.7.14",
    ),
    # Spark brings the rest of their tree itself; without these it would be 33 jars, among them a second Hadoop.
    excludes=(
        "io.delta:delta-kernel*",
        "io.unitycatalog:*",
        "org.apache.*:*",
        "org.checkerframework:*",
        "com.google*:*",
        "com.fasterxml*:*",
        "com.github*:*",
        "com.thoughtworks*:*",
        "javax*:*",
        "org.slf4j:*",
        "org.antlr:*",
        "org.scala-lang:*",
        "org.scala-lang.modules:*",
    ),
    sums="jars.sha256",
)
# Hadoop's client of S3 asks for a bundle of every service of AWS, 686 MB. What it needs of that is 12.
S3 = Jars(
    packages=(
        "org.apache.hadoop:hadoop-aws:3.5.0",
        f"{AWS}:s3:2.35.4",
        f"{AWS}:s3-transfer-manager:2.35.4",
        f"{AWS}:apache-client:2.35.4",
        f"{AWS}:sts:2.35.4",  # for who may by a role
        "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3:1.3.1",
    ),
    excludes=(
        f"{AWS}:aws-crt*",
        f"{AWS}:bundle",
        f"{AWS}:netty-nio-client",
        f"{AWS}:url-connection-client",
        "com.github*:*",
        "commons-*:*",
        "io.netty:*",
        "org.apache.hadoop:hadoop-common",
        "org.apache.httpcomponents:*",
        "org.jspecify:*",
        "org.slf4j:*",
        "org.wildfly*:*",
    ),
    sums="jars-s3.sha256",
)


def needed(settings: Settings) -> list[Jars]:
    """The sets of jars that an installation needs."""
    return [LAKE, S3] if settings.uses_s3 else [LAKE]


def checksums(text: str) -> dict[str, str]:
    """File name → SHA-256, out of the format of ``sha256sum``."""
    pairs = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def expected(settings: Settings, jars: Jars) -> dict[str, str]:
    """The files of ``jars``, with their committed checksums."""
    return checksums((settings.home / "config" / jars.sums).read_text())


def wrong(folder: Path, sums: dict[str, str]) -> list[str]:
    """The names that are missing in ``folder`` or differ from their checksum."""

    def differs(name: str) -> bool:
        path = folder / name
        return not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sums[name]

    return [name for name in sums if differs(name)]


def resolve(settings: Settings, jars: Jars, cache: Path) -> None:
    """Let Spark fetch ``jars`` into ``cache``. Raises InstallationError where it cannot."""
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / "nothing.py"  # spark-submit resolves before it runs something: this is the something
    program.write_text("")
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[1]"]
    command += ["--packages", ",".join(jars.packages), "--exclude-packages", ",".join(jars.excludes)]
    command += ["--conf", f"spark.jars.ivy={cache}"]
    if settings.ivy_settings:
        command += ["--conf", f"spark.jars.ivySettings={settings.ivy_settings}"]
    inherited = {name: value for name, value in native().items() if name not in ("SPARK_REMOTE", SPARK_TOKEN)}
    environment = {**inherited, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(  # noqa: S603  # Spark, with what config/jars names
        [*command, str(program)], env=environment, capture_output=True, text=True, check=False, cwd=cache
    )
    if done.returncode:
        log = settings.log / "jars.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        raise InstallationError(
            f"Spark's jars could not be fetched (see {log}): check the network, or name a mirror's Ivy settings "
            "in NOCTURNE_IVY_SETTINGS"
        )


def fetch(settings: Settings) -> bool:
    """Make the jars be there, each as its checksum says. Returns whether any had to be fetched."""
    if not any(wrong(settings.jars, expected(settings, jars)) for jars in needed(settings)):
        return False  # an image brings them, where nobody may write
    with alone(settings.jars / ".lock"):  # Ivy's cache is not made for two
        fetched = [_fetch(settings, jars) for jars in needed(settings)]
    return any(fetched)


def _fetch(settings: Settings, jars: Jars) -> bool:
    sums = expected(settings, jars)
    if not wrong(settings.jars, sums):
        return False
    cache = settings.jars.parent / "ivy"
    resolve(settings, jars, cache)
    for name in wrong(cache / "jars", sums):
        raise InstallationError(
            f"{cache / 'jars' / name} is not the file that config/{jars.sums} names: delete {cache}, try again"
        )
    for name in sums:
        partial = settings.jars / f".{name}.{os.getpid()}"
        shutil.copyfile(cache / "jars" / name, partial)
        partial.replace(settings.jars / name)
    return True


def paths(settings: Settings) -> list[Path]:
    """The jars, for Spark's class path."""
    return [settings.jars / name for jars in needed(settings) for name in expected(settings, jars)]
