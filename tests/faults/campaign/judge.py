"""From evidence to verdict. Pure: no process, no clock; so that it can be fed false evidence itself.

What is asked for, by the contract:

*Lost.* Rows whose acceptance was confirmed, and those numbered between them, form the windows of one epoch: each starts
where row number mod hop = 0 (a whole window: where a message starts) and lies within the accepted rows. Each must have
an effective Result: the first heard with `provisional` false. Rows a damaged store alone held may be lost, but only if
its program told of the damage when it started again; such windows are counted as *told*. What that is, is as narrow as
can be seen from outside: for the agent's store, rows accepted and not receipted when it was damaged; for the bridge's,
rows receipted and not yet in a window with a Result. All else has another holder and must come.

*Doubled.* A later Result with `provisional` false for an id already answered must say the same label, the score within
`SAME`, and the same rows. The tier may differ.

*Disorder.* First Results of one lane and epoch come in the order of their rows. Where the broker was lost the
subscriber cannot see the first ones of that time, only their repetitions; so order is judged of what was heard in the
first session, and of windows whose rows were accepted once the subscriber was back. Two bridges promise no common
order. Windows that the cloud is asked about are no exception: others wait for them.

*Provisional.* Only where the route allows them, with `rev` 0, each saying one thing; then the final one has `rev` 1,
and it does come, unless it is excused as above. A final one of `rev` 1 whose provisional one was not heard is right:
the bridge may have died between its commit and the publication.

*Wrong.* A Result for no window, an answer at the edge that is not the engine's for these very rows, or a row number
given to two rows.

*Stuck.* The agent did not get everything receipted, or a program did not start, however often it was started again.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from tests.faults.campaign.plan import WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.campaign.evidence import Accepted, Evidence, Heard, Truth

HOP = 64
SAME = 1e-3  # of a score: one window computed twice, in batches of different sizes
NEAR = 0.02  # of a score: the same beside an engine of another batch


class Verdict(msgspec.Struct):
    """What became of a seed's windows; each list holds a sentence a case.

    Attributes:
        windows: that were expected.
    """

    windows: int = 0
    lost: list[str] = []
    told: list[str] = []
    doubled: list[str] = []
    disorder: list[str] = []
    wrong: list[str] = []
    ledger: list[str] = []
    stuck: list[str] = []

    @property
    def passed(self) -> bool:
        """Nothing lost untold, doubled, disordered or wrong; the ledger adds up; it came to an end by itself."""
        return self.sound and not self.ledger

    @property
    def sound(self) -> bool:
        """As `passed`, whatever the ledger says: the set-up can go on."""
        return not (self.lost or self.doubled or self.disorder or self.wrong or self.stuck)


def judge(evidence: Evidence) -> Verdict:
    """The verdict."""
    windows = expected(evidence)
    verdict = Verdict(windows=len(windows), ledger=_ledger(evidence), stuck=list(evidence.stuck))
    for epoch, seq in sorted(unfinished(windows, evidence.heard)):
        told = excused(evidence, epoch, seq)
        (verdict.told if told else verdict.lost).append(
            f"window {seq}–{seq + WINDOW - 1} of epoch {epoch} has no effective Result" + (f" ({told})" * bool(told))
        )
    verdict.doubled = doubled(evidence.heard)
    lines = [] if evidence.shared else _lines(evidence)
    verdict.disorder = [
        f"lane {after.lane}: window {after.seq} came first after window {before.seq}" for before, after in _back(lines)
    ]
    verdict.wrong = [
        *_wrong(evidence, set(windows)), *_in_two_steps(evidence), *_numbered_twice(evidence.accepted)
    ]  # fmt: skip
    return verdict


def unfinished(windows: Iterable[tuple[str, int]], heard: Iterable[Heard]) -> set[tuple[str, int]]:
    """Of these windows and of those with a provisional Result, the ones without a final one."""
    begun = set(windows)
    ended: set[tuple[str, int]] = set()
    for one in heard:
        (begun if one.provisional else ended).add((one.epoch, one.seq))
    return begun - ended


def expected(evidence: Evidence) -> list[tuple[str, int]]:
    """Epoch and first row of each window of accepted rows. Numbers between confirmed ones were accepted, too."""
    ends: dict[str, int] = {}
    for one in evidence.accepted:
        ends[one.epoch] = max(ends.get(one.epoch, 0), one.last + 1)
    step = WINDOW if evidence.shared else HOP
    return [(epoch, seq) for epoch, end in ends.items() for seq in range(0, end - WINDOW + 1, step)]


def doubled(heard: Iterable[Heard]) -> list[str]:
    """Windows with two different effective Results."""
    effective: dict[str, Heard] = {}
    found: dict[str, str] = {}
    for one in heard:
        if one.provisional:
            continue
        first = effective.setdefault(one.id, one)
        same = (first.label, first.seq, first.epoch, first.stream) == (one.label, one.seq, one.epoch, one.stream)
        if not same or abs(first.score - one.score) > SAME:
            found[one.id] = (
                f"window {first.seq}, id {one.id[:8]}: {first.label} {first.score:.3f} by {first.tier}, "
                f"then {one.label} {one.score:.3f} by {one.tier}"
            )
    return list(found.values())


def _ledger(evidence: Evidence) -> list[str]:
    return ["the bridge gave no ledger"] if evidence.ledger is None else list(evidence.ledger)


def excused(evidence: Evidence, epoch: str, seq: int) -> str | None:
    """Why the window that begins there may be lost, if it may."""
    for excuse in evidence.excuses:
        if excuse.told and excuse.epoch == epoch and any(a < seq + WINDOW and seq <= b for a, b in excuse.rows):
            return excuse.why
    return None


def _lines(evidence: Evidence) -> list[list[Heard]]:
    """First Results as they came, of each epoch and lane, as far as the subscriber can have seen the first ones."""
    firsts: dict[str, Heard] = {}
    for one in evidence.heard:
        firsts.setdefault(one.id, one)
    begun = sorted(((one.at, one.epoch, one.first) for one in evidence.accepted), reverse=True)
    since = {epoch: first for at, epoch, first in begun if at >= evidence.attended}
    lines: dict[tuple[str, str, bool], list[Heard]] = defaultdict(list)
    session = min((one.session for one in evidence.heard), default=0)
    for one in firsts.values():
        if one.session == session and not (evidence.attended and one.at >= evidence.attended):
            lines[one.epoch, one.lane, False].append(one)
        elif one.epoch in since and one.seq >= since[one.epoch]:
            lines[one.epoch, one.lane, True].append(one)
    return list(lines.values())


def _back(lines: Iterable[list[Heard]]) -> Iterator[tuple[Heard, Heard]]:
    """Neighbours in the wrong order."""
    for line in lines:
        for before, after in pairwise(line):
            if after.seq < before.seq:
                yield before, after


def _wrong(evidence: Evidence, windows: set[tuple[str, int]]) -> Iterator[str]:
    step = WINDOW if evidence.shared else HOP
    for one in evidence.heard:
        if (one.epoch, one.seq) not in windows and not _of_unconfirmed_rows(evidence, one, step):
            yield f"a Result for no window: row {one.seq} of epoch {one.epoch}"
        truth = evidence.truth.get((one.epoch, one.seq))
        if truth is not None and one.tier == "bridge" and not _alike(one, truth):
            yield (
                f"window {one.seq}: {one.label} {one.score:.3f}, but the engine says of these rows "
                f"{truth.label} {truth.score:.3f}"
            )


def _in_two_steps(evidence: Evidence) -> Iterator[str]:
    """Provisional Results that there may not be, or that say two things; revisions that do not fit them."""
    first: dict[str, Heard] = {}
    for one in evidence.heard:
        if not evidence.provisional and (one.provisional or one.rev):
            yield f"window {one.seq}: a provisional Result, or one that follows it, where none is allowed"
        if one.provisional:
            before = first.setdefault(one.id, one)
            if (one.rev, one.tier) != (0, "bridge"):
                yield f"window {one.seq}: a provisional Result of revision {one.rev} by {one.tier}"
            if one.label != before.label or abs(one.score - before.score) > SAME:
                yield f"window {one.seq}: provisionally {before.label}, then provisionally {one.label}"
    revisions: dict[str, int] = {}
    for one in evidence.heard:
        if one.provisional or excused(evidence, one.epoch, one.seq):
            continue
        if one.rev != revisions.setdefault(one.id, one.rev):
            yield f"window {one.seq}: two final Results, of revisions {revisions[one.id]} and {one.rev}"
        if one.id in first and one.rev != 1:
            yield f"window {one.seq}: a final Result of revision {one.rev} after a provisional one"


def _alike(one: Heard, truth: Truth) -> bool:
    return truth.label == one.label and abs(truth.score - one.score) <= NEAR


def _of_unconfirmed_rows(evidence: Evidence, one: Heard, step: int) -> bool:
    """Whether the window may hold rows handed over last whose acceptance nobody was told of."""
    ends = [each.last + 1 for each in evidence.accepted if each.epoch == one.epoch]
    unknown = not evidence.accepted  # such as of a replay that did not come to its end
    return one.seq % step == 0 and (unknown or (bool(ends) and one.seq + WINDOW > max(ends)))


def _numbered_twice(accepted: Iterable[Accepted]) -> Iterator[str]:
    ends: dict[str, int] = {}
    for one in accepted:
        if one.first < ends.get(one.epoch, 0):
            yield f"epoch {one.epoch}: row number {one.first} was given again, after {ends[one.epoch] - 1}"
        ends[one.epoch] = max(one.last + 1, ends.get(one.epoch, 0))
