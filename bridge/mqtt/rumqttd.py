"""What we know of rumqttd, the broker inside PyPI `iotcore`: its configuration, its command line, its signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

CONFIG_NAME = "rumqttd.toml"
LOG_NAME = "rumqttd.log"  # panics and refusals to start: in normal operation it stays empty

# rumqttd keeps one log per subscription filter and drops its oldest segment, read or not, when the last one is full.
# So these bound the memory and at once say how far a subscriber may fall behind before it loses messages: 28 MiB,
# measured 88,000 messages of 300 bytes kept for an absent session at 55 MB a filter. A segment must hold several
# messages of the greatest size, or a reader that pauses for one of them loses the others.
SEGMENT_BYTES = 4 << 20
SEGMENT_MESSAGES = 4
SEGMENTS = 8
PACKET_OVERHEAD = 16 << 10  # topic and properties around a payload: rumqttd limits whole packets

_CHILD = Path(__file__).with_name("rumqttd_child.py")


def config_toml(address: str, port: int, port5: int, max_payload: int) -> str:
    """The rumqttd configuration: one 3.1.1 and one MQTT 5 listener, bounded segments, no console, no metrics.

    Args:
        address: IP address to listen on.
        port: port for MQTT 3.1.1.
        port5: port for MQTT 5.
        max_payload: greatest payload in bytes that must pass; rumqttd closes the connection of who sends much more.
    """
    packet = max_payload + PACKET_OVERHEAD
    host = f"[{address}]" if ":" in address else address
    lines = [
        "id = 0",
        "[router]",
        "id = 0",
        "max_connections = 1024",
        "max_outgoing_packet_count = 200",
        f"max_segment_size = {max(SEGMENT_BYTES, SEGMENT_MESSAGES * packet)}",
        f"max_segment_count = {SEGMENTS}",
    ]
    for version, listen in (("v4", port), ("v5", port5)):
        lines += [
            f"[{version}.1]",
            f'name = "{version}"',
            f'listen = "{host}:{listen}"',
            "next_connection_delay_ms = 0",
            f"[{version}.1.connections]",
            "connection_timeout_ms = 5000",
            f"max_payload_size = {packet}",
            "max_inflight_count = 20",  # with 100 and 200 it forgot to go on delivering several times as often
            "dynamic_filters = false",  # true would keep a log for every topic anybody publishes to
        ]
    return "\n".join(lines) + "\n"


def command(config: Path) -> list[str]:
    """The command line of the child; it ends when its stdin does."""
    return [sys.executable, "-P", str(_CHILD), str(config)]


def probe(version: int, client_id: str) -> bytes:
    """A CONNECT of MQTT 3.1.1 (version 4) or 5: clean, keep-alive 5 s (rumqttd refuses 0).

    Give the same id as long as probes are answered, for rumqttd forgets none (0.6 kB each), and another one after each
    that was not: a client that leaves between CONNECT and CONNACK and comes again under its id makes rumqttd panic
    while it holds a lock, and that listener then refuses everybody.
    """
    client = client_id.encode()
    properties = b"\x00" if version == 5 else b""
    body = b"\x00\x04MQTT" + bytes([version, 2, 0, 5]) + properties + len(client).to_bytes(2, "big") + client
    return b"\x10" + bytes([len(body)]) + body


async def answers(host: str, port: int, version: int, client_id: str, timeout: float) -> bool:  # noqa: ASYNC109 - of the whole exchange
    """Whether the listener answers a CONNECT with a CONNACK of code 0 in time.

    It leaves without a DISCONNECT: who sends one and closes at once is taken off rumqttd's list twice, and the second
    time may hit another client that has got the place meanwhile (13 of 600 tries; 0 of 600 without).
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(probe(version, client_id))
                head = await reader.readexactly(4)  # type, remaining length, flags, code: the same in both versions
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError):
        return False
    return head[0] == 0x20 and head[3] == 0
