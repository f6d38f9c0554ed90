"""When what the agent counts is worth a status."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.ledger import TELL_FLOW, News

LOOK = 5.0


def facts(accepted: int, kept: int = 0, dropped_rows: int = 0, **more: Any) -> dict[str, Any]:
    one = {"epoch": "e", "accepted": accepted, "kept": kept, "dropped": [], "dropped_rows": dropped_rows}
    return {"streams": {"wrist": [one]}, **more}


@pytest.fixture
def news() -> News:
    made = News()
    assert made.are(facts(10, 3), 0.0), "the first at once"
    return made


def test_counters_that_flow_are_told_every_thirty_seconds(news: News) -> None:
    looks = [n * LOOK for n in range(1, 19)]
    told = [now for now in looks if news.are(facts(10 + int(now), int(now) % 7), now)]
    assert told == [30.0, 60.0, 90.0]
    assert TELL_FLOW == 30.0


def test_counters_that_came_to_rest_are_told_at_the_next_look_and_once(news: News) -> None:
    assert [news.are(facts(20), now) for now in (5.0, 10.0, 15.0, 90.0)] == [False, True, False, False]


def test_what_is_told_already_is_no_news_however_old(news: News) -> None:
    assert not news.are(facts(10, 3), 1e3)
    assert news.are(facts(11, 3), 1e3 + LOOK)


@pytest.mark.parametrize(
    "change",
    [
        facts(11, 3, dropped_rows=1),
        facts(11, 3, store="No space left on device"),
        {"streams": {"wrist": [*facts(11, 3)["streams"]["wrist"], *facts(1)["streams"]["wrist"]]}},
        {"streams": {**facts(11, 3)["streams"], "ankle": []}},
    ],
)
def test_anything_else_is_told_at_once(news: News, change: dict[str, Any]) -> None:
    assert news.are(change, LOOK)
    assert news.are(facts(11, 3), 2 * LOOK), "and that it is over"
