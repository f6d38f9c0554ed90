"""The topics of the contract, and what is none."""

from __future__ import annotations

import pytest

from bridge import topics


def test_the_contract_s_topics() -> None:
    assert topics.data("plant-a", "wrist-8", "wrist") == "edge/v1/plant-a/wrist-8/data/wrist"
    assert topics.result("plant-a", "wrist-8", "activity") == "edge/v1/plant-a/wrist-8/result/activity"
    assert topics.receipt("plant-a", "wrist-8", "wrist") == "edge/v1/plant-a/wrist-8/receipt/wrist"
    assert topics.error("plant-a", "wrist-8") == "edge/v1/plant-a/wrist-8/error"
    assert topics.status("plant-a", "wrist-8") == "edge/v1/plant-a/wrist-8/status"
    assert topics.bridge_status("gw-1") == "edge/v1/_bridge/gw-1/status"
    assert topics.infer("activity") == "edge/v1/_infer/activity"
    assert topics.replay("gw-1") == "edge/v1/_bridge/gw-1/replay"
    assert topics.parse_bridge_status(topics.bridge_status("gw-1")) == "gw-1"


@pytest.mark.parametrize("name", ["a", "9", "A_.-", "wrist-8", "x" * 64])
def test_names(name: str) -> None:
    assert topics.is_name(name)


@pytest.mark.parametrize("name", ["", "_a", ".a", "-a", "a/b", "a+", "#", "a b", "a\n", "é", "x" * 65, "a\0"])
def test_what_is_no_name(name: str) -> None:
    assert not topics.is_name(name)


@pytest.mark.parametrize(
    "topic",
    [
        "edge/v1/s/d/data",
        "edge/v1/s/d/data/x/y",
        "edge/v2/s/d/data/x",
        "Edge/v1/s/d/data/x",
        "/edge/v1/s/d/data/x",
        "edge/v1/_infer/d/data/x",
        "edge/v1/s//data/x",
        "edge/v1/s/d/data/",
        "edge/v1/s/d/data/x\n",
        "edge/v1/s/d/result/x",
        "edge/v1/+/d/data/x",
        "",
    ],
)
def test_what_is_no_data_topic(topic: str) -> None:
    assert topics.parse_data(topic) is None


@pytest.mark.parametrize("topic", ["edge/v1/_cloud/a/b/status", "edge/v1/_cloud//status", "edge/v1/_bridge/a/status"])
def test_what_is_no_cloud_status(topic: str) -> None:
    assert topics.parse_cloud_status(topic) is None


@pytest.mark.parametrize("topic", ["edge/v1/_bridge/_a/status", "edge/v1/_bridge/a/replay", "edge/v1/_cloud/a/status"])
def test_what_is_no_bridge_status(topic: str) -> None:
    assert topics.parse_bridge_status(topic) is None


@pytest.mark.parametrize("topic", ["edge/v1/_infer/_m", "edge/v1/_infer", "edge/v1/_infer/m/x", "edge/v1/_escalate/m"])
def test_what_is_no_infer_topic(topic: str) -> None:
    assert topics.parse_infer(topic) is None


def test_questions_for_any_agent_and_for_one() -> None:
    assert topics.parse_escalate("edge/v1/_escalate/m") == ("m", None)
    assert topics.parse_escalate("edge/v1/_escalate/m/gpu-1") == ("m", "gpu-1")
    assert topics.matches(topics.escalate_filter("gpu-1"), topics.escalate("m", "gpu-1"))
    assert not topics.matches(topics.escalate_filter("gpu-1"), topics.escalate("m", "gpu-2"))
    assert not topics.overlaps(topics.escalate_filter("gpu-1"), topics.ESCALATE_FILTER)


@pytest.mark.parametrize("below", ["", "_m", "m/", "m/_a", "m/a/b", "/a", "m/a+", "#"])
def test_what_is_no_topic_for_questions(below: str) -> None:
    assert topics.parse_escalate(f"edge/v1/_escalate/{below}") is None
    assert topics.parse_escalate(f"edge/v2/_escalate/m{below}") is None


@pytest.mark.parametrize("text", ["a", "/", "a/b", "+", "#", "a/+/#", "+/+", "$SYS/#", "a//b", "é/+", "x" * 65_535])
def test_filters(text: str) -> None:
    assert topics.is_filter(text)


@pytest.mark.parametrize(
    "text", ["", "a+", "a/+b", "#/a", "a/#/b", "a#", "##", "a\0", "x" * 65_536, "é" * 32_768, "$share/group/a/+"]
)
def test_what_is_no_filter(text: str) -> None:
    assert not topics.is_filter(text)


@pytest.mark.parametrize(
    ("pattern", "topic", "found"),
    [
        ("a/+/c", "a/b/c", ["b"]),
        ("+/+", "a/b", ["a", "b"]),
        ("+/+", "/b", ["", "b"]),
        ("a/#", "a/b/c", ["b/c"]),
        ("a/#", "a", [""]),
        ("+/b/#", "a/b/c/d", ["a", "c/d"]),
        ("#", "a/b", ["a/b"]),
        ("a/b", "a/b", []),
        ("a/+", "a", None),
        ("a/+", "a/b/c", None),
        ("a/b", "a/c", None),
        ("a", "a/", None),
    ],
)
def test_what_wildcards_stand_for(pattern: str, topic: str, found: list[str] | None) -> None:
    assert topics.wildcards(pattern, topic) == found
    assert topics.matches(pattern, topic) is (found is not None)


def test_a_leading_wildcard_matches_no_dollar_topic() -> None:
    assert not topics.matches("#", "$SYS/load")
    assert not topics.matches("+/load", "$SYS/load")
    assert topics.matches("$SYS/+", "$SYS/load")
    assert topics.matches("a/+", "a/$x")
    assert not topics.overlaps("#", "$SYS/#")
    assert not topics.overlaps("$SYS/load", "+/load")
    assert topics.overlaps("$SYS/#", "$SYS/+")


@pytest.mark.parametrize(
    ("topic", "safe"),
    [
        ("answers/1", True),
        ("edge/v2/x", True),
        ("edge/v10", True),
        ("edge/v1x/a", True),
        ("/edge/v1/a", True),
        ("edge/v1/_reply/me", True),
        ("edge/v1", False),
        ("edge/v1/", False),
        ("edge/v1/s/d/data/x", False),
        ("edge/v1/_infer/m", False),
        ("edge/v1/_reply", False),
        ("edge/v1/_replyx/me", False),
        ("a/+", False),
        ("a/#", False),
        ("a\0b", False),
        ("$SYS/a", False),
        ("", False),
        ("me" + "/a" * 63, True),
        ("me" + "/a" * 64, False),
        ("edge/v1/_reply" + "/a" * 62, False),
    ],
)
def test_where_an_answer_may_go(topic: str, safe: bool) -> None:
    assert topics.safe_reply(topic) is safe


@pytest.mark.parametrize(
    "ours",
    [
        topics.data("s", "d", "x"),
        topics.result("s", "d", "m"),
        topics.receipt("s", "d", "x"),
        topics.error("s", "d"),
        topics.bridge_status("b"),
        topics.bridge_ledger("b"),
        topics.escalate("m"),
        topics.escalate("m", "gpu-1"),
        topics.reply("b"),
        topics.infer("m"),
        topics.cloud_status("c"),
    ],
)
def test_whatever_the_bridge_uses_is_reserved(ours: str) -> None:
    assert any(topics.matches(text, ours) for text in topics.RESERVED_FILTERS)


@pytest.mark.parametrize(
    ("reply_to", "known_as"),
    [("r", "r"), ("a/b/1", "a/b"), ("edge/v1/_reply/me", "edge/v1/_reply"), ("x" * 9_999, "x" * 256)],
)
def test_an_asker_is_known_by_all_but_the_last_level_and_not_at_any_length(reply_to: str, known_as: str) -> None:
    assert topics.asker(reply_to) == known_as


@pytest.mark.parametrize(
    ("topic", "bridge", "agent"),
    [
        (topics.bridge_status("gw-1"), "gw-1", None),
        (topics.status("s", "d"), None, topics.AgentTopic("s", "d")),
        (topics.cloud_status("gpu-1"), None, None),
        ("edge/v1/_bridge/a b/status", None, None),
        ("edge/v1/s/-/status", None, None),
        ("edge/v1/s/d/status/x", None, None),
        ("edge/v2/s/d/status", None, None),
        ("edge/v1/s/d/state", None, None),
    ],
)
def test_whose_status_a_topic_is(topic: str, bridge: str | None, agent: topics.AgentTopic | None) -> None:
    assert topics.parse_bridge_status(topic) == bridge
    assert topics.parse_status(topic) == agent
