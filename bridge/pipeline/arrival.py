"""What a door hands to the pipeline: a message together with the right to settle it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.errors import Refused
from bridge.messages import Result


class Verdict(msgspec.Struct, frozen=True):
    """What became of an arrival.

    Attributes:
        refused: why it was refused; None when it is safe with the bridge.
        results: Results of the windows it completed, as far as they are known by now.
    """

    refused: Refused | None = None
    results: tuple[Result, ...] = ()


class Arrival(msgspec.Struct, eq=False):
    """A message from MQTT or CoAP, not yet decoded.

    Attributes:
        topic: MQTT topic or CoAP path.
        payload: bytes.
        arrived: monotonic seconds.
        settle: to be called once: acknowledges an MQTT message, answers a CoAP request.
        content_type: MQTT 5 Content Type, if given.
        content_format: CoAP Content-Format, if given.
        reply_to: where `_infer` wants its answer.
        correlation: to repeat in that answer.
        transient: the sender's hop keeps no copy (CoAP): settle only what is on our disk.
        comes_again: number of the MQTT connection it came on, where the broker sends it again on the next one unless it
            is settled; 0 where nobody does.
        wants_result: settle with the Result where exactly one window was completed.
        oversize: bytes of a payload above what is taken, which is not kept; 0 where it is kept.
        sheddable: its sender expects no acknowledgement (QoS 0): it may be given up when there is no room.
    """

    topic: str
    payload: bytes
    arrived: float
    settle: Callable[[Verdict], None]
    content_type: str | None = None
    content_format: int | None = None
    reply_to: str | None = None
    correlation: bytes | None = None
    transient: bool = False
    comes_again: int = 0
    wants_result: bool = False
    sheddable: bool = False
    oversize: int = 0


SAFE = Verdict()  # what most arrivals come to
