"""How each model's questions leave: QoS, encoding, and how many wait for each other. No clock: `now` is an argument.

The choice is `bridge.link`'s: what the agents' rows are there, questions are here. A profile is called
`mqtt-1/int8/1`: reliability, encoding, questions a message. While lone questions would fill less than half of the
link, waiting and a PUBACK cost nothing that matters: then each question leaves at once, at QoS 1, which also tells at
once when nobody is subscribed. Above, everything that the user did not exclude may be chosen.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.errors import ConfigError
from bridge.link import Chooser, Encoding, Estimate, Limits, Stream, enumerate_profiles
from bridge.link.traffic import OVERHEAD
from bridge.offload.arrivals import Rate, Step
from bridge.offload.sending import CODINGS, PLAIN
from bridge.wire.offload import MAX_BYTES, MOST, Question, encode_question

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.link import Decision, Profile
    from bridge.offload.sending import Coding, Sending

log = logging.getLogger("bridge.offload")

UP: Final = 0.5  # share of a question's patience for its way up; the rest is for the run and the way back
HELD: Final = 0.25  # share of its patience that a question may wait for others at most
FULL, ROOMY = 0.5, 0.25  # shares of the link that lone questions would fill: from here on they wait, up to here not
THIN_AFTER, ROOMY_AFTER = 0.3, 2.0  # seconds that this must last
REFUTED_AFTER: Final = 0.3  # the same, once messages refuted the rate that made the link thin
WRONG, RIGHT = 5.0, 30.0  # seconds: thin again so soon, the refutation was wrong; not for so long, it was right
MOST_AFTER: Final = 9.6  # seconds; each wrong refutation doubles what the next one must last
NO_COAP: Final = "coap-*"
SAMPLES: Final = 4  # questions by which encodings are measured: frames of some windows are smaller than of others
CLOCK: Final = 0.01  # seconds by which a look may be early
SWITCHES: Final = 8  # told in the status
MOST_MODELS: Final = 256


def names(pin: str, exclude: Sequence[str]) -> tuple[str, ...]:
    """The profiles that these patterns leave for a model of which every encoding was measured.

    Raises:
        ConfigError: none.
    """
    needs = Stream(float(MOST), 1.0, 1.0, tuple(Encoding(name, 1.0, 0.0) for name in CODINGS), hop=MOST)
    try:
        found = enumerate_profiles(needs, Limits(), pin=pin, exclude=[*exclude, NO_COAP])
    except ConfigError:
        raise ConfigError(f"no profile matches {pin!r} without {list(exclude)}; one is mqtt-1/float32/1") from None
    return tuple(profile.name for profile in found)


class _Model:
    """What is known of one model's questions."""

    def __init__(self, sending: Sending, name_bytes: int, beside: int, *, frames: bool) -> None:
        self.sending = sending
        self.name_bytes = name_bytes
        self.beside = beside
        self.frames = frames  # every agent that serves it takes them
        self.latest: deque[Question] = deque(maxlen=SAMPLES)
        self.encodings: tuple[Encoding, ...] = ()
        self.questions, self.turns = Rate(), Rate()
        self.rate, self.patience = Step(), Step()
        self.rate_hz = 0.0  # when its chooser was made
        self.chooser: Chooser | None = None
        self.decision: Decision | None = None

    @property
    def profile(self) -> Profile | None:
        return None if self.decision is None else self.decision.profile


class Choices:
    """One chooser a model, all on one estimate.

    Args:
        models: how the windows of each are packed; a switch replaces the entry.
        pin: shell pattern over profile names; only these, where the model has one.
        exclude: patterns; none of these.
        on_switch: called after each switch.
        frames: whether every agent that serves a model takes zstd frames.
    """

    def __init__(
        self,
        models: dict[str, Sending],
        *,
        pin: str = "*",
        exclude: Sequence[str] = (),
        on_switch: Callable[[], None] = lambda: None,
        frames: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.on_switch = on_switch
        self._frames = frames
        self._models = models
        self._pin, self._exclude = pin, [*exclude, NO_COAP]
        for one in exclude:
            with suppress(ConfigError):
                names(one, ())
                continue
            log.warning("cloud.exclude: %r excludes nothing; profiles are called like mqtt-1/float32/1", one)
        self._known: dict[str, _Model] = {}
        self._limits = Limits(most_bytes=MAX_BYTES)
        self._load = 0.0
        self._thin = False
        self._wish_since = math.inf
        self._roomy_at = -math.inf
        self._refuted_after = REFUTED_AFTER
        self._switches: deque[dict[str, Any]] = deque(maxlen=SWITCHES)
        self._estimate = Estimate()

    def rows(self, model: str) -> int:
        """Questions a message: 1: each leaves at once."""
        known = self._known.get(model)
        return 1 if known is None or known.profile is None else known.profile.rows

    def reliable(self, model: str) -> bool:
        """Whether its questions leave at QoS 1."""
        known = self._known.get(model)
        return known is None or known.profile is None or known.profile.transport == "mqtt-1"

    def coding(self, model: str, sending: Sending) -> Coding:
        """How its questions are written now: in no frame where an agent that takes none may have come meanwhile."""
        return sending.coding if sending.zstd and self._frames(model) else sending.plain

    def longest_wait(self, model: str, patience: float) -> float:
        """Seconds that a question of this patience may wait for others."""
        known = self._known.get(model)
        if known is None or known.profile is None or known.profile.rows == 1:
            return 0.0
        return max(0.0, min(known.profile.longest_wait, HELD * patience))

    def came(self, question: Question, count: int, now: float, *, topic: int, beside: int) -> None:
        """Questions of a model came.

        Args:
            question: one of them; the latest tell how large they are in each encoding.
            count: how many.
            now: monotonic seconds.
            topic: bytes of the topic that they go to.
            beside: bytes of their message's properties.
        """
        sending = self._models.get(question.model, PLAIN)
        known = self._known.get(question.model)
        frames = self._frames(question.model)
        if known is None or known.sending is not sending or known.frames != frames:
            if known is None and len(self._known) >= MOST_MODELS:
                return
            known = self._known[question.model] = _Model(sending, topic, beside, frames=frames)
            known.encodings = _measured([question], known)
        known.latest.append(question)
        known.questions.took(now, count)
        known.turns.took(now, 1)
        if question.patience > 0:
            known.patience.take(question.patience)

    def look(self, now: float, wall: float, estimate: Estimate, receive_maximum: int) -> None:
        """Choose anew where questions came.

        Args:
            now: monotonic seconds.
            wall: seconds since 1970.
            estimate: the link.
            receive_maximum: messages of QoS 1 that may be under way.
        """
        self._estimate = estimate
        if receive_maximum != self._limits.receive_maximum:
            self._limits = msgspec.structs.replace(self._limits, receive_maximum=receive_maximum)
        turned = self._weigh(now, estimate)
        for model, known in self._known.items():
            if not known.patience.value or self._models.get(model, PLAIN) is not known.sending:
                continue  # another version of it is asked from now on
            why = self._load_in_words() if turned else ""
            rate = known.questions.at(now)
            if self._wish_since < math.inf and known.decision is not None:
                continue  # the next choice is among others
            if known.rate.take(rate) and not why:
                why = f"{rate:.1f} questions a second"
            self._choose(model, known, now, wall, why)

    def _weigh(self, now: float, estimate: Estimate) -> bool:
        """Whether the link has become too thin for lone questions, or wide enough again."""
        self._load = self._alone(now, estimate)
        if estimate.outage or not (self._load < ROOMY if self._thin else self._load >= FULL):
            self._wish_since = math.inf
            return False
        self._wish_since = min(self._wish_since, now)
        if now - self._wish_since < self._must_last(estimate) - CLOCK:
            return False
        self._thin, self._wish_since = not self._thin, math.inf
        if not self._thin:
            self._roomy_at = now
        elif now - self._roomy_at < WRONG:
            self._refuted_after = min(2 * self._refuted_after, MOST_AFTER)
        elif now - self._roomy_at > RIGHT:
            self._refuted_after = REFUTED_AFTER
        return True

    def _must_last(self, estimate: Estimate) -> float:
        """Seconds for which another state of the link must be seen."""
        if not self._thin:
            return THIN_AFTER
        return ROOMY_AFTER if estimate.goodput_known else self._refuted_after

    def _alone(self, now: float, estimate: Estimate) -> float:
        """Share of the link's rate, or of the messages under way, that lone questions would take, whatever is sent."""
        size = turns = 0.0
        for known in self._known.values():
            alone = min(one.row_bytes + one.message_bytes for one in known.encodings)
            size += known.questions.at(now) * (alone + known.name_bytes + OVERHEAD["mqtt-1"][0])
            turns += known.turns.at(now)
        filled = size / estimate.goodput if estimate.goodput_known and estimate.goodput > 0 else 0.0
        return max(filled, turns * estimate.mqtt.base / self._limits.receive_maximum)

    def _load_in_words(self) -> str:
        return f"lone questions would take {self._load:.0%} of the link"

    def _choose(self, model: str, known: _Model, now: float, wall: float, why: str) -> None:
        before = known.profile
        if known.chooser is None or why:
            known.rate_hz = known.questions.at(now)
            known.encodings = _measured(known.latest, known)
            known.chooser = self._chooser(model, known)
        known.decision = known.chooser.choose(now, self._estimate)
        profile = known.decision.profile
        if before is None:
            log.info("cloud: %s: %s", model, known.decision.reason)
        if before is not None and profile.name != before.name:
            reason = known.decision.reason
            if why:
                reason = f"{before.name} → {profile.name}: {why}; expected {reason.partition(': ')[2]}"
            log.info("cloud: %s: %s", model, reason)
            self._switches.append({"t": wall, "model": model, "profile": profile.name, "reason": reason})
        coding = CODINGS[profile.encoding.name]
        if coding != known.sending.coding:
            replaced = msgspec.structs.replace(known.sending, packing=coding.packing, zstd=coding.zstd)
            known.sending = self._models[model] = replaced
        if before is None or profile.name != before.name:
            self.on_switch()

    def _chooser(self, model: str, known: _Model) -> Chooser:
        """What may be chosen now; a pin that only other questions or links would meet holds all the same."""
        freshness = UP * known.patience.value
        budget = max(one.accuracy_cost for one in known.encodings)
        hop = min(MOST, 1 + int(HELD * known.patience.value * known.rate_hz))  # those that may wait for each other
        needs = Stream(known.rate_hz, freshness, budget, known.encodings, hop=hop, name_bytes=known.name_bytes)
        alone = msgspec.structs.replace(needs, hop=1)
        often = msgspec.structs.replace(needs, rate_hz=max(needs.rate_hz, MOST / freshness), hop=MOST)
        large = msgspec.structs.replace(self._limits, most_bytes=sys.maxsize)  # a question cannot be divided
        gathered = [(needs, self._limits, self._exclude), (often, self._limits, self._exclude)]
        lone = [(alone, large, [*self._exclude, "mqtt-0/*"]), (alone, large, self._exclude)]
        for stream, limits, exclude in [*gathered, *lone[1:]] if self._thin else [*lone, *gathered]:
            try:
                return Chooser(stream, limits, pin=self._pin, exclude=exclude)
            except ConfigError:
                continue
        log.warning("cloud: %s: no encoding that was measured for it fits [cloud] pin and exclude: not heeded", model)
        return Chooser(alone, large, exclude=[NO_COAP, "mqtt-0/*"])

    def facts(self) -> dict[str, Any]:
        """For the status: words and numbers."""
        chosen = {name: one.decision for name, one in self._known.items() if one.decision is not None}
        latest: dict[str, Any] = {"profile": None, "reason": "no question yet"}
        for decision in chosen.values():
            latest = {"profile": decision.profile.name, "reason": decision.reason}
        if self._switches:
            latest = {key: self._switches[-1][key] for key in latest}
        estimate = self._estimate
        return {
            **latest,
            "profiles": {name: decision.profile.name for name, decision in chosen.items()},
            "switches": list(self._switches),
            "link": {
                "words": estimate.words(),
                "round_trip": round(estimate.mqtt.rtt, 4) if estimate.mqtt.samples else None,
                "loss": round(estimate.loss, 4),
                "goodput": round(estimate.goodput) if estimate.goodput_known else None,
                "load": round(self._load, 3),
                "outage": estimate.outage,
            },
        }


def _measured(questions: Collection[Question], known: _Model) -> tuple[Encoding, ...]:
    """What the encodings that are on offer cost for questions like these; a packing that was asked for has no frame."""
    costs = known.sending.costs or {known.sending.packing: 0.0}
    frames = known.frames and bool(known.sending.costs)

    def size(coding: Coding) -> float:
        every = [len(encode_question(one, packing=coding.packing, zstd=coding.zstd)) for one in questions]
        return sum(every) / len(every)

    return tuple(
        Encoding(name, size(coding), float(known.beside), costs[coding.packing])
        for name, coding in CODINGS.items()
        if coding.packing in costs and (frames or not coding.zstd)
    )
