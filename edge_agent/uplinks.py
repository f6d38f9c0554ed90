"""The uplink that an agent's settings ask for: one way, or several between which the link decides."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from bridge import topics
from bridge.errors import ConfigError
from bridge.link import Estimator, Limits
from bridge.settings import InvalidKey
from edge_agent import app, config
from edge_agent.link_settings import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.link.events import Event
    from edge_agent.adaptive import AdaptiveUplink
    from edge_agent.config import Settings, Url
    from edge_agent.mqtt import MqttUplink
    from edge_agent.uplink import Uplink
    from edge_agent.ways import CoapWay, MqttWay, Way

log = logging.getLogger(__name__)

Tell: TypeAlias = "Callable[[Event], None]"
COAP_WINDOW = 32  # posts under way: 16 would bound 20 messages/s at a round trip of 800 ms


def make_uplink(found: Settings, *, client_id: str, keep_session: bool, estimator: Estimator | None = None) -> Uplink:
    """One way where only `url` is given, as configured; with `coap` or `[link]` the link decides.

    Args:
        found: what is configured.
        client_id: for MQTT.
        keep_session: the broker is to remember us.
        estimator: of the link; None: one that listens to the traffic.

    Raises:
        ConfigError: a file of credentials cannot be used, or pins and exclusions leave nothing.
    """
    if found.agent.coap is None and found.link is None:
        return app.make_uplink(found.agent, client_id=client_id, keep_session=keep_session)
    return _adaptive(found, estimator or Estimator(), client_id=client_id, keep_session=keep_session)


def _adaptive(found: Settings, estimator: Estimator, *, client_id: str, keep_session: bool) -> AdaptiveUplink:
    from edge_agent.adaptive import AdaptiveUplink
    from edge_agent.choice import Choice

    agent, link = found.agent, found.link or Link()
    tell = partial(_soon, estimator)
    url = config.parse_url(agent.url)
    second = None if agent.coap is None else config.parse_url(agent.coap, "coap")
    limits = Limits(receive_maximum=agent.window, coap_window=COAP_WINDOW)
    sizes = {one.name: len(topics.data(agent.site, agent.device, one.name)) for one in found.streams}
    ways: list[Way] = []
    if url.scheme != "coap":
        ways.append(_mqtt(found, tell, max(sizes.values()), client_id=client_id, keep_session=keep_session))
    else:
        second = url
    if second is not None:
        ways.append(_coap(found, tell, second))
    names = {way.name for way in ways}
    choices: dict[str, Choice] = {}
    _check_exclude("link", link.exclude)
    for i, one in enumerate(found.streams):
        _check_exclude(f"streams[{i}]", one.exclude or [])
        wanted = msgspec.structs.replace(link, **one.wishes)
        try:
            choices[one.name] = Choice(one, wanted, limits, ways=names, name_bytes=sizes[one.name])
        except InvalidKey as why:
            where = f"streams[{i}]" if why.key in one.wishes else "link"
            raise ConfigError(f"{where}.{why}") from why
    return AdaptiveUplink(ways, choices, estimator, clock=time.monotonic, wall=time.time)


def _check_exclude(where: str, exclude: Sequence[str]) -> None:
    """A typo there would leave in use what was not to be used."""
    from edge_agent.choice import names_any

    for pattern in exclude:
        if not names_any(pattern):
            log.warning("%s.exclude: %r excludes nothing; profiles are called like coap-con/int8/8", where, pattern)


def _soon(estimator: Estimator, event: Event) -> None:
    """Estimating must not hold up the very message whose sending it is told of; events carry their own time."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # what a way tells as it is made, perhaps before there is a loop
        estimator.on(event)
    else:
        loop.call_soon(estimator.on, event)


def _mqtt(found: Settings, tell: Tell, name_bytes: int, *, client_id: str, keep_session: bool) -> MqttWay:
    from edge_agent.ways import MqttWay

    agent = found.agent
    uplink = cast("MqttUplink", app.make_uplink(agent, client_id=client_id, keep_session=keep_session))
    return MqttWay(uplink, tell=tell, clock=time.monotonic, name_bytes=name_bytes, patience=agent.publish_timeout)


def _coap(found: Settings, tell: Tell, url: Url) -> CoapWay:
    from bridge.coap.rto import Rfc6298
    from edge_agent.coap import CoapUplink
    from edge_agent.ways import CoapWay

    agent, trip = found.agent, Rfc6298()
    uplink = CoapUplink(
        url,
        site=agent.site,
        device=agent.device,
        window=COAP_WINDOW,
        timeout=agent.publish_timeout,
        on_event=tell,
        round_trip=trip,
    )
    return CoapWay(uplink, str(url), tell=tell, round_trip=trip)
