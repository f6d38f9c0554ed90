from __future__ import annotations

import pytest

from bridge.coap.client import CoapClient
from bridge.coap.origin import Origin
from bridge.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("coaps://h", "DTLS"),
        ("http://h", "coap://host"),
        ("coap://", "coap://host"),
        ("h:5683", "coap://host"),
        ("coap://h/path", "nothing may follow"),
        ("coap://me@h", "nothing may follow"),
        ("coap://h:99999", "not a URL"),
        ("coap://me:hunter2@h", "nothing may follow"),
        ("coap://me:hunter2/3@h", "not a URL"),
        ("coap://me:1/hunter2@h", "nothing may follow"),
        ("coaps://me:hunter2@h", "DTLS"),
        ("hunter2://me@h", "coap://host"),
    ],
)
def test_wrong_urls_are_refused_at_once_and_not_repeated(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        CoapClient(url)
    assert "hunter2" not in str(caught.value)


async def test_addresses_are_not_asked_for_twice() -> None:
    assert await Origin.parse("coap://127.0.0.1").address() == "127.0.0.1:5683"
    assert await Origin.parse("coap://[::1]:7").address() == "[::1]:7"
    origin = Origin.parse("coap://localhost:9/")
    address = await origin.address()
    assert address in ("127.0.0.1:9", "[::1]:9")
    assert await origin.address() is address
    assert str(Origin.parse("coap://[::1]:7")) == "coap://[::1]:7"
