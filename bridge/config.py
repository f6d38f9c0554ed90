"""Settings of the bridge: `bridge.toml`, key by key. An unknown key is an error, not a silence."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge import settings, topics
from bridge.config_routes import OverrideSection, RouteSection, Seconds, Share
from bridge.errors import ConfigError
from bridge.offload.choosing import names as profiles
from bridge.offload.sending import Encoding
from bridge.settings import InvalidKey

__all__ = [
    "BridgeSection", "BrokerSection", "CloudSection", "CoapSection", "Config", "LimitsSection", "MqttSection",
    "OverrideSection", "ResultsSection", "RouteSection", "load",
]  # fmt: skip

Count = Annotated[int, Meta(ge=1)]
Pattern = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]

LARGEST_PACKET = 268_435_460  # bytes: header and largest Remaining Length of MQTT 5, section 2.1.4


class BridgeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[bridge]`.

    Attributes:
        id: name of this bridge; unique among bridges on a broker.
        state: folder for the journal and the kept Results, relative to the config file.
        models: folder of model folders; the shipped ones when left out.
        provider: execution provider, by a name that `check` prints; left out: what `models tune` found, else the CPU.
        threads: threads that one run of a model may use; left out: what `models tune` found, else one.
        retune: seconds to spend on timing a model anew, beside the work, where what `models tune` found was for another
            machine, runtime or version of it; 0: never.
        drain: seconds that SIGTERM leaves for answers of the cloud; the journal keeps what is open then.
        log_level: least severe log messages shown on stderr.
    """

    id: str
    state: str = "state"
    models: str | None = None
    provider: str | None = None
    threads: Annotated[int, Meta(ge=1, le=256)] | None = None
    retune: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 20.0
    drain: Seconds = 5.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if not topics.is_name(self.id):
            raise InvalidKey("id", f"{self.id!r} is not a name: letters, digits, `_`, `.`, `-`, at most 64")


class BrokerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broker to connect to: part of `[mqtt]` and `[cloud]`.

    Attributes:
        url: mqtt://host[:port] or mqtts://host[:port]; left out in `[mqtt]`: the embedded broker.
        username: for authentication.
        password_file: file whose first line is the password.
        ca: PEM file of certificates to trust; the system's when left out.
        cert: our own certificate, for brokers that ask for one.
        key: its private key.
        keep_alive: seconds of silence after which a connection is tested.
    """

    url: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    keep_alive: Annotated[int, Meta(ge=5, le=3_600)] = 30


class MqttSection(BrokerSection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[mqtt]`: the devices' broker.

    Attributes:
        session_expiry: seconds for which the broker keeps messages for a bridge that is away.
        receive_maximum: messages that the broker may send ahead of our acknowledgements.
        share: name of a group of bridges that take turns at the messages of all devices (a shared subscription of MQTT
            5); for routes with `windows = "whole"` only.
        listen: address of the embedded broker.
        port: its port for MQTT 3.1.1; 0 picks a free one.
        port5: its port for MQTT 5; 0 picks a free one.
    """

    session_expiry: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] = 86_400
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 1_024
    share: str | None = None
    listen: str = "127.0.0.1"
    port: Port = 1_883
    port5: Port = 1_884

    def __post_init__(self) -> None:
        if self.share is not None and not topics.is_name(self.share):
            raise InvalidKey("share", f"{self.share!r} is not a name: letters, digits, `_`, `.`, `-`, at most 64")
        if self.share is not None and self.url is None:
            raise InvalidKey("share", "needs a broker that several bridges can reach: give mqtt.url")


class CloudSection(BrokerSection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[cloud]`: the broker that the cloud agents use, and how they are asked.

    Attributes:
        hedge: share of the questions that may be put to a second agent when the first is slow, 0…1.
        explore: share of the windows for which the cloud is passed over, because it would hardly answer in time, that
            it is asked about all the same, only to learn whether it has become quicker, 0…1.
        cache: seconds for which its answer is used again for a window of the very same values; 0: never.
        encoding: how windows travel; "auto": what suits the link of those that cost no more accuracy than the model's
            `budget`, by what `models fidelity` measured, float32 where nothing was.
        pin: shell pattern over the profiles that questions leave by: QoS, encoding, questions a message, such as
            `mqtt-1/int8/1`; only these are used.
        exclude: patterns; none of these is used.
    """

    hedge: Share = 0.05
    explore: Share = 0.02
    cache: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    encoding: Encoding = "auto"
    pin: Pattern = "*"
    exclude: tuple[Pattern, ...] = ()

    def __post_init__(self) -> None:
        key = "pin"  # which of both leaves nothing
        try:
            profiles(self.pin, ())
            key = "exclude"
            left = profiles(self.pin, self.exclude)
        except ConfigError as why:
            raise InvalidKey(key, str(why)) from why
        written = {name.split("/")[1] for name in left}
        if self.encoding != "auto" and self.encoding not in written:
            raise InvalidKey(
                "encoding",
                f"{self.encoding!r} is not among what pin {self.pin!r} leaves without {list(self.exclude)}: "
                f"{', '.join(sorted(written))}",
            )


class CoapSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[coap]`.

    Attributes:
        bind: address:port to listen on; [address]:port for IPv6.
        enabled: whether to listen at all.
    """

    bind: str = "127.0.0.1:5683"
    enabled: bool = True

    def __post_init__(self) -> None:
        self.address()

    def address(self) -> tuple[str, int]:
        """Host and port.

        Raises:
            InvalidKey: `bind` is not address:port.
        """
        found = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})", self.bind)
        if found is None or int(found["port"]) > 65_535:
            raise InvalidKey("bind", f"{self.bind!r} is not address:port, such as 127.0.0.1:5683")
        return found["six"] or found["host"], int(found["port"])


class LimitsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: what bounds memory and patience.

    Attributes:
        payload: bytes of a message.
        packet: bytes of an MQTT packet that is still read, so that a message too large gets its Error.
        rows: rows of a message; fewer where a model begins windows so often that they would be above 16 MiB.
        depth: nested containers in a message.
        inbox: bytes waiting for the pipeline as they came, above which no door reads.
        publishes: messages waiting for the broker, above which the pipeline stands still.
        questions: windows waiting for the cloud, above which the bridge answers itself.
        series: series remembered; the longest idle goes first.
        held_rows: rows held beyond a gap, a series; one message is always held, however long.
        gap: seconds to wait for missing rows of a plain device.
        gap_receipts: seconds to wait for them where the sender keeps rows until receipted.
        gap_backlog: seconds to wait for rows that the sender said come in the backlog, while none of them comes.
        segments: parts of a series between which such rows are missing, besides the oldest; the smallest hole goes.
        errors: Errors a second and device.
    """

    payload: Count = 1_048_576
    packet: Annotated[int, Meta(ge=1, le=LARGEST_PACKET)] = 16_777_216
    rows: Count = 65_536
    depth: Count = 32
    inbox: Count = 33_554_432
    publishes: Count = 8_192
    questions: Count = 1_024
    series: Count = 50_000
    held_rows: Count = 8_192
    gap: Seconds = 2.0
    gap_receipts: Seconds = 60.0
    gap_backlog: Seconds = 86_400.0
    segments: Count = 16
    errors: Seconds = 10.0


class ResultsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[results]`: published Results kept to be published again.

    Attributes:
        keep_age: seconds for which they are kept.
        keep_bytes: bytes that they may take; above either the oldest go first.
        again: seconds before the broker lost us of which the Results are published again by themselves.
    """

    keep_age: Seconds = 3_600.0
    keep_bytes: Annotated[int, Meta(ge=1 << 20)] = 268_435_456
    again: Annotated[float, Meta(ge=0, le=1e9)] = 60.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        bridge: see `BridgeSection`.
        mqtt: see `MqttSection`.
        coap: see `CoapSection`.
        cloud: see `CloudSection`; left out: no cloud.
        limits: see `LimitsSection`.
        results: see `ResultsSection`.
        providers: ONNX Runtime's options for a provider, by its name: `[providers.openvino] device_type = "CPU"`.
        routes: see `RouteSection`; none: a stream called like a model goes to that model.
        overrides: see `OverrideSection`.
    """

    bridge: BridgeSection
    mqtt: MqttSection = MqttSection()
    coap: CoapSection = CoapSection()
    cloud: CloudSection | None = None
    limits: LimitsSection = LimitsSection()
    results: ResultsSection = ResultsSection()
    routes: tuple[RouteSection, ...] = ()
    overrides: tuple[OverrideSection, ...] = ()
    providers: dict[str, dict[str, str]] = {}

    def __post_init__(self) -> None:
        if self.cloud is not None and self.cloud.url is None:
            raise InvalidKey("cloud.url", "missing; leave out the whole section for a bridge without a cloud")
        taken: dict[str, int] = {}
        for i, route in enumerate(self.routes):
            if route.filter is None and taken.setdefault(route.stream, i) != i:
                raise InvalidKey(f"routes[{i}].stream", f"{route.stream!r} is routes[{taken[route.stream]}]'s already")
        self._check_foreign()
        if self.mqtt.share is not None:
            self._check_share()

    def _check_share(self) -> None:
        """Rows of a stream that go to two bridges would give neither a window."""
        if not self.routes:
            raise InvalidKey("mqtt.share", 'needs routes, each with windows = "whole"')
        for i, route in enumerate(self.routes):
            if route.windows != "whole":
                raise InvalidKey(f"routes[{i}].windows", 'must be "whole": mqtt.share spreads messages over bridges')

    def _check_foreign(self) -> None:
        foreign = [(i, route.filter) for i, route in enumerate(self.routes) if route.filter is not None]
        for n, (i, one) in enumerate(foreign):
            for j, other in foreign[n + 1 :]:
                if topics.overlaps(one, other):
                    raise InvalidKey(f"routes[{j}].filter", f"{other!r} overlaps routes[{i}]'s {one!r}")


def load(path: Path | None) -> tuple[Config, Path]:
    """Read the settings.

    Args:
        path: the file; None for the defaults.

    Returns:
        The settings, and the folder that relative paths start from.

    Raises:
        ConfigError: naming file, key and why.
    """
    if path is None:
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("_.-")[:64] or "bridge"
        return Config(BridgeSection(id=name)), Path.cwd()
    if not path.is_file():
        raise ConfigError(f"{path}: {'is a folder; give the file in it' if path.is_dir() else 'no such file'}")
    return settings.load(path, Config), path.resolve().parent
