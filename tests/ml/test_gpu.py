"""What is read of a GPU, with NVML's answers made up."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from include.core.settings import settings
from include.ml import gpu

GIB = 2**30


CARDS = {0: "GPU-a00-more", 1: "GPU-b01-more", 2: "GPU-c02-more"}
FAKE = SimpleNamespace(  # three GPUs; the first is full
    NVMLError=RuntimeError,
    nvmlInit=lambda: None,
    nvmlShutdown=lambda: None,
    nvmlDeviceGetCount=lambda: len(CARDS),
    nvmlDeviceGetHandleByIndex=lambda number: number,
    nvmlDeviceGetName=lambda card: f"card {card}",
    nvmlDeviceGetUUID=CARDS.__getitem__,
    nvmlDeviceGetMemoryInfo=lambda card: SimpleNamespace(free=8 * GIB if card else 0, used=2 * GIB),
    nvmlDeviceGetUtilizationRates=lambda card: SimpleNamespace(gpu=90 + card),
    nvmlDeviceGetPowerUsage=lambda card: 250_000,
)


@pytest.fixture(autouse=True)
def _nvml(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FAKE)


def show(monkeypatch: pytest.MonkeyPatch, devices: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    settings.cache_clear()


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ("", [0, 1, 2]),
        ("2,0", [2, 0]),
        ("GPU-c0, GPU-a00-more", [2, 0]),
        ("1,7,2", [1]),
        ("GPU-x,1", []),
        ("-1", []),
    ],
)
def test_only_what_cuda_sees(monkeypatch: pytest.MonkeyPatch, devices: str, found: list[int]) -> None:
    show(monkeypatch, devices)
    assert gpu.names() == [f"card {number}" for number in found]


def test_a_training_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "GPU-b")
    monkeypatch.setattr(gpu, "EVERY_SECONDS", 0.001)
    with gpu.taken("cuda", GIB) as seen:
        time.sleep(0.05)
    assert (seen["gpu_utilisation"], seen["gpu_memory_mib"], seen["gpu_watts"]) == (91, 2048, 250)
    assert seen["gpu_seconds"] >= 0.05


def test_too_little_memory_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "0")
    said = r"needs about 1\.0 GiB of the memory of card 0, and 0\.0 are free"
    with pytest.raises(gpu.GpuFullError, match=said), gpu.taken("cuda", GIB):
        pytest.fail("it began")


def test_a_training_on_the_cpu_does_not_wait_for_the_gpu() -> None:
    with gpu.taken("cuda", 0), gpu.taken("cpu", 100 * GIB) as seen:
        assert seen == {}
