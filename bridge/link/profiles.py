"""The ways a stream can leave: protocol and reliability × encoding × packing."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.link.events import Protocol

Transport: TypeAlias = Literal["coap-con", "coap-non", "mqtt-0", "mqtt-1"]
TRANSPORTS: tuple[tuple[Transport, int], ...] = (
    ("coap-con", 1),
    ("coap-non", 2),
    ("coap-non", 3),
    ("mqtt-0", 1),
    ("mqtt-1", 1),
)
PACKINGS = (1, 2, 4, 8, 16, 32, 64, 128)  # rows a message
NOTHING = 1 / 200  # of the declared freshness: 0.01 of utility


class Encoding(msgspec.Struct, frozen=True):
    """What an encoding costs, measured with the stream's own rows and model.

    Attributes:
        name: `json`, `float32`, `float16`, `int8`, `int4`, each also with `+zstd`.
        row_bytes: bytes a row.
        message_bytes: bytes a message besides (keys, scale and zero).
        accuracy_cost: accuracy lost against float32, a share: 0.01 is one percentage point.
        computing: seconds a message that writing and reading take at both ends, beyond the quickest encoding.
    """

    name: str
    row_bytes: float
    message_bytes: float
    accuracy_cost: float = 0.0
    computing: float = 0.0


class Stream(msgspec.Struct, frozen=True):
    """What a stream needs.

    Attributes:
        rate_hz: rows a second, above 0.
        freshness: seconds from when a row can be sent until it is safe at the bridge that 95 % must keep, above 0.
        budget: accuracy an encoding may cost: the manifest's `budget.accuracy`.
        encodings: what is on offer, best liked first.
        hop: rows from window to window; a message never holds more.
        name_bytes: length of topic or path.
        receipts: receipts that come back a message over MQTT; CoAP's answer is the receipt.
    """

    rate_hz: float
    freshness: float
    budget: float
    encodings: tuple[Encoding, ...]
    hop: int = 64
    name_bytes: int = 40
    receipts: float = 1.0


class Limits(msgspec.Struct, frozen=True):
    """What the other sides take.

    Attributes:
        receive_maximum: QoS 1 messages under way (MQTT 5 section 3.2.2.3.3; Mosquitto says 20).
        coap_window: CoAP exchanges under way.
        coap_rate: CoAP messages a second that the library carries.
        block_size: bytes of a CoAP payload before it goes block-wise (RFC 7959: at most 1024).
        most_bytes: largest payload.
    """

    receive_maximum: int = 20
    coap_window: int = 32
    coap_rate: float = 200.0
    block_size: int = 1024
    most_bytes: int = 262_144


class Profile(msgspec.Struct, frozen=True):
    """One way a stream can leave.

    Attributes:
        transport: protocol and reliability.
        copies: times that a NON message leaves at once; else 1.
        encoding: how rows are written.
        rows: rows a message.
        longest_wait: seconds that a row waits for the message to fill.
    """

    transport: Transport
    copies: int
    encoding: Encoding
    rows: int
    longest_wait: float

    @property
    def protocol(self) -> Protocol:
        """MQTT or CoAP."""
        return "mqtt" if self.transport[0] == "m" else "coap"

    @property
    def name(self) -> str:
        """As users pin and exclude it: `coap-con/float16/8`, `coap-non2/int8/16`."""
        copies = str(self.copies) if self.copies > 1 else ""
        return f"{self.transport}{copies}/{self.encoding.name}/{self.rows}"

    @property
    def payload(self) -> float:
        """Bytes of a full message's payload."""
        return self.encoding.message_bytes + self.rows * self.encoding.row_bytes


def enumerate_profiles(
    stream: Stream, limits: Limits, *, pin: str = "*", exclude: Sequence[str] = ()
) -> tuple[Profile, ...]:
    """The profiles worth looking at.

    Left out: payloads beyond the limit, NON block-wise, packing that alone would take longer than the freshness (a
    single row stays), encodings that are larger, lose more and are not quicker by more than `NOTHING` than another,
    QoS 1 beside QoS 0. Pins and exclusions come first, so that a pinned profile is there however poor it is.

    Args:
        stream: what is to be carried.
        limits: what the other sides take.
        pin: shell pattern over `Profile.name`; only these.
        exclude: patterns; none of these.

    Raises:
        ConfigError: nothing is left.
    """
    every = [
        Profile(transport, copies, encoding, rows, (rows - 1) / stream.rate_hz)
        for transport, copies in TRANSPORTS
        for encoding in stream.encodings
        for rows in _packings(stream)
    ]
    allowed = [
        profile
        for profile in every
        if _matches(profile, pin) and not any(_matches(profile, one) for one in exclude) and _fits(profile, limits)
    ]
    if not allowed:
        raise ConfigError(f"transport: no profile matches {pin!r} without {list(exclude)} and fits {limits}")
    nothing = NOTHING * stream.freshness
    return tuple(profile for profile in allowed if not any(_beats(other, profile, nothing) for other in allowed))


def _packings(stream: Stream) -> list[int]:
    most = min(stream.hop, 1 + int(stream.freshness * stream.rate_hz))
    return [rows for rows in PACKINGS if rows == 1 or rows <= most]


def _matches(profile: Profile, pattern: str) -> bool:
    return fnmatchcase(profile.name, pattern)


def _fits(profile: Profile, limits: Limits) -> bool:
    most = limits.block_size if profile.transport == "coap-non" else limits.most_bytes
    return profile.payload <= most


def _way(profile: Profile) -> tuple[str, int]:
    return ("mqtt" if profile.protocol == "mqtt" else profile.transport), profile.copies


def _beats(other: Profile, profile: Profile, nothing: float) -> bool:
    """The other one sends the same rows the same way, in less, losing no more and computing `nothing` longer at most.

    QoS 0 counts as the same way as QoS 1, in less: on a living connection TCP repeats for both, on a broken one the
    outbox does, which waits for the bridge's receipt and not for a PUBACK.
    """
    ours, theirs = _way(profile), _way(other)
    if ours != theirs or other.rows != profile.rows:
        return False
    if other.transport != profile.transport:
        return other.transport == "mqtt-0" and other.encoding == profile.encoding
    less, more = _costs(other), _costs(profile)
    if less == more:
        return other.encoding.computing < profile.encoding.computing
    longer = other.encoding.computing - profile.encoding.computing
    return longer <= nothing and less[0] <= more[0] and less[1] <= more[1]


def _costs(profile: Profile) -> tuple[float, float]:
    return profile.payload, profile.encoding.accuracy_cost
