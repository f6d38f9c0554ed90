"""What the figures of a tuner depend on: processor, cores, and the ONNX Runtime that ran."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from bridge.runtime import ort

_CPUINFO = Path("/proc/cpuinfo")
_KEYS = ("model name", "hardware", "cpu model", "cpu part")  # x86, older ARM, MIPS, newer ARM; the best first


class Machine(msgspec.Struct, frozen=True):
    """A machine, as far as it decides what is fast.

    Attributes:
        cpu: the processor's name.
        cores: cores that this process may use.
        runtime: version of ONNX Runtime.
        providers: ONNX Runtime's names of the execution providers that it was built with.
    """

    cpu: str
    cores: int
    runtime: str
    providers: tuple[str, ...]

    def differences(self, now: Machine) -> list[str]:
        """What is not as it was, in words."""
        pairs = [
            ("the processor", self.cpu, now.cpu),
            ("the number of cores", self.cores, now.cores),
            ("ONNX Runtime", self.runtime, now.runtime),
            ("its providers", ", ".join(self.providers), ", ".join(now.providers)),
        ]
        return [f"{what} was {before}, is {after}" for what, before, after in pairs if before != after]


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(cpu_name(), cores(), ort.version(), tuple(ort.providers()))


def cores() -> int:
    """Cores that this process may use: its affinity, where the system tells it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lanes(threads: int, cores: int) -> int:
    """Calls of an engine that keep so many cores busy together, each on so many threads; at least 1."""
    return max(1, cores // threads)


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name, or at least its architecture.

    Args:
        cpuinfo: Linux's file about it.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip().lower(), value.strip())
    best = next((found[key] for key in _KEYS if found.get(key)), "") or platform.processor()
    return f"{best} ({platform.machine()})" if best else platform.machine()
