"""Whether another bridge of our id is told from our own past."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge import topics
from bridge.errors import TakenOver
from bridge.mqtt.messages import Delivery
from bridge.twins import Twins
from bridge.wire.answers import encode_status

if TYPE_CHECKING:
    from bridge.mqtt.connection import Connection


class Wire:
    """What Twins needs of a connection."""

    def __init__(self) -> None:
        self.session = SimpleNamespace(connects=1)
        self.acknowledged: list[Delivery] = []

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        self.acknowledged += deliveries

    def says(self, twins: Twins, instance: str, *, retained: bool) -> bool:
        """Whether a status of that instance makes a twin."""
        payload = encode_status(online=True, t=0.0, instance=instance)
        status = Delivery(topics.bridge_status("gw"), payload, 1, retained, None, None, None, 1)
        assert twins.sift(cast("Connection", cast("Any", self)), [status]) == []
        return found(twins)


def found(twins: Twins) -> bool:
    return twins._found.is_set()


async def test_a_twin_ends_the_wait() -> None:
    twins, wire = Twins("gw", "me"), Wire()
    wire.session.connects = 2
    assert wire.says(twins, "other", retained=False)
    with pytest.raises(TakenOver, match="another bridge was started with id 'gw'"):
        await twins.found()


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_whom_we_met_at_first_was_there_before_us(wire: Wire) -> None:
    twins = Twins("gw", "me")
    assert not wire.says(twins, "earlier", retained=True)
    wire.session.connects = 2
    assert not wire.says(twins, "earlier", retained=True)
    assert not wire.says(twins, "me", retained=False)


def test_who_speaks_after_us_is_a_twin(wire: Wire) -> None:
    twins = Twins("gw", "me")
    wire.session.connects = 2
    assert wire.says(twins, "other", retained=False)


def test_a_broker_that_crashed_may_bring_back_an_old_status_once(wire: Wire) -> None:
    twins = Twins("gw", "me")
    wire.session.connects = 2
    assert not wire.says(twins, "long ago", retained=True)
    assert not wire.says(twins, "long ago", retained=True)
    wire.session.connects = 3
    assert wire.says(twins, "long ago", retained=True)


def test_other_messages_pass(wire: Wire) -> None:
    other = Delivery("edge/v1/s/d/data/x", b"", 0, False, None, None, None, None)
    assert Twins("gw", "me").sift(cast("Connection", cast("Any", wire)), [other]) == [other]
