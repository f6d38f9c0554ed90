"""What is to be published again: which of the kept Results, and who is told how many it was."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.requests import Reply
from bridge.store.kept_file import Query


class Job(msgspec.Struct, eq=False):
    """A replay.

    Attributes:
        why: for the log.
        query: what of the kept Results.
        reply: where to tell how many it was.
        spares: topics that nobody hears are left out after their first Result: they come again when somebody does.
    """

    why: str
    query: Query
    reply: Reply | None = None
    spares: bool = True


def asked(request: dict[str, Any], reply: Reply | None) -> Job:
    """The replay that an operator asks for.

    Raises:
        Refused: `malformed`, `not_finite` or `missing_key`, naming the key.
    """
    since, device = _checked(request)
    wanted = None if device is None else partial(_of_device, device)
    what = f"since {since:.3f}" + ("" if device is None else f", of {device}")
    query = Query(since=since, wanted=wanted)
    return Job(f"an operator asks for what was published {what}", query, reply, spares=False)


def heard(found: dict[str, int]) -> Job:
    """The replay of what nobody heard, for topics to which somebody listens now, each from its record on."""
    query = Query(min(found.values()) - 1, wanted=partial(_from, found))
    return Job(f"somebody listens to {len(found)} topics", query)


def _checked(request: dict[str, Any]) -> tuple[float, str | None]:
    """Since when, and of which device."""
    unknown = sorted(set(request) - {"since", "device"})
    if unknown:
        raise Refused("malformed", f"{unknown[0][:80]!r}: unknown key; a replay has `since` and maybe `device`")
    if "since" not in request:
        raise Refused("missing_key", "since: missing; seconds since 1970 from which on Results are published again")
    since, device = request["since"], request.get("device")
    if isinstance(since, bool) or not isinstance(since, int | float):
        raise Refused("malformed", "since: not a number of seconds since 1970")
    if not math.isfinite(since):
        raise Refused("not_finite", "since: not finite")
    if device is not None and not (isinstance(device, str) and topics.is_name(device)):
        raise Refused("malformed", "device: not the name of a device")
    return float(since), device


def _of_device(device: str, topic: str, _record: int) -> bool:
    place = topics.parse_result(topic)
    return place is not None and place.device == device


def _from(firsts: dict[str, int], topic: str, record: int) -> bool:
    return record >= firsts.get(topic, record + 1)
