"""Which message goes to which model, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.catalog import load_manifest
from bridge.errors import Refused
from bridge.pipeline.routes import LONG, Route, RouteTable, highest_slot

MANIFEST = load_manifest(Path(__file__).parents[2] / "models" / "activity")


def route(stream: str, model: str = "activity", **fields: str | None) -> Route:
    return Route(model=model, manifest=MANIFEST, stream=stream, **fields)  # type: ignore[arg-type] # texts only


WRIST, ANY = route("wrist"), route("*", "other")
SHELLY = route("acc", filter="shelly/+/acc/#", site="{2}", device="sh-{1}")
TABLE = RouteTable([WRIST, ANY, SHELLY])


def test_a_named_stream_goes_before_the_star() -> None:
    assert TABLE.find("edge/v1/s/d/data/wrist") == (WRIST, ("s", "d", "wrist"))
    assert TABLE.find("edge/v1/s/d/data/else") == (ANY, ("s", "d", "else"))


def test_a_stream_without_route_is_told_which_there_are() -> None:
    with pytest.raises(Refused, match="no_route: stream 'x' has no route; there are: ankle, wrist"):
        RouteTable([WRIST, route("ankle")]).find("edge/v1/s/d/data/x")
    with pytest.raises(Refused, match="there are: none"):
        RouteTable([]).find("edge/v1/s/d/data/x")


@pytest.mark.parametrize("topic", ["", "x", "edge/v1/s/d/result/m", "edge/v1/s/_d/data/wrist", "shelly/a"])
def test_a_topic_that_nobody_takes_has_no_route(topic: str) -> None:
    with pytest.raises(Refused, match="no_route: topic"):
        TABLE.find(topic)


def test_wildcards_of_a_foreign_filter_make_the_names() -> None:
    assert TABLE.find("shelly/7/acc/plant") == (SHELLY, ("plant", "sh-7", "acc"))


@pytest.mark.parametrize(
    "topic", ["shelly/7/acc", "shelly/7/acc/a/b", "shelly/a b/acc/p", "shelly/" + "x" * 62 + "/acc/p"]
)
def test_a_foreign_topic_that_makes_no_name_is_refused_with_the_name(topic: str) -> None:
    with pytest.raises(Refused, match=r"no_route: .*yields the name"):
        TABLE.find(topic)


def test_of_very_long_topics_none_is_remembered() -> None:
    topic = "shelly/7/acc/" + "x" * LONG
    table = RouteTable([route("acc", filter="shelly/#", device="sh")])
    assert table.find(topic)[1] == ("local", "sh", "acc")
    assert table.known(topic) is None
    assert table.feed(topic[:LONG]) is table.known(topic[:LONG])


def test_a_route_of_our_own_topics_has_no_foreign_source() -> None:
    assert WRIST.source("edge/v1/s/d/data/wrist") is None


def test_the_bridge_subscribes_to_its_own_and_to_foreign_topics() -> None:
    assert TABLE.filters == ("edge/v1/+/+/data/+", "edge/v1/_infer/+", "shelly/+/acc/#")


@pytest.mark.parametrize(
    ("template", "slot"), [("", 0), ("a", 0), ("{1}", 1), ("{2}-{11}", 11), ("{0}{00}", 0), ("{x}", 0)]
)
def test_slots_are_counted_from_one(template: str, slot: int) -> None:
    assert highest_slot(template) == slot


def test_a_template_never_reaches_beyond_its_wildcards() -> None:
    with pytest.raises(Refused, match="no_route"):
        route("acc", filter="a/b", device="{00}").source("a/b")


@pytest.mark.parametrize(
    ("topic", "reply_to", "owner"),
    [
        ("edge/v1/s/d/data/wrist", None, ("s", "d", "activity")),
        ("edge/v1/s/d/data/else", None, ("s", "d", "other")),
        ("edge/v1/s/d/data/more", None, ("s", "d", "other")),
        ("shelly/7/acc/plant", None, ("plant", "sh-7", "activity")),
        ("edge/v1/_infer/other", "apps/7/q1", ("_infer", "apps/7", "other")),
        ("edge/v1/_infer/other", None, ("_infer", "", "other")),
    ],
)
def test_whose_a_message_is(topic: str, reply_to: str | None, owner: tuple[str, str, str]) -> None:
    assert TABLE.owner(topic, reply_to) == owner
    assert TABLE.owner(topic, reply_to) == owner, "and so it stays"


def test_names_that_strangers_invent_make_no_owner() -> None:
    table = RouteTable([WRIST, SHELLY])
    assert table.owner("edge/v1/_infer/invented", "a/b") == ("_infer", "a", None)
    assert table.owner("edge/v1/s/d/data/invented", None) == ("s", "d", None)
    assert table.owner("shelly/?/acc/plant", None) == table.owner("shelly/!/acc/plant", None) == ("", "", None)
    table.infer("kept", MANIFEST)
    assert table.owner("edge/v1/_infer/kept", "a/b") == ("_infer", "a", "kept")
