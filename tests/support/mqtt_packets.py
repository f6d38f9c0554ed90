"""What a broker says to a session, packet by packet, and what the session answers."""

from __future__ import annotations

from typing import Any

import mqtt5

from bridge.mqtt.messages import Publish, Settings
from bridge.mqtt.session import Session

QOS1 = mqtt5.QoS.AT_LEAST_ONCE


def packets(data: bytes) -> list[Any]:
    found = []
    while data:
        packet, size = mqtt5.read(memoryview(data))
        found.append(packet)
        data = data[size:]
    return found


def sent(session: Session, now: float = 0.0) -> list[Any]:
    return packets(session.outgoing(now))


def connack(**fields: Any) -> bytes:
    return mqtt5.ConnAckPacket(**fields).write()


def incoming(packet_id: int, topic: str = "in", payload: bytes = b"x", **fields: Any) -> bytes:
    return mqtt5.PublishPacket(topic, payload, **{"qos": QOS1, "packet_id": packet_id} | fields).write()


def puback(packet_id: int, code: int = 0) -> bytes:
    return mqtt5.PubAckPacket(packet_id, reason_code=mqtt5.PubAckReasonCode(code)).write()


def suback(packet_id: int, *codes: int) -> bytes:
    return mqtt5.SubAckPacket(packet_id, [mqtt5.SubAckReasonCode(code) for code in codes]).write()


def unsuback(packet_id: int, *codes: int) -> bytes:
    return mqtt5.UnsubAckPacket(packet_id, [mqtt5.UnsubAckReasonCode(code) for code in codes or (0,)]).write()


def connected(settings: Settings | None = None, **ack: Any) -> Session:
    session = Session(Settings("me") if settings is None else settings)
    session.connect(0.0)
    session.receive(connack(**ack), 0.0)
    session.outgoing(0.0)
    return session


def reconnect(session: Session, **ack: Any) -> list[Any]:
    session.lost()
    session.connect(0.0)
    session.outgoing(0.0)
    session.receive(connack(**ack), 0.0)
    return sent(session)


def out(number: int, codes: list[int] | None = None, **fields: Any) -> Publish:
    return Publish("out", b"%d" % number, done=None if codes is None else codes.append, **fields)
