"""`inference-bridge ledger`: what was accepted, what became of it, and whether that adds up."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge import assembly, config, topics
from bridge.errors import ConfigError, LinkError, StoreError
from bridge.ledger import folder, report
from bridge.ledger.ask import Heard, ask
from bridge.ledger.statement import Statement, state
from bridge.mqtt.endpoint import Endpoint, parse_url, read_password, tls_context

if TYPE_CHECKING:
    import argparse

DEFAULT = "mqtt://127.0.0.1:1883"
_AGO = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")
ATTEMPTS, PAUSE = 6, 1.0  # s, to ask a bridge that runs and is silent: it notices a half-open connection after 7 s
_UNITS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def ledger(chosen: argparse.Namespace) -> int:
    """Print the ledger.

    Args:
        chosen: the command line.

    Returns:
        0; 1 if it does not add up.

    Raises:
        ConfigError: an option or setting cannot be used.
        ModelError: a model of the settings cannot be used.
        LinkError: no bridge answers, and no settings say where its state is.
        StoreError: nor can its state be read.
    """
    now = time.time()
    since = None if chosen.since is None else since_of(chosen.since, now)
    if chosen.device is not None and not topics.is_name(chosen.device):
        raise ConfigError(f"--device: {chosen.device!r} is no name of a device")
    statement = _statement(chosen, since)
    if chosen.json:
        sys.stdout.write(report.as_json(statement) + "\n")
    else:
        sys.stdout.write(report.as_text(statement, now))
    return 1 if statement.adds_up is False else 0


def since_of(text: str, now: float) -> float:
    """Seconds since 1970 of a time on the command line.

    Args:
        text: seconds since 1970; ISO 8601, local without an offset; or how long ago: `90s`, `10min`, `2h`, `1d`.
        now: seconds since 1970.

    Raises:
        ConfigError: it is none of these.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - float(ago[1]) * _UNITS[ago[2]]
    if _SECONDS.fullmatch(text) is not None:
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as why:
        raise ConfigError(
            f"--since: {text!r} is no time; such as 1767225600, 2026-01-01T12:00:00, or 10min (ago)"
        ) from why


def _statement(chosen: argparse.Namespace, since: float | None) -> Statement:
    """Ask; where the bridge of the settings does not answer, read its state.

    One that uses its state runs, and does not answer because it is cut off from the broker: it is asked again.
    """
    settings, base = (None, Path()) if chosen.config is None else config.load(chosen.config)
    endpoint = _endpoint(chosen, settings, base)
    for left in reversed(range(ATTEMPTS)):
        heard = _heard(chosen, endpoint, settings)
        pages = heard.said
        if settings is not None and settings.bridge.id in heard.silent:
            try:
                pages.append(folder.read(settings, base, device=chosen.device))
                heard.silent.discard(settings.bridge.id)
            except StoreError as why:
                if left:
                    time.sleep(PAUSE)
                    continue
                if not pages:
                    raise LinkError(
                        f"bridge {settings.bridge.id} does not answer at {endpoint}; its state: {why}"
                    ) from why
                sys.stderr.write(f"{why}\n")
        break
    if not pages:
        raise LinkError(f"{endpoint}: no bridge answers; --config reads the state of one that is stopped")
    return state(pages, heard.statuses, silent=heard.silent, device=chosen.device, since=since)


def _heard(chosen: argparse.Namespace, endpoint: Endpoint, settings: config.Config | None) -> Heard:
    bridge = None if settings is None else settings.bridge.id
    try:
        return asyncio.run(ask(endpoint, device=chosen.device, bridge=bridge))
    except LinkError as why:
        if bridge is None:
            raise
        sys.stderr.write(f"{why}\n")
        return Heard(silent={bridge})


def _endpoint(chosen: argparse.Namespace, settings: config.Config | None, base: Path) -> Endpoint:
    if settings is None or chosen.url is not None:
        scheme, host, port = parse_url(chosen.url or DEFAULT, key="--url")
        if chosen.ca is not None and scheme != "mqtts":
            raise ConfigError("--ca: needs an mqtts:// url")
        tls = tls_context(ca=chosen.ca, cert=None, key=None, section="--ca") if scheme == "mqtts" else None
        endpoint = Endpoint(host, port, tls)
    elif settings.mqtt.url is not None:
        endpoint = assembly.endpoint_of(settings.mqtt, base, "mqtt")
    else:
        endpoint = Endpoint(settings.mqtt.listen, settings.mqtt.port5)
    if chosen.username is None:
        return endpoint
    password = None if chosen.password_file is None else read_password(chosen.password_file, key="--password-file")
    return msgspec.structs.replace(endpoint, username=chosen.username, password=password)
