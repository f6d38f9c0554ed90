"""Real tools from outside Python: found, or the test is skipped, or, under REQUIRE_REAL=1, failed."""

from __future__ import annotations

import os
import shutil

import pytest

# Debian puts daemons where an ordinary user's PATH does not look, and calls coap-client by its TLS library.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
_SUFFIXES = {"coap-client": ("", "-openssl", "-gnutls", "-notls"), "coap-server": ("", "-openssl", "-gnutls", "-notls")}


def require_tool(name: str) -> str:
    """Path of a tool; without it the test is skipped, or failed when the environment says REQUIRE_REAL=1."""
    for suffix in _SUFFIXES.get(name, ("",)):
        found = shutil.which(name + suffix, path=_PATH)
        if found is not None:
            return found
    why = f"{name} is not installed (Debian: mosquitto mosquitto-clients libcoap3-bin)"
    if os.environ.get("REQUIRE_REAL") == "1":
        pytest.fail(f"{why}, and REQUIRE_REAL=1")
    pytest.skip(why)
