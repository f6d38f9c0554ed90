"""From what was sent and heard to figures. Pure: no process, no clock; so that it can be fed false evidence itself.

*Answered.* A window is answered by its effective Result: the first heard with `provisional` false. Later ones must say
the same; one from the bridge must be what its engine says of these very rows when asked directly. A Result for no
window makes the verdict worse by one window.

*In time.* Heard within the deadline since the last row was handed to MQTT, by the subscriber's clock, and by the
Result's own `latency_ms`. A window without an answer is not in time.

*Waiting for an open breaker.* Seen from outside: a Result that says the cloud is left alone, and that came at once,
proves that the breaker was open (or half-open) just then. From one such proof to the next it was open all the time,
unless the cloud answered in between, or did not answer several windows sent in between: one may be a probe. A window
that the bridge answers and that is under way for more than `OPEN_SHARE` of the deadline of such a time has waited for
an open breaker, whoever made it wait: its own question, asked before or as a probe, or an earlier window of its stream.

*Provisional.* Each provisional Result (`rev` 0) is followed by a final one with `rev` 1 by deadline + grace, and by no
other. Where the bridge was killed meanwhile it has at least a moment, `again`, after it was ready again.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAME = 1e-3  # of a score: one window computed twice, in batches of different sizes
NEAR = 0.02  # of a score: the same beside an engine of another batch
OPEN_SHARE = 0.25  # of the deadline
AT_ONCE = 0.1  # seconds
LEFT_ALONE = re.compile(r"did not answer lately")  # how a reason tells of an open breaker
SILENT = re.compile(r"did not answer within")  # and of a question that waited in vain


class Sent(msgspec.Struct, frozen=True):
    """A window whose last row was sent.

    Attributes:
        at: monotonic seconds.
        label: what the bridge's engine says of it, asked directly.
        score: its probability.
    """

    id: str
    device: str
    at: float
    label: str
    score: float


class Heard(msgspec.Struct, frozen=True):
    """A Result as the subscriber got it, at `at` monotonic seconds."""

    at: float
    id: str
    device: str
    label: str
    score: float
    tier: str
    provisional: bool
    rev: int
    latency_ms: float
    reason: str


class Life(msgspec.Struct, frozen=True):
    """A life of the bridge: monotonic seconds at which the one before was killed, and at which this one was ready."""

    killed: float
    ready: float


class Answers(msgspec.Struct, frozen=True):
    """How windows were answered.

    Attributes:
        sent: windows.
        missing: ids of those without an effective Result.
        contradicted: ids with two that differ, or with what the bridge's engine does not say.
        strange: ids of no window.
        late: ids answered after their deadline, or not.
        cloud: how many the cloud answered.
        worst: seconds that the slowest of the answered took, by the subscriber's clock.
    """

    sent: int
    missing: list[str]
    contradicted: list[str]
    strange: list[str]
    late: list[str]
    cloud: int
    worst: float

    @property
    def answered(self) -> float:
        """Per cent of the windows with exactly one effective Result."""
        return self._share(len(self.missing) + len(self.contradicted) + len(self.strange))

    @property
    def in_time(self) -> float:
        """Per cent of the windows answered by their deadline."""
        return self._share(len(self.late))

    def _share(self, bad: int) -> float:
        return 100.0 * max(0, self.sent - bad) / self.sent if self.sent else 0.0


def answers(sent: Iterable[Sent], heard: Iterable[Heard], *, deadline: float) -> Answers:
    """Judge how windows were answered within so many seconds."""
    windows = {one.id: one for one in sent}
    finals = _finals(heard)
    found = {name: said[0] for name, said in finals.items() if name in windows}
    took = {name: one.at - windows[name].at for name, one in found.items()}
    late = [
        name
        for name in windows
        if name not in found or took[name] > deadline or found[name].latency_ms > 1e3 * deadline
    ]
    return Answers(
        sent=len(windows),
        missing=[name for name in windows if name not in found],
        contradicted=[name for name in found if _contradicted(windows[name], finals[name])],
        strange=[name for name in finals if name not in windows],
        late=late,
        cloud=sum(one.tier == "cloud" for one in found.values()),
        worst=max(took.values(), default=0.0),
    )


def _finals(heard: Iterable[Heard]) -> dict[str, list[Heard]]:
    finals: dict[str, list[Heard]] = defaultdict(list)
    for one in heard:
        if not one.provisional:
            finals[one.id].append(one)
    return finals


def _contradicted(window: Sent, said: Sequence[Heard]) -> bool:
    first = said[0]
    wrong = first.tier == "bridge" and (first.label != window.label or abs(first.score - window.score) > NEAR)
    return wrong or any(not _same(one, first) for one in said[1:])


def _same(one: Heard, other: Heard) -> bool:
    same = (one.label, one.tier, one.rev) == (other.label, other.tier, other.rev)
    return same and abs(one.score - other.score) <= SAME


# ---- the breaker


def open_spans(sent: Sequence[Sent], heard: Sequence[Heard]) -> list[tuple[float, float]]:
    """When the breaker is proved to have been open, in monotonic seconds."""
    at = {one.id: one.at for one in sent}
    effective = [said[0] for name, said in _finals(heard).items() if name in at]
    alone = [one for one in effective if LEFT_ALONE.search(one.reason)]
    proofs = sorted((at[one.id], one.at) for one in alone if one.at - at[one.id] <= AT_ONCE)
    answered = sorted(one.at for one in effective if one.tier == "cloud")
    silent = sorted(at[one.id] for one in effective if SILENT.search(one.reason))
    spans: list[tuple[float, float]] = []
    for before, after in pairwise(proofs):
        begin, end = before[1], after[0]
        if _between(answered, before[0], after[1]) or _between(silent, before[0], after[0]) > 1 or begin >= end:
            continue
        if spans and spans[-1][1] >= before[0]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((begin, end))
    return spans


def _between(moments: Sequence[float], begin: float, end: float) -> int:
    """How many of the sorted moments are in between."""
    return bisect_right(moments, end) - bisect_left(moments, begin)


def waits(sent: Sequence[Sent], heard: Sequence[Heard]) -> dict[str, float]:
    """Seconds for which windows that the bridge answers were under way while the breaker was open, by id."""
    windows = {one.id: one.at for one in sent}
    spans = open_spans(sent, heard)
    found: dict[str, float] = {}
    for name, said in _finals(heard).items():
        if name in windows and said[0].tier == "bridge":
            common = [min(end, said[0].at) - max(begin, windows[name]) for begin, end in spans]
            found[name] = max([0.0, *common])
    return found


def waited(sent: Sequence[Sent], heard: Sequence[Heard], *, deadline: float) -> list[str]:
    """Ids of the windows that have waited for an open breaker."""
    return [name for name, seconds in waits(sent, heard).items() if seconds > OPEN_SHARE * deadline]


# ---- provisional Results


class Provisional(msgspec.Struct, frozen=True):
    """What became of provisional Results.

    Attributes:
        sent: windows.
        count: those that had one.
        without: ids without a final Result with `rev` 1.
        several: ids with finals that differ, or with a final that has another `rev`.
        late: ids whose final came after deadline + grace.
        unprompted: ids of finals with `rev` 1 and no provisional before; unless the bridge was killed meanwhile, which
            does not know after that whether it had published one.
        worst: seconds from the sending to the final, the longest.
    """

    sent: int
    count: int
    without: list[str]
    several: list[str]
    late: list[str]
    unprompted: list[str]
    worst: float

    @property
    def share(self) -> float:
        """Per cent of them with exactly one final in time; 0 where there was none."""
        bad = {*self.without, *self.several, *self.late, *self.unprompted}
        return 100.0 * max(0, self.count - len(bad)) / self.count if self.count else 0.0


def provisional(
    sent: Iterable[Sent],
    heard: Iterable[Heard],
    *,
    deadline: float,
    grace: float,
    lives: Sequence[Life] = (),
    again: float = 0.0,
) -> Provisional:
    """Judge the finals of provisional Results.

    Args:
        sent: the windows.
        heard: all Results, in order of arrival.
        deadline: seconds for the provisional.
        grace: seconds more for the final.
        lives: of the bridge, after the first one.
        again: seconds after the beginning of each of them for what became due before.
    """
    at = {one.id: one.at for one in sent}
    heard = [one for one in heard if one.id in at]
    finals = _finals(heard)
    first: dict[str, Heard] = {}
    early: dict[str, float] = {}
    for one in heard:
        if one.provisional:
            first.setdefault(one.id, one)
        elif one.rev == 1 and one.id not in first:
            early.setdefault(one.id, one.at)
    took = {name: finals[name][0].at - at[name] for name in first if name in finals}
    return Provisional(
        sent=len(at),
        count=len(first),
        without=[name for name in first if name not in finals],
        several=[name for name in first if name in finals and not _one_final(finals[name])],
        late=[
            name
            for name in took
            if finals[name][0].at > max(at[name] + deadline + grace, _ready(lives, finals[name][0].at) + again)
        ],
        unprompted=[name for name, when in early.items() if not _killed(lives, at[name], when)],
        worst=max(took.values(), default=0.0),
    )


def _one_final(said: Sequence[Heard]) -> bool:
    return all(one.rev == 1 and _same(one, said[0]) for one in said)


def _killed(lives: Sequence[Life], begin: float, end: float) -> bool:
    """Whether the bridge was killed in between."""
    return any(begin <= life.killed <= end for life in lives)


def _ready(lives: Sequence[Life], at: float) -> float:
    """When the life in which that happened was ready; −∞: the bridge was not killed before."""
    return max((life.ready for life in lives if life.killed <= at), default=-math.inf)


def first_in_time(sent: Sequence[Sent], heard: Iterable[Heard], *, deadline: float, lives: Sequence[Life]) -> float:
    """Per cent of windows whose first Result, provisional or final, came by the deadline since sending or restart."""
    first: dict[str, float] = {}
    for one in heard:
        first.setdefault(one.id, one.at)
    late = [
        one
        for one in sent
        if one.id not in first or first[one.id] > max(one.at, _ready(lives, first[one.id])) + deadline
    ]
    return 100.0 * (len(sent) - len(late)) / len(sent) if sent else 0.0
