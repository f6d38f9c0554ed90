"""The emulator: a process between two TUN devices. It reads IP packets from one and writes them to the other when due.

Lines on stdin: the `Plan`; then `go T` with T on CLOCK_MONOTONIC, s, when the schedule starts; at the end of file it
writes `Told` to stdout.
"""

from __future__ import annotations

import array
import contextlib
import gc
import heapq
import itertools
import os
import select
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from tests.netlab.model import MTU, Count, Direction, Stage
from tests.netlab.priority import urgent

if TYPE_CHECKING:
    from collections.abc import Sequence

CARRIES = 32  # bytes above TCP or UDP: less is an acknowledgement, a ping or a probe
BEFORE = 1e6  # s: on the schedule's clock it is that early until `go` comes
_TCP, _UDP = 6, 17
_PING, _EMPTY = 4, (0x40, 0x70)  # bytes of an empty CoAP message; confirmable, Reset
_PINGREQ, _PINGRESP = b"\xc0\x00", b"\xd0\x00"
_TCP_ACK = 52  # bytes of IP and TCP, with timestamps


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to emulate.

    Attributes:
        device: descriptor of the TUN in the device's namespace.
        gateway: of the one in the gateway's.
        stages: the schedule.
        seed: of its randomness.
    """

    device: int
    gateway: int
    stages: list[Stage]
    seed: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the emulator saw since the schedule's start.

    Attributes:
        up: the device's packets.
        down: the gateway's.
        probes: IP bytes both ways of questions that carry no rows (`probe_bytes`), lost ones too.
        seconds: IP bytes offered both ways in each second, whatever became of them.
        carrying: packets up that carry more than `CARRIES` bytes above TCP or UDP, lost ones too.
        late_p50: how much later than due packets were written, s: median.
        late_p99: the same: 99th percentile.
        late_max: the same: the greatest.
        priority: how it was allowed to run.
    """

    up: Count
    down: Count
    carrying: int
    late_p50: float
    late_p99: float
    late_max: float
    priority: str
    probes: int = 0
    seconds: list[int] = []


def is_udp(packet: bytes) -> bool:
    """Of an IPv4 packet."""
    return packet[9] == _UDP


def carried(packet: bytes) -> int:
    """Bytes above TCP or UDP (RFC 9293, RFC 768) of an IPv4 packet (RFC 791); 0 for other protocols."""
    head = 4 * (packet[0] & 15)
    if packet[9] == _TCP:
        return len(packet) - head - 4 * (packet[head + 12] >> 4)
    return len(packet) - head - 8 if is_udp(packet) else 0


def probe_bytes(packet: bytes) -> int:
    """IP bytes that a packet costs as a question, or as its answer; 0 if it is neither.

    CoAP ping and its Reset: an empty message of 4 bytes (RFC 7252, 4.3). MQTT's PINGREQ, and PINGRESP with the
    acknowledgement of 52 bytes that it causes (MQTT 5, 3.12 and 3.13).
    """
    above = carried(packet)
    payload = packet[len(packet) - above :]
    if is_udp(packet):
        return len(packet) if above == _PING and payload[0] in _EMPTY and payload[1] == 0 else 0
    if payload == _PINGREQ:
        return len(packet)
    return len(packet) + _TCP_ACK if payload == _PINGRESP else 0


class Emulator:
    """The pump between the descriptors and the two `Direction`s."""

    def __init__(self, plan: Plan) -> None:
        up, down = Direction(plan.stages, "up", plan.seed), Direction(plan.stages, "down", plan.seed)
        self._ways = {plan.device: (up, plan.gateway), plan.gateway: (down, plan.device)}
        self._up, self._down, self._device = up, down, plan.device
        self._start = time.monotonic() + BEFORE
        self._air: list[tuple[float, int, int, bytes]] = []  # heap of (due, order, to, packet)
        self._order = itertools.count()
        self._carrying = self._probes = 0
        self._seconds: list[int] = []
        self._late = array.array("d")
        self._priority = "normal"

    def run(self, commands: int) -> Told:
        """Pump until the end of file on `commands`."""
        self._priority = urgent()
        for fd in self._ways:
            os.set_blocking(fd, False)
        watched = [*self._ways, commands]
        while True:
            wait = max(0.0, self._air[0][0] - time.monotonic()) if self._air else None
            ready = select.select(watched, [], [], wait)[0]
            self._deliver()
            if commands in ready:
                line = os.read(commands, 4_096).decode()
                if not line:
                    return self._told()
                self._start = float(line.removeprefix("go "))
                ready.remove(commands)
            for fd in ready:
                self._take(fd)

    def _take(self, fd: int) -> None:
        way, to = self._ways[fd]
        with contextlib.suppress(BlockingIOError):
            while packet := os.read(fd, MTU + 64):
                if packet[0] >> 4 != 4:
                    continue  # IPv6 looking for routers
                now = time.monotonic() - self._start
                if now >= 0:
                    self._carrying += fd == self._device and carried(packet) > CARRIES
                    self._probes += probe_bytes(packet)
                    self._count(int(now), len(packet))
                due = way.offer(now, len(packet), udp=is_udp(packet))
                if due is not None:
                    heapq.heappush(self._air, (due + self._start, next(self._order), to, packet))

    def _count(self, second: int, size: int) -> None:
        if second >= len(self._seconds):
            self._seconds.extend([0] * (second + 1 - len(self._seconds)))
        self._seconds[second] += size

    def _deliver(self) -> None:
        air = self._air
        while air and air[0][0] <= (now := time.monotonic()):
            due, _, to, packet = heapq.heappop(air)
            os.write(to, packet)
            if now >= self._start:
                self._late.append(now - due)

    def _told(self) -> Told:
        late = sorted(self._late) or [0.0]
        return Told(
            up=self._up.count, down=self._down.count, carrying=self._carrying, late_p50=_at(late, 0.5),
            late_p99=_at(late, 0.99), late_max=late[-1], priority=self._priority, probes=self._probes,
            seconds=self._seconds,
        )  # fmt: skip


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Emulate what stdin says."""
    with os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        emulator = Emulator(msgspec.json.decode(stdin.readline(), type=Plan))
    gc.disable()  # no pauses; a run makes no cycles
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdout.write(msgspec.json.encode(emulator.run(sys.stdin.fileno())).decode() + "\n")


if __name__ == "__main__":
    main()
