"""Where the bridge is, as the edge agent was told."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from bridge.errors import ConfigError

_PORT = 5683  # RFC 7252 section 12.6


class Origin:
    """Where the bridge is: resolved once, and again only after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._address: str | None = None

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `coap://host[:port]`; no error repeats any of it, for it may hold a password.

        Raises:
            ConfigError: it is not such a URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigError("this is not a URL of the form coap://host[:port], the port up to 65535") from None
        if parts.scheme == "coaps":
            raise ConfigError("coaps://: DTLS is not offered; use coap:// inside a tunnel or VPN, or mqtts://")
        if parts.scheme != "coap" or not parts.hostname:
            raise ConfigError("this URL is not of the form coap://host[:port]")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError("nothing may follow or precede coap://host[:port]")
        return cls(parts.hostname, port or _PORT)

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"coap://{host}:{self._port}"

    async def address(self) -> str:
        """`address:port`, without asking the resolver again."""
        if self._address is None:
            try:
                host = str(ipaddress.ip_address(self._host))
            except ValueError:
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
                host = str(found[0][4][0])
            self._address = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        return self._address

    def doubt(self) -> None:
        """A post failed: the name may have moved."""
        self._address = None
