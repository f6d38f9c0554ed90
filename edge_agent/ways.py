"""The ways to the bridge, as the choice between them sees them: each carries a message and tells what came of it.

What the traffic tells goes to the link's estimator as `bridge.link.events`.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from bridge.coap.ping import Pinger
from bridge.errors import LinkError
from bridge.link.events import Acked, Connected, Disconnected, GivenUp, Sent
from bridge.link.traffic import OVERHEAD
from bridge.messages import Observation
from bridge.ranges import Range, minus
from bridge.wire.data import decode_data
from bridge.wire.formats import Format
from bridge.wire.zstd import MAGIC, expand
from edge_agent.uplink import TAKEN, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.coap.rto import RoundTrip
    from bridge.link import Profile
    from bridge.link.events import Event
    from bridge.link.events import Protocol as Name
    from bridge.messages import Error, Receipt
    from edge_agent.coap import CoapUplink
    from edge_agent.mqtt import MqttUplink
    from edge_agent.uplink import Listener, Said, Uplink

PROBE_SIZE = 60  # bytes of IP and TCP besides the few of the question
LINGER = 5.0  # seconds in which a receipt may still come
FIRST_PINGS, APART = 5, 0.2  # at the start, and seconds between them
KERNEL = 0.5  # seconds between two looks at TCP_INFO


class Message(msgspec.Struct, frozen=True):
    """What is to be carried.

    Attributes:
        stream: its stream.
        payload: the bytes.
        form: how they are written.
        epoch: name of the numbering.
        rows: what is in it, or what it gives up.
        seen: the rows themselves; None where it has none.
    """

    stream: str
    payload: bytes
    form: Format
    epoch: str
    rows: list[Range]
    seen: Observation | None


def read(stream: str, payload: bytes, form: Format, said: Said | None = None) -> Message:
    """A message that the sender wrote; decoded where nobody tells what it says."""
    said = decode_data(payload, form) if said is None else said
    if isinstance(said, Observation):
        first = said.seq or 0
        return Message(stream, payload, form, said.epoch, [(first, first + len(said.values) - 1)], said)
    return Message(stream, payload, form, said.epoch, list(said.ranges), None)


def is_zstd(message: Message) -> bool:
    """Whether it is in a frame of zstd."""
    return message.payload.startswith(MAGIC)


def unwrapped(message: Message) -> Message:
    """Itself, or what is in its frame of zstd."""
    return msgspec.structs.replace(message, payload=expand(message.payload)) if is_zstd(message) else message


class Way(Protocol):
    """One of the ways.

    Attributes:
        name: its protocol.
        uplink: what it stands for.
        asked: questions that left so far, whoever asked them.
    """

    name: Name

    @property
    def uplink(self) -> Uplink:
        """What it stands for."""

    @property
    def asked(self) -> int:
        """See above."""

    async def run(self, listener: Listener) -> None:
        """See `Uplink.run`."""

    async def carry(self, message: Message, profile: Profile | None) -> Outcome:
        """Sends it as the profile says, as configured without one.

        Raises:
            LinkError: what became of it is unknown.
        """

    async def ask(self) -> None:
        """Probes the path; an answer goes to the estimator."""

    def look(self, now: float, *, used: bool) -> None:
        """Tells the estimator what else there is to know; `used`: messages are carried this way."""

    def drop(self, why: str) -> None:
        """The other end does not answer, though the link carries: begins anew."""

    def hurry(self) -> None:
        """The link is back: no longer waits to begin anew."""

    async def close(self) -> None:
        """See `Uplink.close`."""


class CoapWay:
    """Over CoAP; posts tell of themselves (`CoapClient.on_event`).

    Args:
        uplink: built with the same `tell`.
        url: where pings go.
        tell: takes events.
        round_trip: that of the uplink.
    """

    name: Name = "coap"

    def __init__(self, uplink: CoapUplink, url: str, *, tell: Callable[[Event], None], round_trip: RoundTrip) -> None:
        self.uplink = uplink
        self._pinger = Pinger(url, tell, self._learn)
        self._round_trip = round_trip
        self._met = asyncio.Event()

    @property
    def asked(self) -> int:
        """See `Way`."""
        return self._pinger.asked

    async def run(self, listener: Listener) -> None:
        """See `Way`; asks a few times first, so that posts need not begin with a time-out of a second."""
        listener.connected(fresh=False)
        for _ in range(FIRST_PINGS):
            await self._pinger.ping()
            with suppress(TimeoutError):
                async with asyncio.timeout(APART):
                    await self._met.wait()
                    break
        await asyncio.Event().wait()

    def _learn(self, seconds: float) -> None:
        """A ping is answered sooner than a post, which waits for a commit: it counts before the first post only."""
        self._met.set()
        if self._round_trip.srtt_s is None:
            self._round_trip.sample(seconds)

    async def carry(self, message: Message, profile: Profile | None) -> Outcome:
        """See `Way`; a non-confirmable message that nobody answers in time is sent again, confirmable."""
        if profile is not None and profile.transport == "coap-non":
            return await self._post_copies(message, profile)
        return await self.uplink.send(message.stream, message.payload, message.form)

    async def _post_copies(self, message: Message, profile: Profile) -> Outcome:
        send, what = self.uplink.send, (message.stream, message.payload, message.form)
        with suppress(LinkError):
            return await send(*what, copies=profile.copies, patience=self._round_trip.rto_s)
        return await send(*what)

    async def ask(self) -> None:
        """See `Way`: a CoAP ping."""
        await self._pinger.ping()

    def look(self, now: float, *, used: bool) -> None:
        """Nothing that posts did not tell."""

    def drop(self, why: str) -> None:
        """There is no connection."""

    def hurry(self) -> None:
        """There is no connection; posts probe by themselves."""

    async def close(self) -> None:
        """See `Way`."""
        self._pinger.close()
        await self.uplink.close()


class MqttWay:
    """Over MQTT; stands between the uplink and its listener, to hear receipts.

    Args:
        uplink: the connection.
        tell: takes events.
        clock: monotonic seconds.
        name_bytes: of a topic.
        patience: seconds to wait for the receipt of a QoS 0 message.
    """

    name: Name = "mqtt"

    def __init__(
        self,
        uplink: MqttUplink,
        *,
        tell: Callable[[Event], None],
        clock: Callable[[], float],
        name_bytes: int,
        patience: float,
    ) -> None:
        self.uplink = uplink
        self._tell, self._clock = tell, clock
        self._name_bytes, self._patience = name_bytes, patience
        self._numbers = itertools.count()
        self._unreceipted: dict[asyncio.Future[Outcome], tuple[Message, list[Range]]] = {}
        self._listener: Listener
        self._looked = float("-inf")
        self._used = float("-inf")
        self._asking = False
        self._been_up = False
        tell(Disconnected("mqtt", clock()))

    @property
    def asked(self) -> int:
        """See `Way`: those of the keep-alive and of who watches over the connection too."""
        return self.uplink.asked

    async def run(self, listener: Listener) -> None:
        """See `Way`."""
        self._listener = listener
        await self.uplink.run(self)

    async def carry(self, message: Message, profile: Profile | None) -> Outcome:
        """See `Way`."""
        if not self.uplink.is_up:
            raise LinkError("not connected")
        self._used = self._clock()
        self.uplink.listen(wanted=True)  # SUBSCRIBE goes before the message, so its receipt is heard
        confirmed = profile is None or profile.transport == "mqtt-1"
        size = len(message.payload) + self._name_bytes + OVERHEAD["mqtt-1" if confirmed else "mqtt-0"][0]
        name = f"publish-{next(self._numbers)}"
        self._tell(Sent(name, self._clock(), "mqtt", size))
        try:
            if confirmed:
                outcome = await self.uplink.send(message.stream, message.payload, message.form)
            else:
                outcome = await self._receipted(message)
        except (LinkError, asyncio.CancelledError):
            self._tell(GivenUp(name, self._clock()))
            raise
        self._tell(Acked(name, self._clock()))
        return outcome

    async def _receipted(self, message: Message) -> Outcome:
        """QoS 0: the bridge's receipt is the answer, and frees the rows; a refusal has told the sender itself."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._unreceipted[answer] = (message, message.rows)
        try:
            self.uplink.post(message.stream, message.payload)
            async with asyncio.timeout(self._patience):
                return await answer
        except TimeoutError as why:
            raise LinkError(f"no receipt within {self._patience:.0f} s") from why
        finally:
            del self._unreceipted[answer]

    async def ask(self) -> None:
        """See `Way`; one question at a time.

        The broker's answer says that the way is open, not how long the bridge takes to make rows safe: it is no round
        trip beside those of posts, which wait for a commit.
        """
        if self._asking or not self.uplink.is_up:
            return
        self._asking = True
        name = f"question-{next(self._numbers)}"
        self._tell(Sent(name, self._clock(), "mqtt", PROBE_SIZE, probe=True))
        try:
            await self.uplink.ask()
            self._tell(Connected("mqtt", self._clock()))
        except LinkError:
            return
        finally:
            self._tell(GivenUp(name, self._clock()))
            self._asking = False

    def look(self, now: float, *, used: bool) -> None:
        """See `Way`: what the kernel knows.

        Unused, it stops listening to receipts: the bridge publishes them for posts too, whose answer was one already.
        """
        if used:
            self._used = now
        self.uplink.listen(wanted=bool(self._unreceipted) or now - self._used <= LINGER)
        if now - self._looked >= KERNEL:
            self._looked = now
            info = self.uplink.kernel()
            if info is not None:
                self._tell(info)

    def drop(self, why: str) -> None:
        """See `Way`."""
        self.uplink.drop(why)

    def hurry(self) -> None:
        """See `Way`."""
        self.uplink.hurry()

    async def close(self) -> None:
        """See `Way`."""
        await self.uplink.close()

    def connected(self, *, fresh: bool) -> None:
        """The uplink's listener hears it next."""
        self._tell(Connected("mqtt", self._clock()))
        self._listener.connected(fresh=fresh and self._been_up)
        self._been_up = True

    def disconnected(self, why: str) -> None:
        """What waits for receipts is unknown from here on."""
        self._tell(Disconnected("mqtt", self._clock()))
        for answer in self._unreceipted:
            if not answer.done():
                answer.set_exception(LinkError(why))
        self._listener.disconnected(why)

    def receipt(self, stream: str, receipt: Receipt) -> None:
        """The listener first, so that what is receipted is forgotten before its `carry` ends."""
        self._listener.receipt(stream, receipt)
        for answer, (message, missing) in list(self._unreceipted.items()):
            if (message.stream, message.epoch) == (stream, receipt.epoch) and not answer.done():
                left = minus(missing, receipt.safe)
                self._unreceipted[answer] = (message, left)
                if not left:
                    answer.set_result(TAKEN)

    def refusal(self, error: Error) -> None:
        """The listener first: it decides what becomes of the rows."""
        self._listener.refusal(error)
        for answer, (message, _) in self._unreceipted.items():
            refused = any(first == error.seq for first, _ in message.rows)
            if message.stream == error.stream and refused and not answer.done():
                answer.set_result(TAKEN)
