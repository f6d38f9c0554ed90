"""Where a broker is and how to greet it: URL, TLS and credentials, as every program's config gives them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class Endpoint(msgspec.Struct, frozen=True):
    """A broker's address.

    Attributes:
        host: name or address.
        port: TCP port.
        tls: context for mqtts://, None for mqtt://.
        username: for authentication.
        password: for authentication; read from a file, never from the URL.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: bytes | None = None

    def __repr__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    __str__ = __repr__


def parse_url(url: str, *, key: str) -> tuple[str, str, int]:
    """Scheme, host and port of a broker URL; no error repeats any of it, for it may hold a password.

    Args:
        url: mqtt://host[:port] or mqtts://host[:port].
        key: config key it came from, for the message.

    Raises:
        ConfigError: not such a URL, or one with credentials in it.
    """
    if "@" in url:
        raise ConfigError(f"{key}: credentials in a URL end up in logs; give username and password_file instead")
    expected = f"{key}: must be mqtt://host[:port] or mqtts://host[:port], the port 1 to 65535"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(expected) from None
    beyond = parts.path not in {"", "/"} or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or beyond:
        raise ConfigError(expected)
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]


def read_password(path: Path, *, key: str) -> bytes:
    """First line of a password file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as why:
        raise ConfigError(f"{key}: cannot read {path}: {why.strerror}") from why


def tls_context(*, ca: Path | None, cert: Path | None, key: Path | None, section: str) -> ssl.SSLContext:
    """A verifying client context.

    Args:
        ca: certificates to trust; the system's when None.
        cert: our own certificate, for brokers that ask for one.
        key: its private key.
        section: config section, for the message.

    Raises:
        ConfigError: a file cannot be read or is no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        if cert is not None:
            context.load_cert_chain(str(cert), str(key) if key else None)
    except (OSError, ssl.SSLError) as why:
        raise ConfigError(f"{section}: cannot use the TLS files (ca={ca}, cert={cert}, key={key}): {why}") from why
    return context
