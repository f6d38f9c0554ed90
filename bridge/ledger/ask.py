"""Asks the bridges of a broker for their accounts, and reads what their agents say, over MQTT 5."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

import aiomqtt
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import topics
from bridge.errors import LinkError, Refused
from bridge.ledger.account import AgentStatus, Page, decode_agent_status, decode_page
from bridge.messages import Error
from bridge.topics import AgentTopic
from bridge.wire.answers import decode_answer, decode_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.mqtt.endpoint import Endpoint

QUIET = 0.3  # seconds without another retained status after which there are no more
STATUSES = 10.0  # seconds for all of them
PATIENCE = 10.0  # seconds for a bridge's next page: a disk that refuses answers after five


class Heard(msgspec.Struct):
    """What came back.

    Attributes:
        statuses: what agents say, from before the bridges were asked.
        online: bridges that say whether they are there, and what they say.
        pages: what bridges say, by bridge, by number of the page.
        silent: bridges that are not there, or did not answer to the end.
    """

    statuses: dict[AgentTopic, AgentStatus] = {}
    online: dict[str, bool] = {}
    pages: dict[str, dict[int, Page]] = {}
    silent: set[str] = set()

    @property
    def said(self) -> list[Page]:
        """All pages of the bridges that answered to the end."""
        return [page for bridge, pages in self.pages.items() if bridge not in self.silent for page in pages.values()]


async def ask(endpoint: Endpoint, *, device: str | None, bridge: str | None = None) -> Heard:
    """Ask.

    Args:
        endpoint: the broker.
        device: the only device to ask about; None: all.
        bridge: id of a bridge that is asked even if it does not say whether it is there.

    Raises:
        LinkError: the broker is not there, or does not let us.
    """
    heard = Heard()
    reply_to = f"{topics.REPLY_ROOT}/{endpoint.username or 'ledger'}/{secrets.token_hex(8)}"
    try:
        async with _client(endpoint) as client:
            messages = client.messages
            statuses = topics.STATUS_FILTER if device is None else topics.status("+", device)
            await client.subscribe([(reply_to, 1), (statuses, 1), (topics.BRIDGE_STATUS_FILTER, 1)])
            await _statuses(messages, heard)
            asked = {one for one, there in heard.online.items() if there}
            if bridge is not None and bridge not in heard.online:
                asked.add(bridge)
            for one in sorted(asked):
                await client.publish(
                    topics.bridge_ledger(one),
                    msgspec.json.encode({} if device is None else {"device": device}),
                    qos=1,
                    properties=_reply_to(reply_to),
                )
            await _replies(messages, reply_to, asked, heard)
            heard.silent |= {one for one, there in heard.online.items() if not there}
    except aiomqtt.MqttError as why:
        raise LinkError(f"{endpoint}: {why}; the ledger is asked for over MQTT 5") from why
    return heard


def _client(endpoint: Endpoint) -> aiomqtt.Client:
    return aiomqtt.Client(
        endpoint.host,
        endpoint.port,
        username=endpoint.username,
        password=None if endpoint.password is None else endpoint.password.decode(),
        tls_context=endpoint.tls,
        protocol=aiomqtt.ProtocolVersion.V5,
        max_queued_incoming_messages=0,
    )


def _reply_to(topic: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it so
    properties.ResponseTopic = topic
    properties.MessageExpiryInterval = int(PATIENCE)  # a bridge that is away need not answer when we are gone
    return properties


async def _next(messages: AsyncIterator[aiomqtt.Message], patience: float) -> aiomqtt.Message | None:
    """The next message; None if it does not come in time."""
    try:
        async with asyncio.timeout(patience):
            return await anext(messages)
    except TimeoutError:
        return None


async def _statuses(messages: AsyncIterator[aiomqtt.Message], heard: Heard) -> None:
    """Read retained statuses, until no more come: nothing in MQTT says which is the last."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STATUSES
    while loop.time() < end and (message := await _next(messages, QUIET)) is not None:
        topic, payload = str(message.topic), _bytes(message)
        try:
            if (bridge := topics.parse_bridge_status(topic)) is not None:
                heard.online[bridge] = decode_status(payload)["online"]
            elif message.retain and (who := topics.parse_status(topic)) is not None:
                heard.statuses[who] = decode_agent_status(payload)
        except Refused as why:
            sys.stderr.write(f"{topic}: {why}\n")


async def _replies(messages: AsyncIterator[aiomqtt.Message], reply_to: str, asked: set[str], heard: Heard) -> None:
    """Collect pages until each bridge has sent its last one."""
    heard.silent = set(asked)
    while heard.silent and (message := await _next(messages, PATIENCE)) is not None:
        if str(message.topic) != reply_to:
            continue
        payload = _bytes(message)
        try:
            page = decode_page(payload)
        except Refused as why:
            raise LinkError(f"a bridge answers: {_error(payload) or why}") from why
        pages = heard.pages.setdefault(page.bridge, {})
        pages[page.page] = page
        last = next((number for number, one in pages.items() if not one.more), None)
        if last is not None and len(pages) == last + 1:
            heard.silent.discard(page.bridge)


def _error(payload: bytes) -> str | None:
    try:
        error = decode_answer(payload, Error)
    except Refused:
        return None
    return f"{error.reason}: {error.detail}"


def _bytes(message: aiomqtt.Message) -> bytes:
    return message.payload if isinstance(message.payload, bytes) else b""
