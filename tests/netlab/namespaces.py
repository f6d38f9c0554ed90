"""Two network namespaces, each with a TUN device whose descriptor we hold. Needs root.

Names carry our process id, so that those of a dead run are known and removed by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from tests.netlab.model import MTU

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEVICE, GATEWAY = "10.77.0.1", "10.77.0.2"  # the same in every run: namespaces do not see each other
CONGESTION = "cubic"  # Linux' default; named, because BBR gives other figures
TUN = Path("/dev/net/tun")
NETNS = Path("/run/netns")
_NAME = re.compile(r"nl(\d+)x\d+[dg]")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # bits of capability(7)
_numbers = itertools.count()


class Namespace(msgspec.Struct, frozen=True):
    """One side.

    Attributes:
        name: as `ip netns list` shows it, and of the TUN device inside.
        address: IPv4.
        tun: descriptor of the device.
    """

    name: str
    address: str
    tun: int

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs this one inside; it becomes it, so the process id is its own."""
        return ["ip", "netns", "exec", self.name, *argv]


class Pair(msgspec.Struct, frozen=True):
    """Both sides, not joined: that is the emulator's work."""

    device: Namespace
    gateway: Namespace


def why_not() -> str | None:
    """Why there can be no laboratory here; None if there can."""
    if shutil.which("ip") is None:
        return "ip is not installed (Debian: iproute2)"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} cannot be opened: it needs root and the tun driver"
    held = int(re.findall(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())[0], 16)
    missing = [name for name, bit in _NEEDED.items() if not held >> bit & 1]
    if missing:
        return f"network namespaces need {' and '.join(missing)}: run as root"
    try:
        with pair():
            return None
    except (OSError, RuntimeError) as why:  # a container may forbid what its capabilities allow
        return f"the system refuses: {why}"


@contextlib.contextmanager
def pair(congestion: str = CONGESTION) -> Iterator[Pair]:
    """Make both; at the end whatever still runs inside is killed, and they are removed.

    Args:
        congestion: TCP's congestion control in both.

    Raises:
        RuntimeError: the system refuses.
    """
    number = next(_numbers)
    with _side(number, "d", congestion) as device, _side(number, "g", congestion) as gateway:
        yield Pair(device, gateway)


@contextlib.contextmanager
def _side(number: int, side: Literal["d", "g"], congestion: str) -> Iterator[Namespace]:
    name = f"nl{os.getpid()}x{number}{side}"
    here, there = (DEVICE, GATEWAY) if side == "d" else (GATEWAY, DEVICE)
    _ip("netns", "add", name)
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
            _ip("link", "set", name, "netns", name)
            _ip("-n", name, "addr", "add", here, "peer", there, "dev", name)
            _ip("-n", name, "link", "set", name, "mtu", str(MTU), "up")
            _ip("-n", name, "link", "set", "lo", "up")
            # by route, since a namespace may not set its default to what the machine does not allow to everybody
            _ip("-n", name, "route", "replace", there, "dev", name, "congctl", congestion)
            yield Namespace(name, here, fd)
        finally:
            os.close(fd)
    finally:
        remove(name)


def left_behind() -> list[str]:
    """Namespaces of runs whose process is gone."""
    names = [path.name for path in NETNS.glob("nl*")] if NETNS.is_dir() else []
    return [name for name in names if (of := _NAME.fullmatch(name)) and not Path("/proc", of[1]).exists()]


def remove(name: str) -> None:
    """Kill what runs inside, and delete the namespace; nothing if it is gone.

    Raises:
        ValueError: not a name that this module gives.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name} is none of the laboratory's namespaces")
    if not (NETNS / name).exists():
        return
    for pid in _pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _ip("netns", "del", name)


def pids(of: Namespace) -> list[int]:
    """Processes inside."""
    return _pids(of.name)


def _pids(name: str) -> list[int]:
    return [int(pid) for pid in _run("ip", "netns", "pids", name).split()]


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
