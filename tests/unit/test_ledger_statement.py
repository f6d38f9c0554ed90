"""What the accounts of bridges and agents come to when put together: a line a series, and what is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.ledger.account import AgentStatus, GivenUp, Page, Part, StreamAccount, Windows
from bridge.ledger.statement import Statement, state
from bridge.messages import SeriesKey
from tests.support.ledger import GOOD, PART, WHO, WHOLE_PART, WHOLES, agent, but, page

NO_END = "cut, and neither answered, nor refused, nor on the way"


def stated(*pages: Page) -> Statement:
    return state(pages, agent(WHOLE_PART))


def test_a_line_of_whole_windows() -> None:
    pages = [Page(f"gw-{i}", 100.0, 50.0, wholes=[one]) for i, one in enumerate(WHOLES)]
    (line,) = stated(*pages).series
    assert (line.accepted, line.safe, line.in_flight, line.bridges) == (400, 256, 144, {})
    assert (line.adds_up, line.seen) == (True, 70.0)
    (short,) = stated(pages[0]).series
    assert (short.adds_up, short.checks[0].rows) == (False, [(128, 191)])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"unsure": "kept no longer"}, "gw-2: kept no longer"),
        ({"forgotten": 1}, "gw-2: numberings of whole windows"),
        (
            {"streams": [StreamAccount("ward", "w1", "wrist", epochs_forgotten=1)]},
            "gw-2: numberings of whole windows",
        ),
    ],
)
def test_a_bridge_that_says_that_it_may_have_known_more(more: dict[str, Any], says: str) -> None:
    pages = [Page("gw-1", 100.0, 50.0, wholes=WHOLES[:1]), Page("gw-2", 100.0, 50.0, **more)]
    (line,) = stated(*pages).series
    assert (line.adds_up, says in line.checks[0].says) == (None, True)
    elsewhere = Page("gw-2", 100.0, 50.0, streams=[StreamAccount("ward", "w1", "other", epochs_forgotten=1)])
    assert stated(pages[0], elsewhere).series[0].adds_up is False


def test_a_line_for_a_series() -> None:
    found = state([page(GOOD)], agent(PART))
    assert found.adds_up is True
    (line,) = found.series
    assert (line.accepted, line.safe, line.in_flight, line.dropped_rows) == (1_050, 900, 50, 100)
    assert line.safe + (line.in_flight or 0) + line.dropped_rows == line.accepted
    assert line.dropped == [GivenUp(300, 399, "age")]
    assert msgspec.to_builtins(line.bridges) == {
        "gw-1": {"windows": 10, "answered": 7, "provisional": 0, "refused": {"shape": 1}, "waiting": 2}
    }
    assert (found.agents[0].online, found.agents[0].tells, found.bridges) == (True, True, {"gw-1": 50.0})


def test_a_line_of_two_bridges_and_of_none() -> None:
    other = but(GOOD, held=[(1_020, 1_029)], given_up=[GivenUp(300, 350, "gap"), GivenUp(351, 399, "thinned")])
    found = state([page(GOOD), page(other, bridge="gw-2")], agent(PART, Part("e0", 10, 10)))
    assert found.adds_up is True
    unseen, line = found.series
    assert (unseen.epoch, unseen.in_flight, unseen.safe, unseen.bridges, unseen.seen) == ("e0", 10, 0, {}, None)
    assert (line.safe, line.held, line.in_flight, list(line.bridges)) == (910, 10, 40, ["gw-1", "gw-2"])
    assert line.dropped == [GivenUp(300, 399, "age")]


def test_rules_of_the_sender_go_before_those_of_the_bridge() -> None:
    one = but(GOOD, given_up=[GivenUp(300, 350, "gap"), GivenUp(340, 399, "thinned")], given_up_rows=111)
    (line,) = state([page(one)], {}).series
    assert line.dropped == [GivenUp(300, 339, "gap"), GivenUp(340, 399, "thinned")]
    assert (line.accepted, line.in_flight, line.adds_up) == (None, None, True)


def test_problems_are_named_by_series_and_rows() -> None:
    whole = StreamAccount("ward", "w1", "far", whole=Windows(waiting=1, astray=[7]), seen=100.0)
    found = state([page(but(GOOD, waiting=[(12, 12)]), streams=[whole])], {}, silent=["gw-3", "gw-2"])
    assert found.adds_up is False
    assert found.problems == [
        f"ward/w1/wrist e1: answers (gw-1): rows 832–959: 1 window {NO_END}",
        "ward/w1/far: work (gw-1): rows 7: 1 window without an answer, and nobody works at it",
    ]
    assert found.silent == ["gw-2", "gw-3"]


def test_an_agent_that_does_not_tell() -> None:
    found = state([page(GOOD)], {WHO: AgentStatus(online=False)})
    assert found.adds_up is None
    assert found.agents[0].tells is False
    assert found.series[0].checks[-1].holds is None


def test_one_device_and_what_is_recent() -> None:
    other = but(GOOD, key=SeriesKey("ward", "w2", "wrist", "e1"), seen=150.0)
    silent = but(GOOD, key=SeriesKey("ward", "w3", "wrist", "e1"), seen=None, cut=9)
    streams = [StreamAccount("ward", "w1", "wrist", 3, seen=100.0), StreamAccount("ward", "w2", "wrist", seen=150.0)]
    found = state([page(GOOD, other, silent, streams=streams, forgotten=2)], agent(PART), since=120.0)
    assert [line.device for line in found.series] == ["w2", "w3"], "what does not add up is always told"
    assert [line.account.device for line in found.streams] == ["w2"]
    assert found.forgotten == 2
    assert state([], agent(PART), device="w9") == Statement(None, [], {}, [], [], [], [], 0)
