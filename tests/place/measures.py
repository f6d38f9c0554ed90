"""Rows of the models and of the decision itself: accuracy, calibration, cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bridge.offload.agents import Agents
from bridge.place.decide import CloudView, decide
from bridge.runtime.calibration import BINS, stated_and_true
from bridge.wire.offload import Reply
from tests.place.ours import AGENT, Ours
from tests.place.rows import Row, row
from tests.place.windows import MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.place.windows import Answers, Judged

ERROR = 0.05
SENT_MOST, SENT_LEAST = 35.0, 18.0  # %, of the two targets
LEAST = 0.98
COST = 50.0  # µs
REPEATS, ROUNDS = 1_000, 30
UNSURE, SIZE = 0.55, 900  # certainty; bytes of a question
PERFECT = CloudView(there=True, agent="gpu-1", expected=0.05, in_time=1.0, in_grace=1.0)


def chosen(judged: Judged) -> NDArray[np.bool_]:
    """(n,) the windows that the bridge sends up where link and cloud never fail."""
    ours = Ours(judged.manifest)
    return np.array(
        [
            decide(certainty, ours.chances, ours.terms, PERFECT, left=1.0).where == "cloud"
            for certainty in judged.small.certainty.tolist()
        ]
    )


def accuracy(judged: Judged) -> list[Row]:
    """Both targets of the first line, of one threshold: the manifest's."""
    up = chosen(judged)
    right = np.where(up, judged.asked.right, judged.small.right)
    figure = float(right.mean() / judged.big.right.mean())
    sent = 100.0 * float(up.mean())
    note = (
        f"{right.mean():.1%} right, cloud alone {judged.big.right.mean():.1%}, bridge alone "
        f"{judged.small.right.mean():.1%}; {sent:.1f} % sent up, below {judged.bridge.below}"
    )
    raw = {"by_subject": _by_subject(judged, up, right)}
    what = "accuracy of bridge and cloud together, of the cloud alone"
    return [
        row("accuracy-35", f"{what}; ≤ {SENT_MOST:.0f} % sent up", [figure], "at least", 1.0, note=note, raw=raw),
        row("accuracy-35-sent", "sent up for that", [sent], "at most", SENT_MOST, unit="%"),
        row("accuracy-18", f"{what}; ≤ {SENT_LEAST:.0f} % sent up", [figure], "at least", LEAST),
        row("accuracy-18-sent", "sent up for that", [sent], "at most", SENT_LEAST, unit="%"),
    ]


class Ceiling(msgspec.Struct, frozen=True):
    """What certainty can tell at best where link and cloud never fail.

    Attributes:
        ours: right answers of bridge and cloud together, of the oracle's.
        best: the same with the threshold that is best in hindsight, on these very windows.
        below: that threshold.
    """

    ours: float
    best: float
    below: float


def ceiling(judged: Judged) -> Ceiling:
    """Why no policy that goes by certainty comes nearer to the oracle than so."""
    small, big = judged.small, judged.asked
    oracle = float((small.right | big.right).mean())

    def together(up: NDArray[np.bool_]) -> float:
        return float(np.where(up, big.right, small.right).mean()) / oracle

    every = np.unique(small.certainty).tolist()
    best, below = max((together(small.certainty < below), below) for below in every)
    return Ceiling(together(chosen(judged)), best, below)


def _by_subject(judged: Judged, up: NDArray[np.bool_], right: NDArray[np.bool_]) -> dict[str, Any]:
    found = {}
    for subject in np.unique(judged.held.subject).tolist():
        of = judged.held.subject == subject
        parts = {"together": right, "cloud": judged.big.right, "bridge": judged.small.right, "sent": up}
        found[str(subject)] = {name: round(float(part[of].mean()), 4) for name, part in parts.items()}
    return found


def calibration(judged: Judged) -> list[Row]:
    """Of both tiers' scores, as they are told."""
    cloud = judged.manifest.for_tier("cloud").name
    tiers: Sequence[tuple[str, str, Answers]] = (
        ("bridge", judged.bridge.name, judged.small),
        ("cloud", cloud, judged.big),
    )
    return [
        row(
            f"calibration-{tier}", f"expected calibration error of {name}, {BINS} bins of equal mass",
            [stated_and_true(said.certainty, said.right).error], "at most", ERROR, unit="",
        )
        for tier, name, said in tiers
    ]  # fmt: skip


def cost(judged: Judged) -> list[Row]:
    """Time of a decision about a window that the bridge is unsure of, right after an answer was learned from.

    That is when it takes longest: what is known of the cloud is reckoned anew.
    """
    ours, agents = Ours(judged.manifest), Agents()
    news = agents.told(AGENT, {"online": True, "models": {MODEL: "1"}, "direct": True})
    assert news is not None
    agent, reply = news.agent, Reply("w", AGENT, label="said", score=0.9, run_ms=0.4, wait_ms=1.0)
    rounds, learning = [], []
    for turn in range(ROUNDS):
        deciding = []
        for number in range(REPEATS):
            now = 0.1 * (turn * REPEATS + number)
            begun = time.perf_counter()
            view = agents.view(MODEL, now, left=1.0, grace=0.0, size=SIZE, planned=0)
            choice = decide(UNSURE, ours.chances, ours.terms, view, left=1.0)
            decided = time.perf_counter()
            agent.takes("w", now)
            agent.replied(reply, now + 0.05, took=0.05 + 0.001 * (number % 7), size=SIZE)
            learning.append(1e6 * (time.perf_counter() - decided))
            deciding.append(1e6 * (decided - begun))
            assert choice.where == "cloud", "what is timed has to go the whole way"
        rounds.append(deciding)
    what = "a decision about an unsure window: what is known of the cloud, and which place is worth most"
    note = (
        f"medians of {REPEATS:,} each; p99 of all {np.quantile(rounds, 0.99):.3g} µs; "
        f"learning from the answer {np.median(learning):.3g} µs more"
    )
    medians = np.median(rounds, axis=1).tolist()
    return [row("cost", what, medians, "at most", COST, unit="µs", note=note)]
