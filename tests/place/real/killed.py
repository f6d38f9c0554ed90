"""Two cloud agents in one group, killed in turn while questions are under way with them: no window is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from bridge.wire.offload import Question, decode_asking, decode_replies
from tests.place.real.judge import Heard, Sent, answers
from tests.place.real.rig import Rig, go_on, stop
from tests.place.real.traffic import WHOLE, Source
from tests.place.rows import Row, row
from tests.support.standin import Seen as Packet
from tests.support.standin import Tap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.programs import RunningProgram

DEADLINE = 2.0  # seconds
ROUTE = f'place = "cloud"\ndeadline = {DEADLINE}'
SOURCES, BURST, EVERY = 4, 60, 0.5  # each source sends so many windows at once, so often (seconds)
KILLS, PAUSE = 4, 1.5  # seconds between a restart and the next kill
SECONDS = 14.0
BUSY = 8  # questions under way at a victim
ON_ITS_WAY = 0.05  # seconds that replies need through the tap


class UnderWay:
    """Questions that came to an agent and that it has not replied to so far, read along on its wire."""

    def __init__(self, seen: Sequence[Packet]) -> None:
        self._seen = seen
        self._read = 0
        self._open: set[str] = set()

    def count(self) -> int:
        """How many there are now."""
        while self._read < len(self._seen):
            self._note(self._seen[self._read])
            self._read += 1
        return len(self._open)

    def forget(self) -> None:
        """The agent is gone, and they with it."""
        self._open.clear()

    def _note(self, packet: Packet) -> None:
        if packet.kind == "came" and "/_escalate/" in packet.topic:
            questions, cancelled = decode_asking(packet.payload)
            self._open -= set(cancelled)
            self._open |= {one.id for one in questions if isinstance(one, Question)}
        elif packet.kind == "sent" and "/_reply/" in packet.topic:
            self._open -= {reply.id for reply in decode_replies(packet.payload)}


class Victim:
    """A cloud agent behind a tap."""

    def __init__(self, rig: Rig, name: str) -> None:
        tap = rig.enter(Tap(rig.broker.port))
        self.program: RunningProgram = rig.agent(name, tap.url)
        self._questions = UnderWay(tap.seen)

    def kill_busy(self, timeout: float) -> int:
        """SIGKILL as soon as so many questions are under way with it; how many it took with it.

        It is held first: what it had replied by then is no hit, and then the next moment is waited for.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._questions.count() >= BUSY:
                stop(self.program)
                time.sleep(ON_ITS_WAY)
                if self._questions.count():
                    break
                go_on(self.program)
            time.sleep(0.0005)
        self.program.kill()
        left = self._questions.count()
        self._questions.forget()
        return left


class Seen(msgspec.Struct, frozen=True):
    """What was sent and heard, and how many questions each kill hit."""

    sent: list[Sent]
    heard: list[Heard]
    hit: list[int]


def rows(folder: Path) -> list[Row]:
    """What was lost, and whether the kills hit anything."""
    return judged(run(folder))


def run(folder: Path) -> Seen:
    """Flood two agents and kill them in turn."""
    with Rig(folder, {WHOLE: ROUTE}) as rig:
        victims = [Victim(rig, name) for name in ("gpu-1", "gpu-2")]
        for program in (rig.bridge, *(victim.program for victim in victims)):
            program.launch()
        for program in (rig.bridge, *(victim.program for victim in victims)):
            program.wait_ready()
        rig.warm_up()
        sources = bursts(rig.broker.url)
        rig.play(sources)
        hit = [_kill(victims[number % 2]) for number in range(KILLS)]
        rig.finish(sources, 2 * DEADLINE)
        names = {source.name for source in sources}
        heard = [one for one in rig.heard() if one.device in names]
        return Seen([one for source in sources for one in source.sent], heard, hit)


def bursts(url: str) -> list[Source]:
    """Sources of whole windows that send many at once."""
    count = round(SECONDS / EVERY) * BURST
    return [
        Source(url, f"b{number}", WHOLE, count=count, number=number, due=lambda window: EVERY * (window // BURST))
        for number in range(SOURCES)
    ]


def _kill(victim: Victim) -> int:
    time.sleep(PAUSE)  # the other one of the two is asked again meanwhile, and this one works
    hit = victim.kill_busy(5.0)
    victim.program.start()
    return hit


def judged(seen: Seen) -> list[Row]:
    """The rows."""
    found = answers(seen.sent, seen.heard, deadline=DEADLINE)
    lost = len(found.missing) + len(found.contradicted) + len(found.strange)
    note = (
        f"{found.sent} windows, {found.cloud} answered by the cloud; in time {found.in_time:.2f} %, "
        f"the slowest took {found.worst:.3f} s of {DEADLINE:g} s"
    )
    return [
        row("killed-lost", "two cloud agents, one killed mid-batch: windows without exactly one effective Result",
            [lost], "at most", 0.0, unit="windows", note=note),
        row("killed-under-way", "questions that the killed agent took with it, the fewest of the kills",
            [min(seen.hit, default=0)], "at least", 1.0, unit="questions", note=f"at the kills: {seen.hit}"),
    ]  # fmt: skip
