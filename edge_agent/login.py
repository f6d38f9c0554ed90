"""Who an MQTT client is to its broker, and what its certificate files make."""

from __future__ import annotations

import ssl

import msgspec

from bridge.errors import ConfigError
from edge_agent.config import Url


class Login(msgspec.Struct, frozen=True):
    """Who we are to the broker, and how we speak to it; never logged.

    Attributes:
        url: mqtt or mqtts.
        client_id: name of our session.
        protocol: "3.1.1" or "5".
        keep_alive: seconds.
        username: if any.
        password: if any.
        ca: PEM file.
        cert: PEM file.
        key: PEM file.
        keep_session: let the broker keep receipts for us while we are away.
    """

    url: Url
    client_id: str
    protocol: str = "5"
    keep_alive: int = 30
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    keep_session: bool = True

    def __repr__(self) -> str:
        return f"Login({self.client_id})"


def tls_context(login: Login) -> ssl.SSLContext | None:
    """What the certificate files make; None without TLS.

    Raises:
        ConfigError: one of them cannot be used.
    """
    if login.url.scheme != "mqtts":
        return None
    try:
        context = ssl.create_default_context(cafile=login.ca)
    except (OSError, ssl.SSLError) as why:
        raise ConfigError(f"ca {login.ca}: {why}") from why
    if login.cert is not None:
        try:
            context.load_cert_chain(login.cert, login.key)
        except (OSError, ssl.SSLError) as why:
            raise ConfigError(f"cert {login.cert}, key {login.key}: {why}") from why
    return context
