"""Settings of an agent, as in `config/edge_agent.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from bridge import settings, topics
from bridge.errors import ConfigError
from bridge.settings import InvalidKey
from edge_agent.link_settings import Link, Wishes

PORTS = {"mqtt": 1883, "mqtts": 8883, "coap": 5683}

Positive = Annotated[float, Meta(gt=0, le=1e9)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]


class Url(msgspec.Struct, frozen=True):
    """Where the rows go."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[agent]`: who this is, where it sends, what it keeps."""

    site: Annotated[str, Meta(description="Site, one level of every topic.")]
    device: Annotated[str, Meta(description="Device, one level of every topic.")]
    url: Annotated[str, Meta(description="mqtt://host:1883, mqtts://host:8883 or coap://host:5683.")]
    coap: Annotated[
        str | None, Meta(description="coap://host:5683 of the same bridge, beside mqtt: then the link decides.")
    ] = None
    protocol: Annotated[Literal["3.1.1", "5"], Meta(description="MQTT version to speak.")] = "5"
    username: Annotated[str | None, Meta(description="MQTT user name.")] = None
    password_file: Annotated[str | None, Meta(description="File whose first line is the MQTT password.")] = None
    ca: Annotated[
        str | None, Meta(description="PEM file of the authorities that may sign the broker; default: the system's.")
    ] = None
    cert: Annotated[str | None, Meta(description="PEM file of our certificate, for brokers that ask for one.")] = None
    key: Annotated[str | None, Meta(description="PEM file of its key.")] = None
    state: Annotated[str, Meta(description="Folder of the rows not yet receipted, relative to this file.")] = "state"
    max_bytes: Annotated[int, Meta(gt=0, description="Most bytes of rows to keep on disk.")] = 1 << 30
    max_age: Annotated[
        Positive | None,
        Meta(description="Seconds after which rows are dropped, pauses within bounds; leave out: never."),
    ] = None
    when_full: Annotated[
        Literal["refuse_new", "drop_oldest", "thin_out"],
        Meta(
            description="refuse_new holds the source back; drop_oldest gives up the oldest rows; thin_out every second "
            "block of thin_rows rows in the older half, again and again: the older, the coarser. What is given up is "
            "logged, and the bridge is told."
        ),
    ] = "refuse_new"
    thin_rows: Annotated[
        int, Meta(ge=1, description="thin_out: rows a block; at least a window's, so that whole windows remain.")
    ] = 256
    backlog_after: Annotated[
        Seconds,
        Meta(
            description="Seconds without a way to the bridge after which what waited is sent as backlog, beside live "
            "rows and never in their way. After a shorter break all goes in order: it delays live rows by less than it "
            "lasted itself, and windows across it are not late.",
        ),
    ] = 2.0
    commit_wait: Annotated[
        Seconds, Meta(description="Seconds that rows may gather before one commit; acceptance waits as long.")
    ] = 0.02
    window: Annotated[int, Meta(ge=1, le=16, description="Most messages under way at once.")] = 16
    keep_alive: Annotated[int, Meta(ge=5, le=3600, description="MQTT keep alive, seconds.")] = 30
    publish_timeout: Annotated[
        Positive, Meta(description="Seconds without an acknowledgement after which the connection counts as dead.")
    ] = 20.0
    receipt_timeout: Annotated[
        Positive, Meta(description="Seconds without a receipt after which rows are sent again; doubles up to 30 s.")
    ] = 10.0

    def __post_init__(self) -> None:
        for key in ("site", "device"):
            if not topics.is_name(getattr(self, key)):
                raise InvalidKey(key, _bad_name(getattr(self, key)))
        url = parse_url(self.url)
        if self.coap is not None and (url.scheme == "coap" or parse_url(self.coap, "coap").scheme != "coap"):
            raise InvalidKey("coap", "is the second way, coap://host:5683, beside a url of mqtt:// or mqtts://")
        if (self.cert is None) != (self.key is None):
            raise InvalidKey("key" if self.key is None else "cert", "cert and key go together")
        if url.scheme == "coap" and self.username is not None:
            raise InvalidKey("url", "coap:// has no password; leave out username, or take mqtts://")
        if url.scheme != "mqtts" and (self.ca or self.cert):
            raise InvalidKey("url", f"{url.scheme}:// has no TLS; take mqtts://, or leave out ca, cert and key")
        if self.password_file is not None and self.username is None:
            raise InvalidKey("username", "missing: a password_file needs it")

    @property
    def client_id(self) -> str:
        """For MQTT."""
        return f"agent-{self.site}-{self.device}"

    @property
    def store(self) -> Path:
        """The outbox."""
        return Path(self.state) / f"{self.client_id}.db"


class Stream(Wishes, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[streams]]`: one series of rows, where it comes from, and what it needs where the link decides."""

    name: Annotated[str, Meta(description="Stream, the last level of the data topic.")]
    source: Annotated[
        Literal["stdin", "replay", "program"],
        Meta(
            description="stdin: one JSON row a line; replay: recorded files; program: what embeds the agent "
            "(edge_agent.EdgeAgent) hands rows over."
        ),
    ]
    rate: Annotated[Positive | None, Meta(description="Rows a second, where the source does not tell; replay: 50.")] = (
        None
    )
    files: Annotated[
        list[str], Meta(description="replay: csv or npz files, one after the other, relative to this file.")
    ] = msgspec.field(default_factory=list)
    speed: Annotated[
        float, Meta(ge=0, le=1e9, description="replay: 10 is ten times real time, 0 as fast as possible.")
    ] = 1.0
    columns: Annotated[
        list[str], Meta(description="replay: csv columns to take, in this order; default: all but t.")
    ] = msgspec.field(default_factory=list)
    confirm: Annotated[bool, Meta(description="stdin: print a line for every range of rows once it is on disk.")] = (
        False
    )
    rows_per_message: Annotated[int, Meta(ge=1, le=4096, description="Rows a message.")] = 25
    longest_wait: Annotated[
        Seconds, Meta(description="Seconds after which rows are sent although a message is not full.")
    ] = 1.0
    windows: Annotated[
        Literal["rows", "whole"],
        Meta(
            description="whole: the route takes each message as one window, so only full messages are sent; one that "
            "stdin or a program has begun at the end waits for the next start."
        ),
    ] = "rows"
    encoding: Annotated[Literal["cbor", "json"], Meta(description="How messages are written.")] = "cbor"
    packing: Annotated[
        Literal["float32", "float16", "int8"],
        Meta(description="Numbers in cbor; int8 quantises per message and channel."),
    ] = "float32"

    def __post_init__(self) -> None:
        if not topics.is_name(self.name):
            raise InvalidKey("name", _bad_name(self.name))
        if self.source == "replay" and not self.files:
            raise InvalidKey("files", "missing: a replay needs at least one")
        for key in ("files", "columns"):
            if self.source != "replay" and getattr(self, key):
                raise InvalidKey(key, 'is of recordings: leave it out, or take source = "replay"')
        if self.source == "program" and self.confirm:
            raise InvalidKey("confirm", "is of stdin: leave it out; a program awaits what it puts")
        if self.encoding == "json" and self.packing != "float32":
            raise InvalidKey("packing", "only cbor is packed; leave it out or use encoding = 'cbor'")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    agent: Annotated[Agent, Meta(description="Who this is, where it sends, what it keeps.")]
    streams: Annotated[list[Stream], Meta(min_length=1, description="The series it sends.")]
    link: Annotated[Link | None, Meta(description="How the link decides; left out: as `url` says, or with `coap`.")] = (
        None
    )

    def __post_init__(self) -> None:
        names = [stream.name for stream in self.streams]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise InvalidKey(f"streams[{i}].name", f"{name!r} is there twice")
        fed = [i for i, stream in enumerate(self.streams) if stream.source == "stdin"]
        if len(fed) > 1:
            raise InvalidKey(f"streams[{fed[1]}].source", "only one stream can read stdin")
        if self.link is None and self.agent.coap is None:
            self._check_wishes()

    def _check_wishes(self) -> None:
        for i, stream in enumerate(self.streams):
            for key in stream.wishes:
                raise InvalidKey(
                    f"streams[{i}].{key}", "no effect where the link does not decide: add [link], or `coap` to [agent]"
                )


def _bad_name(text: str) -> str:
    return f"{text!r} is no name: 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter or digit"


def parse_url(text: str, key: str = "url") -> Url:
    """Scheme, host and port; no error repeats any of it, for it may hold a password.

    Raises:
        InvalidKey: for the key, with why.
    """
    if "@" in text:
        raise InvalidKey(key, "must not hold credentials; use username and password_file")
    expected = "must be mqtt://host[:port], mqtts://host[:port] or coap://host[:port], the port up to 65535"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidKey(key, expected) from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise InvalidKey(key, expected)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise InvalidKey(key, "nothing may follow the port")
    return Url(parts.scheme, parts.hostname, port or PORTS[parts.scheme])


def load(path: Path) -> Settings:
    """The settings of a file, its paths made absolute.

    Raises:
        ConfigError: naming file, key and why.
    """
    found = settings.load(path, Settings)
    replace = msgspec.structs.replace
    paths = {
        key: str(settings.beside(path, value))
        for key in ("state", "password_file", "ca", "cert", "key")
        if (value := getattr(found.agent, key)) is not None
    }
    streams = [replace(one, files=[str(settings.beside(path, file)) for file in one.files]) for one in found.streams]
    return replace(found, agent=replace(found.agent, **paths), streams=streams)


def read_password(path: str) -> str:
    """First line of a password file.

    Raises:
        ConfigError: the file cannot be read or is empty; never holds the content.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        reason = getattr(why, "strerror", None) or "not UTF-8"
        raise ConfigError(f"password_file {path}: cannot be read: {reason}") from why
    if not text.strip():
        raise ConfigError(f"password_file {path}: empty")
    return text.splitlines()[0]
