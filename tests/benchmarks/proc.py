"""What /proc tells of a process and of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time so far, all threads, also those that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def rss_bytes(pid: int) -> int:
    """Resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def written_bytes(pid: int) -> int:
    """What it has caused to be written to disk so far."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def load_average() -> tuple[float, float, float]:
    return os.getloadavg()


def machine(mosquitto: str) -> dict[str, Any]:
    """What the figures were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    said = subprocess.run([mosquitto, "-h"], capture_output=True, text=True, check=False, timeout=10).stdout
    packages = ("onnxruntime", "numpy", "mqtt5", "msgspec", "cbor2", "paho-mqtt", "aiomqtt")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mosquitto": said.partition("\n")[0],
        "packages": {name: version(name) for name in packages},
    }
