"""The NVIDIA GPUs that CUDA shows to this process, one training at a time, and what they do meanwhile. By NVML."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import mean
from typing import Any, cast

from include.core.errors import NocturneError
from include.core.lease import lease
from include.core.settings import settings

EVERY_SECONDS = 1.0
TURN_SECONDS = 6 * 3600.0
"""How long a training waits for another one on the GPU to end."""


class GpuFullError(NocturneError):
    """Too little of the GPU's memory is free. Another try may find it so."""


def _visible(nvml: Any) -> list[Any]:
    """Handles of the devices that CUDA sees, in its order; ``nvml`` is initialised.

    ``CUDA_VISIBLE_DEVICES`` lists numbers or UUIDs, which may be cut short; the first that fits nothing ends the list.
    Numbers are taken as NVML counts, which is CUDA's way with CUDA_DEVICE_ORDER=PCI_BUS_ID, or where all are alike.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    asked = settings().cuda_visible_devices
    if not asked:
        return handles
    found = []
    for word in (one.strip() for one in asked.split(",")):
        if word.isdigit():
            fits = handles[int(word) : int(word) + 1]
        else:
            fits = [one for one in handles if word.startswith("GPU-") and nvml.nvmlDeviceGetUUID(one).startswith(word)]
        if len(fits) != 1:
            break
        found += fits
    return found


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, ready; None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def names() -> list[str]:
    """The GPUs that CUDA sees, by name; empty where there is no driver."""
    with _nvml() as nvml:
        return [] if nvml is None else [str(nvml.nvmlDeviceGetName(one)) for one in _visible(nvml)]


def cupy_version() -> str:
    """The version of CuPy, under the names that it is published by; ``none`` where it is not installed."""
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        with suppress(PackageNotFoundError):
            return version(name)
    return "none"


def to_gpu() -> Callable[[Any], Any] | None:
    """What brings an array to the GPU, so that XGBoost makes its bins there; None where CuPy is not installed."""
    if cupy_version() == "none":
        return None
    import cupy

    return cast("Callable[[Any], Any]", cupy.asarray)


@contextmanager
def taken(device: str, bytes_needed: int) -> Iterator[dict[str, float]]:
    """Have the GPU for oneself meanwhile. Afterwards the dictionary says what it did, as metrics; of ``cpu`` nothing.

    XGBoost uses the first GPU that CUDA sees, and so that is the one that is watched: ``gpu_utilisation`` (mean, %),
    ``gpu_memory_mib`` (most), ``gpu_watts`` (mean) and ``gpu_seconds``.

    Raises GpuFullError before anything begins, and BusyError where another training has it for hours.
    """
    if device == "cpu":
        yield {}
        return
    # The device is this machine's: another one's trainings have theirs, and so have those on another device of it.
    device_of = f"gpu {settings().cuda_visible_devices} of {socket.gethostname()}"
    with lease(device_of, patience=TURN_SECONDS), _nvml() as nvml:
        handle = _visible(nvml)[0]
        free = int(nvml.nvmlDeviceGetMemoryInfo(handle).free)
        if free < bytes_needed:
            raise GpuFullError(
                f"a training needs about {bytes_needed / 2**30:.1f} GiB of the memory of "
                f"{nvml.nvmlDeviceGetName(handle)}, and {free / 2**30:.1f} are free: wait for others to end, or train "
                "on the CPU (NOCTURNE_DEVICE=cpu)"
            )
        found: dict[str, float] = {}
        samples, ended, begun = [_sample(nvml, handle)], threading.Event(), time.monotonic()

        def watch() -> None:
            while not ended.wait(EVERY_SECONDS):
                samples.append(_sample(nvml, handle))

        thread = threading.Thread(target=watch, name="gpu", daemon=True)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()
            busy, memory, watts = zip(*samples, strict=True)
            found |= {"gpu_utilisation": mean(busy), "gpu_memory_mib": max(memory), "gpu_watts": mean(watts)}
            found["gpu_seconds"] = time.monotonic() - begun


def _sample(nvml: Any, handle: Any) -> tuple[float, float, float]:
    """Utilisation in %, memory in MiB, power in watts."""
    return (
        float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
        nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    )
