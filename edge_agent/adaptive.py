"""An uplink over several ways: the link decides which of them carries a message, and how its rows are written.

Rows are kept by the sender until they are receipted, whatever the way. A message under way on one that does not get
through any more is taken over by the other; the bridge recognises what it has already. Messages overtake each other,
and the bridge puts rows in order.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from bridge.errors import LinkError
from edge_agent.airborne import Airborne
from edge_agent.beginnings import Beginnings
from edge_agent.confirming import Confirming, risked
from edge_agent.questions import Questions
from edge_agent.silence import Silence
from edge_agent.switches import Switches
from edge_agent.unread import Fallback, as_taken, is_unread, plainer, write_plainly
from edge_agent.ways import is_zstd, read

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from bridge.link import Decision, Estimate, Estimator
    from bridge.link.events import Protocol
    from bridge.messages import Error, Receipt
    from bridge.wire.formats import Format
    from edge_agent.choice import Choice
    from edge_agent.uplink import Listener, Outcome, Said, Writing
    from edge_agent.ways import Message, Way

log = logging.getLogger(__name__)

BUSY_TICK, IDLE_TICK = 0.1, 1.0  # seconds between two looks at the link
BUSY = 2.0  # seconds after a message that count as busy
RETRY = 0.5  # seconds until a message that got nowhere is tried again, unless there is news
HALF_OPEN = 1.0  # seconds beside 3 round trips without an answer, while the link carries: MQTT's connection is dead


class AdaptiveUplink:
    """See `edge_agent.uplink.Uplink`.

    Args:
        ways: one of each protocol, at least one.
        choices: by stream.
        estimator: hears of the traffic from the ways.
        clock: monotonic seconds, as the ways'.
        wall: seconds since 1970.
    """

    transport = "adaptive"
    in_order = False

    def __init__(
        self,
        ways: Sequence[Way],
        choices: Mapping[str, Choice],
        estimator: Estimator,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._ways: dict[Protocol, Way] = {way.name: way for way in ways}
        self._choices = choices
        self._estimator = estimator
        self._clock, self._wall = clock, wall
        self._questions = Questions()
        self._silence = Silence(self._ways)
        self._confirming = Confirming(self._ways)
        self._switches = Switches(choices, self._ways)
        self._sent_at = float("-inf")
        self._stir = asyncio.Event()
        self._news = asyncio.Event()
        self._flying: set[Airborne] = set()
        self._asides: set[asyncio.Task[None]] = set()
        self._beginnings = Beginnings()
        self._fallback = Fallback()
        self._listener: Listener
        self._open = False
        self._telling = False
        self._untold = False
        self._facts: dict[str, Any] = {}

    @property
    def switches(self) -> Sequence[dict[str, Any]]:
        """The latest, as told in the status."""
        return self._switches.latest

    @property
    def window(self) -> int:
        """Of the ways in use."""
        used = self._used()
        return max(way.uplink.window for name, way in self._ways.items() if name in used or not used)

    def _used(self) -> set[Protocol]:
        """Of all profiles; none before the first rows."""
        return {choice.profile.protocol for choice in self._choices.values() if choice.profile is not None}

    @property
    def most_bytes(self) -> int | None:
        """The least that any way takes."""
        least: int | None = None
        for way in self._ways.values():
            most = way.uplink.most_bytes
            if most is not None and (least is None or most < least):
                least = most
        return least

    def writing(self, stream: str) -> Writing | None:
        """As the present profile says."""
        return self._choices[stream].writing() if stream in self._choices else None

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> int:
        """See `Uplink`; beside it the status tells of the choice."""
        self._facts = facts
        told = {**facts, **self._choice_facts()}
        return sum([await way.uplink.tell(told, at_once=at_once) for way in self._ways.values()])

    def _choice_facts(self) -> dict[str, Any]:
        return self._switches.facts(self._estimator.estimate(self._clock()))

    async def run(self, listener: Listener) -> None:
        """Keeps all ways open until cancelled.

        Raises:
            TakenOver: another client uses our MQTT client id.
        """
        self._listener = listener
        works = [asyncio.create_task(way.run(self)) for way in self._ways.values()]
        works.append(asyncio.create_task(self._watch()))
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_EXCEPTION)
            for work in done:
                work.result()
        finally:
            for task in (*works, *self._asides):
                task.cancel()
            await asyncio.gather(*works, *self._asides, return_exceptions=True)

    async def close(self) -> None:
        """Closes all ways."""
        for way in self._ways.values():
            await way.close()

    async def send(self, stream: str, payload: bytes, form: Format, *, said: Said | None = None) -> Outcome:
        """Carries one message, by another way if the first does not get through.

        Raises:
            LinkError: there is only one way, and what became of the message is unknown.
        """
        message, choice = read(stream, payload, form, said), self._choices[stream]
        if choice.profile is None and message.seen is not None:
            choice.seen(message.seen)
            self.look()
        numbering = (stream, message.epoch)
        if self._beginnings.is_over(numbering):
            return await self._deliver(message, choice)
        return await self._beginnings.deliver(numbering, lambda: self._deliver(message, choice))

    async def _deliver(self, message: Message, choice: Choice) -> Outcome:
        carried = object()
        try:
            return await self._through(carried, message, choice)
        finally:
            self._confirming.ends(carried)

    async def _through(self, carried: object, message: Message, choice: Choice) -> Outcome:
        unread: Message | None = None  # as it was refused
        while True:
            message = as_taken(message, choice)
            try:
                outcome = await self._carry(carried, message, choice)
            except LinkError as why:
                if self._ways.keys() == {"mqtt"}:
                    raise  # as without a choice: the sender was told, and holds everything back
                log.debug("rows %s: %s", message.rows, why)
                await _wait(self._news, RETRY)
            else:
                if outcome is not None and not is_unread(outcome, message):
                    if unread is not None and outcome.kind == "safe":
                        write_plainly(choice, unread)
                    return outcome
                if outcome is not None:
                    unread, message = message, plainer(message)
            if not self._silence.through:
                raise LinkError("nothing gets through, over any way")

    async def _carry(self, carried: object, message: Message, choice: Choice) -> Outcome | None:
        """By the chosen way; None if it was called back: what only waits to be tried again is not in the air.

        Raises:
            LinkError: what became of it is unknown.
        """
        now, profile = self._clock(), choice.profile
        chosen = self._protocol(choice) if profile is None else profile.protocol
        trial = None if message.seen is None else self._confirming.trial(now, chosen, choice.protocols)
        way = self._ways[trial or chosen]
        self._confirming.begins(carried, way.name, message, now)
        self._sent_at = now
        self._stir.set()
        if way.name not in self._silence.deaf:
            self._questions.passed(len(message.payload), way.name, profile)
        flight = Airborne(way.name, choice, zstd=is_zstd(message))
        if trial is None:
            self._flying.add(flight)
        else:
            flight.risk(risked(self._estimator.estimate(now).leg(trial)))
        try:
            outcome = await way.carry(message, profile)
        except LinkError as why:
            self._confirming.failed(way.name, str(why))
            if trial is None:
                raise
            return None
        except asyncio.CancelledError:
            if not flight.is_recalled():
                raise
            return None
        finally:
            self._flying.discard(flight)
            flight.landed()
        self._confirming.answered(carried, outcome, self._clock())
        return outcome

    def _protocol(self, choice: Choice) -> Protocol:
        """The chosen one; before any choice that which needs no connection, unless only the other gets through."""
        if choice.profile is not None:
            return choice.profile.protocol
        first: Protocol = "coap" if "coap" in choice.protocols else "mqtt"
        if first in self._silence.deaf:
            return min(choice.protocols - self._silence.deaf, default=first)
        return first

    async def _watch(self) -> None:
        while True:
            self._stir.clear()
            self.look()
            asks = "coap" in self._silence.deaf & self._used()  # an answered ping wakes nobody
            if asks or self._flying or self._clock() - self._sent_at < BUSY:
                await asyncio.sleep(BUSY_TICK)
            else:
                await _wait(self._stir, IDLE_TICK)

    def look(self) -> None:
        """Estimates, chooses, hands over, probes: on a timer, and when something has happened."""
        now = self._clock()
        used = self._used()
        for name, way in self._ways.items():
            way.look(now, used=name in used or not used)
        seen = self._estimator.estimate(now)
        estimate = self._confirming.look(now, seen)
        self._listen(now, estimate)
        if self._silence.is_settled(now):
            for stream, choice in self._choices.items():
                decision = choice.look(now, estimate)
                if decision is not None:
                    self._switched(stream, decision)
        self._hand_over(seen)
        self._tell_outage(estimate)
        left = {name: way.asked for name, way in self._ways.items()}
        for name in self._questions.due(now, estimate, left, self._used()):
            self._aside(self._ways[name].ask())
        self._switches.note(now, estimate)

    def _listen(self, now: float, estimate: Estimate) -> None:
        """Where a way is heard again the link is back: those that begin anew need not wait any longer."""
        heard = self._silence.look(now, estimate)
        if heard == "no news":
            return
        for name in self._silence.deaf:
            self._ways[name].hurry()
        if heard == "first of all":
            self._questions.again()

    def _switched(self, stream: str, decision: Decision) -> None:
        self._switches.switched(stream, decision, self._wall())
        self._pulse()
        self._untold = True
        if not self._telling:
            self._aside(self._tell())

    async def _tell(self) -> None:
        """The status, at once; where it cannot be published now, it is with the next connection."""
        self._telling = True
        try:
            while self._untold:
                self._untold = False
                await self.tell(self._facts)
        finally:
            self._telling = False

    def _hand_over(self, estimate: Estimate) -> None:
        """What is under way where nothing gets through goes over to the way that was chosen since."""
        for flight in self._flying:
            if flight.way in self._silence.deaf and self._protocol(flight.choice) != flight.way:
                flight.recall()
        for name, way in self._ways.items():
            leg = estimate.leg(name)
            heard = min((estimate.leg(other).heard for other in self._ways if other != name), default=float("inf"))
            if leg.up and leg.silent > HALF_OPEN + 3 * leg.rtt and heard < leg.silent:
                way.drop(f"silent for {leg.silent:.1f} s, while the other way is heard")

    def _tell_outage(self, estimate: Estimate) -> None:
        """Tells the listener when nothing gets through, and when something does again: then live rows go first."""
        silent = self._silence.lost(estimate)
        if silent is not None:
            self._listener.disconnected(f"nothing gets through for {silent:.1f} s")
            for flight in self._flying:
                flight.recall()
            self._pulse()
        elif self._silence.found():
            self._listener.connected(fresh=False)
            self._pulse()

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._asides.discard(task)
        if not task.cancelled():
            task.result()
            self._stir.set()

    def _pulse(self) -> None:
        self._news.set()
        self._news.clear()

    def connected(self, *, fresh: bool) -> None:
        """A way is open. With CoAP the uplink always is; then MQTT's coming back is news only if it forgot us."""
        if self._ways.keys() == {"mqtt"} or not self._open or fresh:
            self._listener.connected(fresh=fresh)
            self._silence.through = True
        self._open = True
        self._pulse()

    def disconnected(self, why: str) -> None:
        """MQTT is not open any more."""
        if self._ways.keys() == {"mqtt"}:
            self._listener.disconnected(why)
        self.look()
        self._pulse()

    def receipt(self, stream: str, receipt: Receipt) -> None:
        """See `Listener`."""
        self._confirming.receipt(stream, receipt, self._clock())
        self._listener.receipt(stream, receipt)

    def refusal(self, error: Error) -> None:
        """See `Listener`; rows that the bridge cannot read go again, more plainly."""
        self._confirming.refusal(error, self._clock())
        choice = self._choices.get(error.stream or "")
        if choice is not None:
            error = self._fallback.heard(error, choice, self._flying, self._clock())
        self._listener.refusal(error)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Returns when it is set, or when the time is up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
