"""The agent's retained status within what the broker takes (MQTT 5 [MQTT-3.2.2-15]). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.wire.answers import encode_status

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_NEEDED = "switches", "link", "profiles", "reason", "dropped", "streams", "profile", "store", "transport"
"""Left out in this order; `dropped` are the ranges in `streams`, whose `dropped_rows` stay. What tells of the choice
goes before what the ledger reads."""

PUBLISH = 5 + 2 + 2 + 1  # bytes: fixed header, length of the topic, packet id, length of no properties (section 3.3)
CONNECT = 5 + 10 + 6 + 2 + 1 + 2 + 2 + 2 + 2  # headers, expiry; lengths of client id, will, user, password (3.1)


def fitting(room: int | None, *, online: bool, t: float, **facts: Any) -> bytes | None:
    """A status of at most so many bytes: whole, or without what is least needed, and so marked `shortened`.

    Args:
        room: bytes; None: any.
        online: whether the agent is there.
        t: seconds since 1970.
        facts: what else it tells.

    Returns:
        None: not even `online` and `t` fit.
    """
    whole = encode_status(online=online, t=t, **facts)
    if room is None or len(whole) <= room:
        return whole
    shorter = (encode_status(online=online, t=t, shortened=True, **left) for left in _left(facts))
    bare = encode_status(online=online, t=t)
    return next((one for one in (*shorter, bare) if len(one) <= room), None)


def _left(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is left after each step."""
    for name in LEAST_NEEDED:
        if name == "dropped" and "streams" in facts:
            facts = {**facts, "streams": {stream: _unlisted(them) for stream, them in facts["streams"].items()}}
        else:
            facts = {key: value for key, value in facts.items() if key != name}
        yield facts
    yield {}


def _unlisted(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "dropped"} for one in series]
