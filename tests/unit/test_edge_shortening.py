"""A status within what the broker takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bridge.wire.answers import decode_status
from edge_agent.config import parse_url
from edge_agent.login import Login
from edge_agent.mqtt import MqttUplink
from edge_agent.shortening import LEAST_NEEDED, fitting

if TYPE_CHECKING:
    import pytest

FACTS: dict[str, Any] = {
    "transport": "mqtt5",
    "streams": {"w": [{"epoch": "e", "accepted": 9, "kept": 0, "dropped": [[0, 1, "age"]] * 64, "dropped_rows": 2}]},
    "store": "full",
    "profile": "mqtt-1/json/1",
    "reason": "because",
    "profiles": {"w": "mqtt-1/json/1"},
    "switches": [{"reason": "because"}] * 8,
    "link": {"words": "fine"},
}


def told(room: int | None) -> dict[str, Any] | None:
    made = fitting(room, online=True, t=1.5, **FACTS)
    assert made is None or room is None or len(made) <= room
    return None if made is None else decode_status(made)


def test_what_fits_is_whole() -> None:
    whole = fitting(None, online=True, t=1.5, **FACTS)
    assert whole is not None
    assert told(len(whole)) == {"online": True, "t": 1.5, **FACTS}
    assert told(len(whole) - 1) == {"online": True, "t": 1.5, "shortened": True} | {
        key: value for key, value in FACTS.items() if key != "switches"
    }


def test_what_is_least_needed_goes_first_down_to_nothing() -> None:
    found = [told(room) for room in range(1500, 0, -1)]
    before = set(LEAST_NEEDED)
    for one in found:
        left = set() if one is None else {key for key in LEAST_NEEDED if key in one}
        if one is not None and any(
            series["dropped"] for series in one.get("streams", {}).get("w", []) if "dropped" in series
        ):
            left.add("dropped")
        assert left <= before
        assert left == set(LEAST_NEEDED[len(LEAST_NEEDED) - len(left) :])
        before = left
    assert {"online": True, "t": 1.5} in found
    assert found[-1] is None
    unlisted = [one["streams"]["w"][0] for one in found if one and "streams" in one]
    assert {"epoch": "e", "accepted": 9, "kept": 0, "dropped_rows": 2} in unlisted


class Connection:
    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish(self, _topic: str, payload: bytes, **_how: Any) -> int:
        self.published.append(payload)
        return 0


async def test_a_status_that_does_not_fit_at_all_is_not_published_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uplink = MqttUplink(Login(url=parse_url("mqtt://x"), client_id="c"), site="s", device="d")
    connection = Connection()
    uplink._facts = {"streams": FACTS["streams"]}
    assert uplink._will() is not None
    for largest, shortened in ((None, False), (200, True)):
        uplink._largest = largest
        await uplink._tell_status(cast("Any", connection), online=True, timeout=1.0)
        assert decode_status(connection.published[-1]).get("shortened", False) is shortened
    assert not caplog.records
    uplink._largest = 30
    for _ in range(3):
        await uplink._tell_status(cast("Any", connection), online=True, timeout=1.0)
    assert len(connection.published) == 2
    assert uplink._will() is None
    assert [one.levelname for one in caplog.records] == ["WARNING"]
