"""All policies on all traces, and the rows that are judged of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tests.place import replay
from tests.place.ours import Ours
from tests.place.policies import AlwaysBridge, AlwaysCloud, ConfidenceOnly
from tests.place.replay import Told
from tests.place.rows import Row, ratios, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.place.replay import Policy
    from tests.place.trace import Trace
    from tests.place.windows import Judged

DEADLINES = (0.25, 1.0)  # s
SEEDS = tuple(range(1, 16))  # of who sends which recording, and when: fewer leave the median to chance
LATENCY_AT = 1.0  # s: the deadline of the latency row
OF_ORACLE, OF_LATENCY = 0.97, 0.6
ORACLE = "oracle"
RIVALS = (AlwaysBridge.name, AlwaysCloud.name, ConfidenceOnly.name)
NAMES = (Ours.name, *RIVALS, ORACLE)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one trace.

    Attributes:
        trace: its name.
        policy: its name.
        deadline: s.
        seed: of the windows' order.
        told: what became of each window, by arrival.
        questions: that left for the cloud, for whatever reason.
    """

    trace: str
    policy: str
    deadline: float
    seed: int
    told: list[Told]
    questions: int = 0

    @property
    def right_in_time(self) -> int:
        """Windows answered right by their deadline."""
        return sum(one.right and one.latency <= self.deadline for one in self.told)

    @property
    def right(self) -> float:
        """Share answered right, whenever."""
        return float(np.mean([one.right for one in self.told]))

    @property
    def latency(self) -> float:
        """Mean s until the answer; what was late or never came counts as the deadline."""
        return float(np.mean([min(one.latency, self.deadline) for one in self.told]))

    @property
    def sent(self) -> float:
        """Questions of all windows, 0…1; shadows and second copies among them."""
        return self.questions / len(self.told)


def fresh(judged: Judged) -> list[Policy]:
    """Every policy, knowing nothing yet."""
    below = judged.bridge.below
    assert below is not None, "the manifest declares a threshold"
    return [Ours(judged.manifest), AlwaysBridge(), AlwaysCloud(), ConfidenceOnly(below)]


def run(judged: Judged, links: Sequence[Trace], bridge: Trace, say: Callable[[str], None]) -> list[Outcome]:
    """Replay all."""
    found = []
    for link in links:
        for seed in SEEDS:
            coming = replay.arrivals(judged.held.recording.tolist(), link.end, seed)
            for deadline in DEADLINES:
                of = {one.name: replay.replay(one, judged, link, bridge, coming, deadline) for one in fresh(judged)}
                best = replay.oracle(judged, link, bridge, coming, deadline)
                of[ORACLE] = best, sum(one.asked for one in best)
                found += [
                    Outcome(trace=link.name, policy=name, deadline=deadline, seed=seed, told=told, questions=questions)
                    for name, (told, questions) in of.items()
                ]
        say(f"replayed {link.name}: {len(coming):,} windows × {len(SEEDS)} orders × {len(DEADLINES)} deadlines")
    return found


class Results:
    """All outcomes, by policy and deadline; of each, one entry a seed, summed over the traces."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = list(outcomes)

    def of(self, policy: str, deadline: float, trace: str | None = None) -> list[list[Outcome]]:
        """The outcomes of each seed, on one trace or all."""
        found = [
            one
            for one in self.outcomes
            if one.policy == policy and one.deadline == deadline and trace in {None, one.trace}
        ]
        return [[one for one in found if one.seed == seed] for seed in sorted({one.seed for one in found})]

    def right_in_time(self, policy: str, deadline: float, trace: str | None = None) -> list[int]:
        """Windows."""
        return [sum(one.right_in_time for one in group) for group in self.of(policy, deadline, trace)]

    def latency(self, policy: str, deadline: float, trace: str | None = None) -> list[float]:
        """Mean s."""
        return [float(np.mean([one.latency for one in group])) for group in self.of(policy, deadline, trace)]

    def share(self, policy: str, deadline: float, trace: str | None = None) -> float:
        """Answered right by the deadline, of all windows and seeds."""
        groups = self.of(policy, deadline, trace)
        return sum(self.right_in_time(policy, deadline, trace)) / sum(len(one.told) for g in groups for one in g)

    @property
    def traces(self) -> list[str]:
        """By name."""
        return sorted({one.trace for one in self.outcomes})


def changing(results: Results) -> list[Row]:
    """Right by the deadline: of the oracle's, and how many windows more than each rival's."""
    rows = [_of_the_oracle(results)]
    for deadline in DEADLINES:
        ours = results.right_in_time(Ours.name, deadline)
        for rival in RIVALS:
            theirs = results.right_in_time(rival, deadline)
            more = [float(one - other) for one, other in zip(ours, theirs, strict=True)]
            shares = results.share(Ours.name, deadline), results.share(rival, deadline)
            rows.append(
                row(
                    f"changing-{rival.replace(' ', '-')}-{deadline:g}s",
                    f"right within {deadline:g} s, more than {rival}", more, "at least", 1.0, unit="windows",
                    note=f"{shares[0]:.2%} against {shares[1]:.2%}",
                )
            )  # fmt: skip
    return rows


def _of_the_oracle(results: Results) -> Row:
    """Of what the oracle answers right in time, over all traces and deadlines; each deadline's in the note."""
    ours, best = (
        [sum(of_seed) for of_seed in zip(*(results.right_in_time(name, d) for d in DEADLINES), strict=True)]
        for name in (Ours.name, ORACLE)
    )
    each = {
        f"{deadline:g} s": float(
            np.median(ratios(results.right_in_time(Ours.name, deadline), results.right_in_time(ORACLE, deadline)))
        )
        for deadline in DEADLINES
    }
    by_trace = {
        f"{trace} {deadline:g} s": results.share(Ours.name, deadline, trace) / results.share(ORACLE, deadline, trace)
        for trace in results.traces
        for deadline in DEADLINES
    }
    note = "within " + ", ".join(f"{deadline} {ratio:.4f}" for deadline, ratio in each.items())
    what = f"right by the deadline, of the oracle's, {len(results.traces)} traces"
    return row("changing-oracle", what, ratios(ours, best), "at least", OF_ORACLE, note=note, raw=by_trace)


def latency(results: Results, judged: Judged) -> list[Row]:
    """Mean latency of always-cloud's, and whether the accuracy was the cloud's."""
    ours, theirs = (results.latency(name, LATENCY_AT) for name in (Ours.name, AlwaysCloud.name))
    by_trace = {
        trace: float(np.mean(results.latency(Ours.name, LATENCY_AT, trace)))
        / float(np.mean(results.latency(AlwaysCloud.name, LATENCY_AT, trace)))
        for trace in results.traces
    }
    right = [float(np.mean([one.right for one in group])) for group in results.of(Ours.name, LATENCY_AT)]
    alone = float(judged.big.right.mean())
    note = f"{np.mean(ours):.3f} s against {np.mean(theirs):.3f} s; late counts as {LATENCY_AT:g} s"
    return [
        row(
            "latency", "mean latency, of always cloud's", ratios(ours, theirs), "at most", OF_LATENCY, note=note,
            raw=by_trace,
        ),
        row(
            "latency-accuracy", "accuracy of the same answers, of the cloud's alone", [one / alone for one in right],
            "at least", 1.0, note=f"{np.mean(right):.2%} against {alone:.2%} with all the time in the world",
        ),
    ]  # fmt: skip
