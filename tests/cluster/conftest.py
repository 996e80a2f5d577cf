"""The cluster that the tests of this folder share: every service of compose.cluster.yaml as a process of its image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.local import cluster_secrets
from tests.cluster import images
from tests.cluster.containers import Cluster, MissingError, require
from tests.docker.compose_file import CLUSTER, compose

START_SECONDS = 1800


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """All services, healthy. A machine where they cannot be is told what to install."""
    folder = tmp_path_factory.mktemp("cluster")
    folder.chmod(0o755)
    cluster_secrets.make(folder / "secrets", "localhost")
    given = {"NOCTURNE_CLUSTER_SECRETS": str(folder / "secrets"), "NOCTURNE_IMAGES": images.PREFIX}
    try:
        require()
        images.standins()
        images.ours()
    except MissingError as missing:
        pytest.fail(str(missing), pytrace=False)
    one = Cluster(compose(given, CLUSTER), folder, CLUSTER.parent)
    try:
        one.wire()
        one.up(START_SECONDS)
        yield one
    finally:
        one.down()
