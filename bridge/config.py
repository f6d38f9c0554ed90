"""Settings of the bridge: `bridge.toml`, key by key. An unknown key is an error, not a silence."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge import settings, topics
from bridge.errors import ConfigError
from bridge.pipeline.routes import highest_slot
from bridge.settings import InvalidKey
from bridge.wire.foreign import Decoding

Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]

LARGEST_PACKET = 268_435_460  # bytes: header and largest Remaining Length of MQTT 5, section 2.1.4


class BridgeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[bridge]`.

    Attributes:
        id: name of this bridge; unique among bridges on a broker.
        state: folder for the journal and the kept Results, relative to the config file.
        models: folder of model folders; the shipped ones when left out.
        provider: execution provider, by a name that `check` prints; left out: what `models tune` found, else the CPU.
        threads: threads that one run of a model may use; left out: what `models tune` found, else one.
        drain: seconds that SIGTERM leaves for answers of the cloud; the journal keeps what is open then.
        log_level: least severe log messages shown on stderr.
    """

    id: str
    state: str = "state"
    models: str | None = None
    provider: str | None = None
    threads: Annotated[int, Meta(ge=1, le=256)] | None = None
    drain: Seconds = 5.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if not topics.is_name(self.id):
            raise InvalidKey("id", f"{self.id!r} is not a name: letters, digits, `_`, `.`, `-`, at most 64")


class BrokerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broker to connect to: `[mqtt]` and `[cloud]`.

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
        rows: rows of a message.
        depth: nested containers in a message.
        inbox: bytes waiting for the pipeline, above which no door reads.
        publishes: messages waiting for the broker, above which the pipeline stands still.
        questions: windows waiting for the cloud, above which the bridge answers itself.
        series: series remembered; the longest idle goes first.
        held_rows: rows held beyond a gap, a series.
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


class RouteSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[routes]]`.

    Attributes:
        stream: stream that the route takes; "*" takes every stream no other route names. With `filter` the name given
            to the foreign stream, where `{n}` stands for the n-th wildcard.
        model: model to ask.
        windows: "rows": the rows of all messages form one series; "whole": one message is one window.
        place: "cascade": the bridge, and the cloud where the bridge is unsure; "bridge" or "cloud": always there.
        deadline: seconds after a window's last row within which it is to be answered.
        below: escalate below this probability; left out: what the model's manifest says.
        late: "refuse": a live whole window, sent without asking for a receipt, whose deadline passes while it waits for
            a slow model is refused with `stale`; "answer": it is answered all the same.
        order: "strict": first Results of a stream's lane come in the order of its windows: one the bridge is sure of
            waits for those before it that the cloud is asked about, at most until their deadline; "free": each comes as
            soon as it is known.
        provisional: where the bridge is unsure it answers at once, with a provisional Result, and a final one follows
            when the cloud has answered, or confirms it when it did not; for `place = "cascade"` only. `_infer` gets one
            Result in any case.
        grace: seconds after the deadline within which that final one comes.
        filter: topic filter of foreign devices.
        site: site of foreign devices, may hold `{n}`.
        device: device name of foreign devices, may hold `{n}`.
        decode: how a foreign payload is read; left out: it is an Observation.
    """

    stream: str
    model: str
    windows: Literal["rows", "whole"] = "rows"
    place: Literal["cascade", "bridge", "cloud"] = "cascade"
    deadline: Seconds = 2.0
    below: Share | None = None
    late: Literal["refuse", "answer"] = "refuse"
    order: Literal["strict", "free"] = "strict"
    provisional: bool = False
    grace: Seconds = 10.0
    filter: str | None = None
    site: str = "local"
    device: str | None = None
    decode: Decoding | None = None

    def __post_init__(self) -> None:
        if self.provisional and self.place != "cascade":
            raise InvalidKey("provisional", f'place = "{self.place}" has one tier answer: there is nothing to revise')
        if self.filter is None:
            if self.device is not None or self.decode is not None:
                raise InvalidKey("device" if self.device is not None else "decode", "needs `filter`")
            if self.stream != "*" and not topics.is_name(self.stream):
                raise InvalidKey("stream", f"{self.stream!r} is not a name, nor *")
            return
        self._check_filter(self.filter)

    def _check_filter(self, text: str) -> None:
        if not topics.is_filter(text):
            raise InvalidKey("filter", f"{text!r} is not a topic filter")
        for reserved in topics.RESERVED_FILTERS:
            if topics.overlaps(text, reserved):
                raise InvalidKey(
                    "filter", f"{text!r} overlaps {reserved!r}, which the bridge itself uses: it would loop"
                )
        if self.device is None:
            raise InvalidKey("device", "missing; say which device a foreign topic belongs to, for example {1}")
        wildcards = sum(level in {"+", "#"} for level in text.split("/"))
        for key, template in (("site", self.site), ("device", self.device), ("stream", self.stream)):
            if highest_slot(template) > wildcards or "{0}" in template:
                raise InvalidKey(key, f"{template!r}: the filter has {wildcards} wildcards, counted from {{1}}")
            if not topics.is_name(re.sub(r"\{\d+\}", "x", template)):
                raise InvalidKey(key, f"{template!r} does not make a name")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        bridge: see `BridgeSection`.
        mqtt: see `MqttSection`.
        coap: see `CoapSection`.
        cloud: see `BrokerSection`; left out: no cloud.
        limits: see `LimitsSection`.
        results: see `ResultsSection`.
        providers: ONNX Runtime's options for a provider, by its name: `[providers.openvino] device_type = "CPU"`.
        routes: see `RouteSection`; none: a stream called like a model goes to that model.
    """

    bridge: BridgeSection
    mqtt: MqttSection = MqttSection()
    coap: CoapSection = CoapSection()
    cloud: BrokerSection | None = None
    limits: LimitsSection = LimitsSection()
    results: ResultsSection = ResultsSection()
    routes: tuple[RouteSection, ...] = ()
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
