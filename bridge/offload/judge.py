"""Whether what a cloud agent says can be an answer: everything in it comes from another machine, and some is published.

No clock: `now` is an argument.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.offload.agents import SHARED
from bridge.offload.refusals import UNUSABLE
from bridge.offload.sending import PLAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.offload.agents import Agents
    from bridge.offload.sending import Sending
    from bridge.wire.offload import Reply

log = logging.getLogger("bridge.offload")

LONGEST: Final = 64  # characters of a name
LONGEST_LABEL: Final = 256  # characters, where the model's labels are not known
LONGEST_WORDS: Final = 300  # characters of a refusal that are repeated
EVERY: Final = 10.0  # seconds between two lines in the log
COUNT: Final = "cloud_answers_refused"


class Refusal(NamedTuple):
    """Why a reply is no answer.

    Attributes:
        error: begins with a word of `refusals`, if one fits.
        why: in words, with the agent's name.
    """

    error: str
    why: str


class Judge:
    """Refuses answers, counts them, and says so now and then.

    Args:
        agents: who may answer what is asked by the topic that agents share.
        models: what is known of each model.
        counts: where to count.
    """

    def __init__(self, agents: Agents, models: Mapping[str, Sending], counts: Counter[str] | None = None) -> None:
        self._agents = agents
        self._models = models
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._silent_until = -math.inf

    def stranger(self, reply: Reply, asked: Collection[str], now: float) -> bool:
        """Whether a reply is refused because its agent was not asked.

        Args:
            reply: the reply.
            asked: names of the agents that were; `SHARED` stands for all that are known.
            now: monotonic seconds.
        """
        named = reply.cloud != SHARED and reply.cloud in asked
        if named or (SHARED in asked and self._agents.known(reply.cloud)):
            return False
        self._refused(reply, "it was not asked", now)
        return True

    def refusal(self, model: str, reply: Reply, now: float) -> Refusal | None:
        """Why a reply of who was asked is no answer, be it that the agent says so itself; None: it is one.

        Args:
            model: the model asked.
            reply: the reply.
            now: monotonic seconds.
        """
        if reply.error is not None or reply.label is None or reply.score is None:
            error = shown(reply.error or "no label")
            return Refusal(error, f"{reply.cloud} refused: {error}")
        wrong = self.wrong(model, reply, now)
        return Refusal(UNUSABLE, f"the answer of {reply.cloud} is refused: {wrong}") if wrong else None

    def wrong(self, model: str, reply: Reply, now: float) -> str:
        """Why an answer is refused, in words; empty: it is not.

        Args:
            model: the model asked.
            reply: the answer.
            now: monotonic seconds.
        """
        why = self._why(model, reply)
        if why:
            self._refused(reply, why, now)
        return why

    def _why(self, model: str, reply: Reply) -> str:
        for name in ("cloud", "version", "variant", "engine"):
            text = getattr(reply, name)
            if len(text) > LONGEST or not text.isprintable():
                return f"its {name} is not a name of at most {LONGEST} printable characters"
        if reply.score is not None and not 0.0 <= reply.score <= 1.0:
            return f"its score is {reply.score:.6g}, not 0 to 1"
        if reply.label is None:
            return ""
        labels = self._models.get(model, PLAIN).labels
        if reply.label not in labels if labels else not _may_be_label(reply.label):
            return f"{shown(reply.label, LONGEST)!r} is not a label of {model}"
        return ""

    def _refused(self, reply: Reply, why: str, now: float) -> None:
        self._counts[COUNT] += 1
        if now >= self._silent_until:
            self._silent_until = now + EVERY
            cloud, count = shown(reply.cloud, LONGEST), self._counts[COUNT]
            log.warning("an answer of cloud agent %r is refused: %s (%d so far)", cloud, why, count)


def shown(text: str, most: int = LONGEST_WORDS) -> str:
    """Somebody else's words, fit to be repeated: on one line, and no more than so many characters."""
    return "".join(one if one.isprintable() else " " for one in text[:most])


def _may_be_label(text: str) -> bool:
    return 0 < len(text) <= LONGEST_LABEL and text.isprintable()
