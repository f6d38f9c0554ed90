"""Settings of the cloud agent, as in `config/cloud_agent.toml`."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from bridge import settings, topics
from bridge.errors import ConfigError
from bridge.mqtt.endpoint import Endpoint, parse_url, read_password, tls_context
from bridge.settings import InvalidKey

Count = Annotated[int, Meta(ge=1)]


class Cloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[cloud]`: who this is and which broker it serves at."""

    id: Annotated[str, Meta(description="Name of this agent; each needs its own.")]
    url: Annotated[str, Meta(description="mqtt://host[:1883] or mqtts://host[:8883]; MQTT 5.")]
    username: Annotated[str | None, Meta(description="MQTT user name.")] = None
    password_file: Annotated[str | None, Meta(description="File whose first line is the MQTT password.")] = None
    ca: Annotated[str | None, Meta(description="PEM file of who may sign the broker; default: the system's.")] = None
    cert: Annotated[str | None, Meta(description="PEM file of our certificate, if the broker asks for one.")] = None
    key: Annotated[str | None, Meta(description="PEM file of its key.")] = None
    group: Annotated[str, Meta(description="Agents of one group share the questions.")] = "cloud-agents"
    keep_alive: Annotated[int, Meta(ge=5, le=3600, description="MQTT keep alive, seconds.")] = 20

    def __post_init__(self) -> None:
        for key in ("id", "group"):
            if not topics.is_name(getattr(self, key)):
                text = getattr(self, key)
                raise InvalidKey(key, f"{text!r} is no name: 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter or digit")
        if (self.cert is None) != (self.key is None):
            raise InvalidKey("key" if self.key is None else "cert", "missing: cert and key go together")
        if self.password_file is not None and self.username is None:
            raise InvalidKey("username", "missing: a password_file needs it")
        if not self.url.startswith("mqtts:") and (self.ca or self.cert):
            raise InvalidKey("url", "mqtt:// has no TLS; take mqtts://, or leave out ca, cert and key")


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[engine]`: what computes the answers."""

    directory: Annotated[str | None, Meta(description="Model repository; default: the models/ of this product.")] = None
    models: Annotated[list[str], Meta(description="Models to serve; default: all that have a cloud variant.")] = []
    provider: Annotated[str, Meta(description='Execution provider by name, or "auto" for the best that loads.')] = (
        "auto"
    )
    options: Annotated[dict[str, str], Meta(description="ONNX Runtime's options for the provider named.")] = {}
    require_accelerator: Annotated[bool, Meta(description="Refuse to start where only the CPU computes.")] = False
    threads: Annotated[Count, Meta(description="Threads that share one operator; small models want 1.")] = 1
    spinning: Annotated[bool, Meta(description="Whether these burn CPU while they wait.")] = False
    max_batch: Annotated[Count, Meta(description="Windows run together at most; fewer where more gains nothing.")] = 64


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[limits]`: what is refused, so that memory and delays stay bounded."""

    receive_maximum: Annotated[
        int, Meta(ge=1, le=65_535, description="Messages of questions the broker may send ahead of our replies.")
    ] = 256
    queue: Annotated[Count, Meta(description="Questions waiting at most; over it, overload is the reply.")] = 1024
    maximum_packet: Annotated[int, Meta(ge=1024, description="Bytes of the largest message of questions.")] = 2_097_152
    patience: Annotated[float, Meta(gt=0, le=3600, description="Seconds a question may wait, whatever it says.")] = 60.0
    drain: Annotated[float, Meta(ge=0, le=600, description="Seconds to answer what waits after SIGTERM.")] = 10.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    cloud: Annotated[Cloud, Meta(description="Who this is and which broker it serves at.")]
    engine: Annotated[Engine, Meta(description="What computes the answers.")] = Engine()
    limits: Annotated[Limits, Meta(description="What is refused.")] = Limits()


def load(path: Path) -> Settings:
    """The settings of a file, its paths made absolute.

    Raises:
        ConfigError: naming file, key and why.
    """
    found = settings.load(path, Settings)

    def absolute(section: Cloud | Engine, *keys: str) -> dict[str, str]:
        named = ((key, getattr(section, key)) for key in keys)
        return {key: str(settings.beside(path, value)) for key, value in named if value is not None}

    replace = msgspec.structs.replace
    return replace(
        found,
        cloud=replace(found.cloud, **absolute(found.cloud, "password_file", "ca", "cert", "key")),
        engine=replace(found.engine, **absolute(found.engine, "directory")),
    )


def default() -> Settings:
    """What runs without a file: this machine's name, and the broker on it."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("_.-")[:64]
    return Settings(cloud=Cloud(id=name or "cloud", url="mqtt://127.0.0.1:1883"))


def endpoint(cloud: Cloud, *, origin: str) -> Endpoint:
    """The broker to connect to.

    Args:
        cloud: its section.
        origin: file it came from, for errors.

    Raises:
        ConfigError: the URL is none, or a file cannot be used.
    """
    try:
        scheme, host, port = parse_url(cloud.url, key="cloud.url")
        password = None
        if cloud.password_file is not None:
            password = read_password(Path(cloud.password_file), key="cloud.password_file")
        tls = None
        if scheme == "mqtts":
            paths = {key: Path(name) if (name := getattr(cloud, key)) else None for key in ("ca", "cert", "key")}
            tls = tls_context(**paths, section="cloud")
    except ConfigError as why:
        raise ConfigError(f"{origin}: {why}") from why
    return Endpoint(host, port, tls, cloud.username, password)
