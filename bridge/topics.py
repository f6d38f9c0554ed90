"""Every MQTT topic and CoAP path, built and parsed in one place (the same string on both).

`edge/v1/{site}/{device}/data/{stream}` and its siblings are the public surface; what starts with `_` is the product's
own: no device can be called so.
"""

from __future__ import annotations

import re
from sys import intern
from typing import NamedTuple

ROOT = "edge/v1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

DATA_FILTER = f"{ROOT}/+/+/data/+"
INFER_FILTER = f"{ROOT}/_infer/+"
REPLY_ROOT = f"{ROOT}/_reply"
MOST_LEVELS = 64  # of a topic that strangers give us to answer to
MOST_ASKER = 256  # characters of what of it says who asks
CLOUD_REPLY_FILTER = f"{REPLY_ROOT}/+/cloud"
ESCALATE_FILTER = f"{ROOT}/_escalate/+"  # what agents share; those for one agent have a level more
CLOUD_STATUS_FILTER = f"{ROOT}/_cloud/+/status"
RESULT_FILTER = f"{ROOT}/+/+/result/+"
STATUS_FILTER = f"{ROOT}/+/+/status"
BRIDGE_STATUS_FILTER = f"{ROOT}/_bridge/+/status"

# What the bridge itself publishes or takes: a foreign route that overlaps one of these would loop or be taken twice.
RESERVED_FILTERS = (
    RESULT_FILTER,
    f"{ROOT}/+/+/receipt/+",
    f"{ROOT}/+/+/error",
    f"{ROOT}/_bridge/#",
    f"{REPLY_ROOT}/#",
    f"{ROOT}/_escalate/#",
    f"{ROOT}/_cloud/#",
    INFER_FILTER,
    DATA_FILTER,
)


class DataTopic(NamedTuple):
    """Names found in a data topic."""

    site: str
    device: str
    stream: str


class AgentTopic(NamedTuple):
    """Names found in an agent's status topic."""

    site: str
    device: str


class ResultTopic(NamedTuple):
    """Names found in a result topic."""

    site: str
    device: str
    model: str


class EscalateTopic(NamedTuple):
    """Names found in a topic for questions; no agent where agents share it."""

    model: str
    agent: str | None


def is_name(text: str) -> bool:
    """Whether the text can be a site, device, stream or model."""
    return NAME.fullmatch(text) is not None


def data(site: str, device: str, stream: str) -> str:
    """Where a device publishes Observations."""
    return f"{ROOT}/{site}/{device}/data/{stream}"


def result(site: str, device: str, model: str) -> str:
    """Where operators read Results."""
    return f"{ROOT}/{site}/{device}/result/{model}"


def receipt(site: str, device: str, stream: str) -> str:
    """Where an agent reads Receipts."""
    return f"{ROOT}/{site}/{device}/receipt/{stream}"


def error(site: str, device: str) -> str:
    """Where refusals of a device's messages are told."""
    return f"{ROOT}/{site}/{device}/error"


def status(site: str, device: str) -> str:
    """Retained presence of an agent."""
    return f"{ROOT}/{site}/{device}/status"


def bridge_status(bridge: str) -> str:
    """Retained presence of a bridge."""
    return f"{ROOT}/_bridge/{bridge}/status"


def replay(bridge: str) -> str:
    """Where operators ask a bridge to publish kept Results again."""
    return f"{ROOT}/_bridge/{bridge}/replay"


def bridge_ledger(bridge: str) -> str:
    """Where operators ask a bridge for its accounts."""
    return f"{ROOT}/_bridge/{bridge}/ledger"


def parse_status(topic: str) -> AgentTopic | None:
    """Site and device of an agent's status topic; None if it is not one or a name is not allowed."""
    levels = topic.split("/")
    if len(levels) == 5 and levels[:2] == ["edge", "v1"] and levels[4] == "status":
        return AgentTopic(levels[2], levels[3]) if is_name(levels[2]) and is_name(levels[3]) else None
    return None


def cloud_status(cloud: str) -> str:
    """Retained presence of a cloud agent."""
    return f"{ROOT}/_cloud/{cloud}/status"


def escalate(model: str, agent: str | None = None) -> str:
    """Where the bridge asks about windows: any cloud agent, or this one."""
    return f"{ROOT}/_escalate/{model}" if agent is None else f"{ROOT}/_escalate/{model}/{agent}"


def escalate_filter(agent: str) -> str:
    """What is asked of this cloud agent alone, whatever the model."""
    return f"{ROOT}/_escalate/+/{agent}"


def reply(bridge: str) -> str:
    """Where cloud agents answer a bridge."""
    return f"{REPLY_ROOT}/{bridge}/cloud"


def tiny(bridge: str) -> str:
    """Where nobody reads: a message to it is answered by the broker alone, and measures a bridge's link to it."""
    return f"{REPLY_ROOT}/{bridge}/link"


def infer(model: str) -> str:
    """Where anyone asks about a window."""
    return f"{ROOT}/_infer/{model}"


def _levels(topic: str, kind: str, count: int) -> list[str] | None:
    levels = topic.split("/")
    if len(levels) == count and levels[0] == "edge" and levels[1] == "v1" and levels[count - 2] == kind:
        return levels
    return None


def parse_data(topic: str) -> DataTopic | None:
    """Site, device and stream of a data topic; None if it is not one or a name is not allowed."""
    levels = _levels(topic, "data", 6)
    if levels is None or not (is_name(levels[2]) and is_name(levels[3]) and is_name(levels[5])):
        return None
    return DataTopic(intern(levels[2]), levels[3], intern(levels[5]))  # of many devices the same


def parse_result(topic: str) -> ResultTopic | None:
    """Site, device and model of a result topic; None if it is not one or a name is not allowed."""
    levels = _levels(topic, "result", 6)
    if levels is None or not (is_name(levels[2]) and is_name(levels[3]) and is_name(levels[5])):
        return None
    return ResultTopic(levels[2], levels[3], levels[5])


def parse_infer(topic: str) -> str | None:
    """Model of an `_infer` topic; None if it is not one."""
    if not topic.startswith(f"{ROOT}/_infer/"):  # asked of every message
        return None
    levels = _levels(topic, "_infer", 4)
    return levels[3] if levels is not None and is_name(levels[3]) else None


def parse_escalate(topic: str) -> EscalateTopic | None:
    """Model and agent of an `_escalate` topic; None if it is not one or a name is not allowed."""
    root, _, rest = topic.partition("/_escalate/")
    names = rest.split("/")
    if root != ROOT or len(names) > 2 or not all(map(is_name, names)):
        return None
    return EscalateTopic(names[0], names[1] if len(names) == 2 else None)


def parse_cloud_status(topic: str) -> str | None:
    """Id of the cloud agent whose status topic this is; None if it is not one."""
    return _status_of("_cloud", topic)


def parse_bridge_status(topic: str) -> str | None:
    """Id of the bridge whose status topic this is; None if it is not one."""
    return _status_of("_bridge", topic)


def _status_of(kind: str, topic: str) -> str | None:
    levels = topic.split("/")
    if len(levels) == 5 and levels[:3] == ["edge", "v1", kind] and levels[4] == "status" and is_name(levels[3]):
        return levels[3]
    return None


def asker(reply_to: str) -> str:
    """Who asks by `_infer`, as far as its Response Topic tells: all but the last level, often made for one question.

    No more of it than `MOST_ASKER` characters, for it is remembered.
    """
    return (reply_to.rpartition("/")[0] or reply_to)[:MOST_ASKER]


def shared(group: str | None, text: str) -> str:
    """The filter as a subscription that a group shares (MQTT 5 section 4.8.2); as it is without a group."""
    return text if group is None else f"$share/{group}/{text}"


def is_shared(text: str) -> bool:
    """Whether the filter is that of a shared subscription."""
    return text.startswith("$share/")


def is_filter(text: str) -> bool:
    """Whether the text is a topic filter (MQTT 5 section 4.7): wildcards only as whole levels, `#` only last.

    `$share/…` is none: it names a subscription, and no topic matches it as it stands.
    """
    if not text or "\0" in text or len(text.encode()) > 65535 or text.startswith("$share/"):
        return False
    levels = text.split("/")
    return (
        all(level in {"+", "#"} or ("+" not in level and "#" not in level) for level in levels)
        and "#" not in levels[:-1]
    )


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a filter (MQTT 5 section 4.7.2: a leading wildcard does not match `$…`)."""
    if topic.startswith("$") and pattern[0] in "+#":
        return False
    return wildcards(pattern, topic) is not None


def wildcards(pattern: str, topic: str) -> list[str] | None:
    """What each wildcard of a filter stands for in a topic, `#` as one text; None if the topic does not match."""
    found: list[str] = []
    levels = topic.split("/")
    expected = pattern.split("/")
    for i, level in enumerate(expected):
        if level == "#":
            return [*found, "/".join(levels[i:])]
        if i >= len(levels):
            return None
        if level == "+":
            found.append(levels[i])
        elif level != levels[i]:
            return None
    return found if len(levels) == len(expected) else None


def overlaps(one: str, other: str) -> bool:
    """Whether some topic matches both filters (`$…` matches no leading wildcard, MQTT 5 section 4.7.2)."""
    if one.startswith("$") != other.startswith("$"):
        return False
    a, b = one.split("/"), other.split("/")
    for left, right in zip(a, b, strict=False):
        if "#" in (left, right):
            return True
        if left != right and "+" not in (left, right):
            return False
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return len(longer) == len(shorter) or longer[len(shorter)] == "#"


def safe_reply(topic: str) -> bool:
    """Whether a Response Topic may be answered to: a topic without wildcards, inside our root only under `_reply`.

    Nor a deep one: brokers that bound the levels of a topic (Mosquitto: 201) pass it on as a Response Topic, and end
    the connection of whoever publishes to it.
    """
    if not topic or any(c in topic for c in "+#\0") or topic.startswith("$") or topic.count("/") >= MOST_LEVELS:
        return False
    inside = topic == ROOT or topic.startswith(f"{ROOT}/")
    return not inside or topic.startswith(f"{REPLY_ROOT}/")
