"""`inference-bridge watch`: results as they come, for operators; after a gap, those published meanwhile too."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from typing import TYPE_CHECKING

import aiomqtt

from bridge import topics
from bridge.errors import ConfigError, Refused
from bridge.messages import Result
from bridge.mqtt.backoff import Backoff
from bridge.mqtt.endpoint import Endpoint, parse_url, read_password, tls_context
from bridge.wire.answers import decode_answer, decode_status

if TYPE_CHECKING:
    import argparse
    import ssl

REMEMBERED = 65_536  # ids of Results shown, to show repeats once
MARGIN = 10.0  # seconds before the last word of a bridge, which has two of its statuses in them
MOST_BRIDGES = 1_024


async def watch(chosen: argparse.Namespace) -> int:
    """Print Results until interrupted; come back when the broker does.

    Args:
        chosen: the command line.

    Returns:
        0.

    Raises:
        ConfigError: the URL or a file cannot be used.
    """
    endpoint = _endpoint(chosen)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    show = asyncio.create_task(_show_for_ever(endpoint, chosen))
    await asyncio.wait({show, waiter := asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    show.cancel()
    try:
        await show
    except asyncio.CancelledError:
        return 0
    return 0


def _endpoint(chosen: argparse.Namespace) -> Endpoint:
    scheme, host, port = parse_url(chosen.url, key="--url")
    if chosen.ca is not None and scheme != "mqtts":
        raise ConfigError("--ca: needs an mqtts:// url")
    tls: ssl.SSLContext | None = None
    if scheme == "mqtts":
        tls = tls_context(ca=chosen.ca, cert=None, key=None, section="--ca")
    password = None if chosen.password_file is None else read_password(chosen.password_file, key="--password-file")
    return Endpoint(host, port, tls, chosen.username, password)


async def _show_for_ever(endpoint: Endpoint, chosen: argparse.Namespace) -> None:
    backoff = Backoff()
    seen: dict[str, None] = {}
    gaps = Gaps()
    while True:
        try:
            async with _client(endpoint, chosen.protocol) as client:
                backoff.succeeded()
                gaps.connected()
                await client.subscribe([(topics.RESULT_FILTER, 1), (topics.BRIDGE_STATUS_FILTER, 1)])
                async for message in client.messages:
                    bridge = topics.parse_bridge_status(str(message.topic))
                    if bridge is None:
                        _show(message, seen, as_json=chosen.json)
                    else:
                        await _fill_gap(client, gaps, bridge, message)
        except aiomqtt.MqttError as why:
            gaps.lost(time.time())
            delay = backoff.failed(random.random())  # noqa: S311 # jitter, not a secret
            sys.stderr.write(f"{endpoint}: {why}; trying again in {delay:.1f} s\n")
            await asyncio.sleep(delay)


async def _fill_gap(client: aiomqtt.Client, gaps: Gaps, bridge: str, message: aiomqtt.Message) -> None:
    """Ask a bridge that is there for what it published while we were not."""
    try:
        status = decode_status(message.payload if isinstance(message.payload, bytes) else b"")
    except Refused:
        return
    t = status.get("t")
    if not status["online"] or not isinstance(t, int | float):
        return
    since = gaps.heard(bridge, t)
    if since is not None:
        await client.publish(topics.replay(bridge), json.dumps({"since": since}), qos=1)
        gaps.asked(bridge)


class Gaps:
    """Since when we may have missed what a bridge published: by its own clock, as its status tells it."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}  # newest time told by each bridge
        self._missed: dict[str, float] = {}  # those to be asked, and since when
        self._strangers: float | None = None  # the same for bridges we have not heard of, by our clock
        self._connected = False

    def connected(self) -> None:
        """We listen."""
        self._connected = True

    def lost(self, now: float) -> None:
        """We do not listen any more.

        Args:
            now: seconds since 1970.
        """
        if not self._connected:
            return
        self._connected = False
        self._strangers = now - MARGIN
        for bridge, t in self._heard.items():
            self._missed.setdefault(bridge, t - MARGIN)

    def heard(self, bridge: str, t: float) -> float | None:
        """A bridge says that it is there.

        Args:
            bridge: its id.
            t: seconds since 1970 by its clock.

        Returns:
            Since when it is to be asked for what it published, by its clock; None if nothing was missed.
        """
        known = bridge in self._heard
        if not known and len(self._heard) >= MOST_BRIDGES:
            return None
        if not known and self._strangers is not None:
            self._missed[bridge] = self._strangers
        self._heard[bridge] = t
        return self._missed.get(bridge)

    def asked(self, bridge: str) -> None:
        """It was."""
        self._missed.pop(bridge, None)


def _client(endpoint: Endpoint, protocol: str) -> aiomqtt.Client:
    version = aiomqtt.ProtocolVersion.V5 if protocol == "5" else aiomqtt.ProtocolVersion.V311
    return aiomqtt.Client(
        endpoint.host,
        endpoint.port,
        username=endpoint.username,
        password=None if endpoint.password is None else endpoint.password.decode(),
        tls_context=endpoint.tls,
        protocol=version,
        max_queued_incoming_messages=0,
    )


def _show(message: aiomqtt.Message, seen: dict[str, None], *, as_json: bool) -> None:
    payload = message.payload if isinstance(message.payload, bytes) else b""
    place = topics.parse_result(str(message.topic))
    if place is None:
        return
    try:
        result = decode_answer(payload, Result)
    except Refused as why:
        sys.stderr.write(f"{message.topic}: {why}\n")
        return
    key = f"{result.id}.{result.rev}"
    if key in seen:
        return
    seen[key] = None
    if len(seen) > REMEMBERED:
        seen.pop(next(iter(seen)))
    if as_json:
        sys.stdout.write(payload.decode() + "\n")
    else:
        clock, kind = _clock(result.t), "  provisional" if result.provisional else "  final" if result.rev else ""
        sys.stdout.write(
            f"{clock}  {place.site}/{result.device}/{result.stream}  {result.label} {result.score:.0%}  {result.tier}"
            f"{kind}  {result.latency_ms:.1f} ms  {result.reason}\n"
        )
    sys.stdout.flush()


def _clock(t: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(t))
    except (OverflowError, ValueError, OSError):  # a time that this machine's calendar does not have
        return "--:--:--"
