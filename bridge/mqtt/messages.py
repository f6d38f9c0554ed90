"""What goes through an MQTT session: what is asked of the broker, what is published, what arrives."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """What a session asks of the broker.

    Attributes:
        client_id: name of the session.
        username: for authentication.
        password: for authentication; never logged.
        keep_alive: seconds; the broker's Server Keep Alive replaces it, unless that is 0.
        session_expiry: seconds for which the broker keeps our session while we are away.
        receive_maximum: messages that the broker may send ahead of our acknowledgements.
        maximum_packet: bytes of the largest packet we take.
        subscriptions: topic filters.
        retained_once: those of them whose retained messages come with a new subscription only: the broker would repeat
            them at every reconnect, and a retained reading without a row number would count as a new one each time.
        will: topic and payload that the broker publishes, retained, when we vanish.
        clean_start: begin anew; only for sessions that must not survive their process.
        qos: 0, 1 or 2; the highest at which the broker delivers to the subscriptions. Not 2 with rumqttd 0.20: that
            raises QoS 1 to 2, and numbers anew at a reconnect, so that messages come twice.
        topic_alias_maximum: topics that the broker may abbreviate towards us on one connection, and that we keep; 0 for
            none. Not with rumqttd 0.20, which takes a publisher's alias for ours: messages come under a wrong topic.
        aliases: topics that we abbreviate towards the broker on one connection, at most as many as it allows; for thin
            links. Not with rumqttd 0.20, which cuts off 3.1.1 subscribers of an abbreviated message.
        pong_within: seconds that an answer to a ping may take until the connection is given up; longer where somebody
            else sees sooner whether it is half-open, so that an outage does not cost it.
    """

    client_id: str
    username: str | None = None
    password: bytes | None = None
    keep_alive: int = 30
    session_expiry: int = 86_400
    receive_maximum: int = 1_024
    maximum_packet: int = 2_097_152
    subscriptions: tuple[str, ...] = ()
    retained_once: tuple[str, ...] = ()
    will: tuple[str, bytes] | None = None
    clean_start: bool = False
    qos: int = 1
    topic_alias_maximum: int = 0
    aliases: int = 0
    pong_within: float = 5.0

    def __repr__(self) -> str:
        return f"Settings(client_id={self.client_id!r}, username={self.username!r})"  # never the password


class Publish(msgspec.Struct, frozen=True, eq=False):
    """A message to publish.

    Attributes:
        topic: where to.
        payload: bytes.
        qos: 0 or 1.
        retain: the broker keeps it for later subscribers.
        content_type: MIME type of the payload.
        response_topic: where an answer is expected.
        correlation: opaque bytes that the answer repeats.
        expiry: seconds after which the broker drops it undelivered.
        done: called once with the PUBACK's reason code (0 for QoS 0 once written); never while the outcome is open.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry: int | None = None
    done: Callable[[int], None] | None = None


class Delivery(msgspec.Struct, eq=False, gc=False):
    """A message received, together with the right to acknowledge it.

    Attributes:
        topic: as published; empty only inside the session, while its alias is to be looked up.
        payload: bytes.
        qos: 0, 1 or 2.
        retain: it was kept by the broker from before.
        content_type: MIME type, if given.
        response_topic: where to answer, if asked.
        correlation: to repeat in the answer.
        packet_id: of the connection it came on, or at QoS 2 of the session; None at QoS 0.
        settled: reason code of the acknowledgement, once decided.
        alias: the Topic Alias it came with, if any.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    content_type: str | None
    response_topic: str | None
    correlation: bytes | None
    packet_id: int | None
    settled: int | None = None
    alias: int | None = None


topic_of: Callable[[Delivery], str] = attrgetter("topic")
"""Its topic, for `map`."""


class Acked(msgspec.Struct, frozen=True, gc=False):
    """What a PUBACK tells about the link.

    Attributes:
        round_trip: seconds from handing the PUBLISH to the transport to its PUBACK.
        size: bytes of the PUBLISH.
        ambiguous: it was sent on an earlier connection too, so that the PUBACK may answer either copy (Karn).
    """

    round_trip: float
    size: int
    ambiguous: bool
