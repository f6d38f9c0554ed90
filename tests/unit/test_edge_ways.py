"""Each way alone: what it tells the estimator, and what it makes of receipts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from bridge.coap.rto import Rfc6298
from bridge.errors import LinkError
from bridge.link import Encoding, Profile
from bridge.link.events import Acked, Connected, Disconnected, Event, GivenUp, Sent, TcpInfo
from bridge.messages import Error, Observation, Receipt, Skip
from bridge.wire.data import encode_skip
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.uplink import SAFE, TAKEN, Outcome
from edge_agent.ways import CoapWay, Message, MqttWay, read
from tests.support.two_ways import Heard
from tests.unit.coap.support import Peer

if TYPE_CHECKING:
    from edge_agent.coap import CoapUplink
    from edge_agent.mqtt import MqttUplink


def message(first: int = 0, count: int = 5) -> Message:
    seen = Observation(np.zeros((count, 3), np.float32), seq=first, epoch="e", receipt=True)
    return read("wrist", encode_observation(seen, Format.CBOR), Format.CBOR)


def profile(transport: Any, copies: int = 1) -> Profile:
    return Profile(transport, copies, Encoding("float32", 12.0, 60.0), 5, 0.0)


class Mqtt:
    """As an MqttUplink, without a network."""

    def __init__(self) -> None:
        self.is_up = True
        self.posted: list[bytes] = []
        self.fails = False
        self.pong = asyncio.Event()
        self.info: TcpInfo | None = None
        self.done: list[bool | str] = []

    async def run(self, listener: Any) -> None:
        listener.connected(fresh=True)

    def post(self, _stream: str, payload: bytes) -> None:
        self.posted.append(payload)
        self.done.append("message")

    async def send(self, _stream: str, _payload: bytes, _form: Format) -> Outcome:
        if self.fails:
            raise LinkError("gone")
        self.done.append("message")
        return TAKEN

    async def ask(self) -> None:
        await self.pong.wait()
        if self.fails:
            raise LinkError("gone")

    def listen(self, *, wanted: bool) -> None:
        self.done.append(wanted)

    @property
    def listening(self) -> list[bool]:
        return [one for one in self.done if isinstance(one, bool)]

    def kernel(self) -> TcpInfo | None:
        return self.info


class Stand:
    """An MQTT way on it, and what was told."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.now = 1.0
        self.mqtt = Mqtt()
        self.heard = Heard()
        self.way = MqttWay(
            cast("MqttUplink", self.mqtt), tell=self.told.append, clock=lambda: self.now, name_bytes=30, patience=5.0
        )

    async def start(self) -> None:
        await self.way.run(self.heard)
        self.told.clear()
        self.heard.said.clear()


@pytest.fixture
async def stand() -> Stand:
    made = Stand()
    assert made.told == [Disconnected("mqtt", 1.0)]
    await made.way.run(made.heard)
    assert made.told[1:] == [Connected("mqtt", 1.0)]
    assert made.heard.said == [("connected", False)], "what a broker forgot before we ever sent is no loss"
    await made.start()
    return made


async def started(stand: Stand, what: Message) -> asyncio.Task[Outcome]:
    task = asyncio.create_task(stand.way.carry(what, profile("mqtt-0")))
    await asyncio.sleep(0)
    return task


async def test_a_message_without_puback_ends_with_the_receipt_of_all_its_rows(stand: Stand) -> None:
    task = await started(stand, message(10))
    stand.way.receipt("wrist", Receipt("other", [(0, 99)]))
    stand.way.receipt("ankle", Receipt("e", [(0, 99)]))
    stand.way.receipt("wrist", Receipt("e", [(0, 12)]))
    await asyncio.sleep(0)
    assert not task.done()
    stand.now = 1.05
    stand.way.receipt("wrist", Receipt("e", [(13, 14)]))
    assert await task == TAKEN
    sent, acked = stand.told
    assert isinstance(sent, Sent)
    assert (sent.at, sent.size) == (1.0, len(stand.mqtt.posted[0]) + 30 + 60)
    assert acked == Acked(sent.message, 1.05)
    assert len(stand.heard.said) == 4


async def test_a_refusal_ends_it_and_a_loss_of_the_connection_makes_it_unknown(stand: Stand) -> None:
    first, second = await started(stand, message(0)), await started(stand, message(5))
    stand.way.refusal(Error("shape", "no", "wrist", 0))
    assert await first == TAKEN
    stand.way.disconnected("cut")
    with pytest.raises(LinkError, match="cut"):
        await second
    assert isinstance(stand.told[-1], GivenUp)
    stand.mqtt.is_up = False
    with pytest.raises(LinkError, match="not connected"):
        await stand.way.carry(message(), profile("mqtt-0"))
    stand.way.connected(fresh=True)
    assert stand.heard.said[-1] == ("connected", True)


async def test_no_receipt_in_time(stand: Stand) -> None:
    stand.way._patience = 0.0
    with pytest.raises(LinkError, match="no receipt within 0 s"):
        await stand.way.carry(message(), profile("mqtt-0"))


async def test_puback_answers_where_one_was_asked_for(stand: Stand) -> None:
    for one in (profile("mqtt-1"), None):
        assert await stand.way.carry(message(), one) == TAKEN
    stand.mqtt.fails = True
    with pytest.raises(LinkError):
        await stand.way.carry(message(), profile("mqtt-1"))
    assert [type(event) for event in stand.told] == [Sent, Acked, Sent, Acked, Sent, GivenUp]


async def test_one_question_at_a_time(stand: Stand) -> None:
    task = asyncio.create_task(stand.way.ask())
    await asyncio.sleep(0)
    await stand.way.ask()
    stand.mqtt.pong.set()
    await task
    stand.mqtt.fails = True
    await stand.way.ask()
    stand.mqtt.is_up = False
    await stand.way.ask()
    assert [type(event) for event in stand.told] == [Sent, Connected, GivenUp, Sent, GivenUp]


async def test_the_kernel_is_asked_twice_a_second(stand: Stand) -> None:
    stand.mqtt.info = TcpInfo(1.0, 0.05, 0.01, 10, 0)
    for now in (1.0, 1.2, 1.4, 1.6):
        stand.way.look(now, used=True)
    stand.mqtt.info = None
    stand.way.look(9.0, used=True)
    assert len(stand.told) == 2


async def test_receipts_are_listened_to_once_something_is_carried_and_not_for_long_after_the_last(stand: Stand) -> None:
    for now, used in ((1.0, False), (20.0, True), (25.0, False), (25.5, False), (36.0, True)):
        stand.way.look(now, used=used)
    assert stand.mqtt.listening == [False, True, True, False, True]


@pytest.mark.parametrize("transport", ["mqtt-0", "mqtt-1"])
async def test_whoever_carries_listens_first(stand: Stand, transport: str) -> None:
    stand.way.look(1.0, used=False)
    stand.mqtt.done.clear()
    task = asyncio.create_task(stand.way.carry(message(), profile(transport)))
    await asyncio.sleep(0)
    assert stand.mqtt.done == [True, "message"], "SUBSCRIBE goes before it"
    stand.way.receipt("wrist", Receipt("e", [(0, 4)]))
    assert await task == TAKEN


async def test_receipts_are_listened_to_as_long_as_a_message_has_no_other_answer(stand: Stand) -> None:
    task = await started(stand, message())
    for now in (7.0, 1e3):
        stand.way.look(now, used=False)
    assert stand.mqtt.listening == [True, True, True]
    stand.way.receipt("wrist", Receipt("e", [(0, 4)]))
    assert await task == TAKEN
    stand.way.look(1e3, used=False)
    assert stand.mqtt.listening[-1] is False


def test_a_skip_is_read_too() -> None:
    found = read("wrist", encode_skip(Skip([(3, 7), (9, 9)], "age", "e", receipt=True), Format.CBOR), Format.CBOR)
    assert (found.rows, found.seen, found.epoch) == ([(3, 7), (9, 9)], None, "e")


class Coap:
    """As a CoapUplink: notes how it was asked, and answers in turn."""

    def __init__(self, *answers: Outcome | Exception) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = list(answers)

    async def send(self, _stream: str, _payload: bytes, _form: Format, **how: Any) -> Outcome:
        self.asked.append(how)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


def coap_way(uplink: Coap, url: str = "coap://127.0.0.1", told: list[Event] | None = None) -> CoapWay:
    events: list[Event] = [] if told is None else told
    return CoapWay(cast("CoapUplink", uplink), url, tell=events.append, round_trip=Rfc6298())


async def test_copies_that_nobody_answers_are_followed_by_a_confirmable_message() -> None:
    uplink = Coap(LinkError("silence"), SAFE)
    assert await coap_way(uplink).carry(message(), profile("coap-non", 2)) == SAFE
    assert uplink.asked == [{"copies": 2, "patience": 1.0}, {}]


async def test_pings_at_the_start_set_the_first_time_out() -> None:
    lost = [True]

    def answer(data: bytes) -> list[bytes]:
        return [] if lost and lost.pop() else [b"\x70\x00" + data[2:4]]

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Peer(answer), local_addr=("127.0.0.1", 0)
    )
    told: list[Event] = []
    way = coap_way(Coap(), f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}", told)
    heard = Heard()
    task = asyncio.create_task(way.run(heard))
    async with asyncio.timeout(5):
        await way._met.wait()
    assert heard.said == [("connected", False)]
    assert [type(one) for one in told] == [Sent, Sent, Acked, GivenUp]
    assert way.asked == 2
    assert way._round_trip.srtt_s is not None
    before = way._round_trip.srtt_s
    way._learn(9.0)
    assert way._round_trip.srtt_s == before, "posts tell better"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await way.close()
    transport.close()
