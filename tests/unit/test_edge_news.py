"""When what the agent counts is worth a status."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.news import ADVANCE, LEAST, MOST, SHARE, News

LOOK, STATUS = 5.0, 800


def facts(accepted: int, kept: int = 0, dropped_rows: int = 0, **more: Any) -> dict[str, Any]:
    one = {"epoch": "e", "accepted": accepted, "kept": kept, "dropped": [], "dropped_rows": dropped_rows}
    return {"streams": {"wrist": [one]}, **more}


@pytest.fixture
def news() -> News:
    made = News()
    assert made.are(facts(10, 3), 0.0, sent=0), "the first at once"
    made.told(STATUS)
    return made


def flowing(news: News, bytes_s: float, seconds: float) -> list[float]:
    """When counters that never rest are told."""
    told = []
    for look in range(1, round(seconds / LOOK) + 1):
        now = look * LOOK
        if news.are(facts(10 + look), now, sent=int(now * bytes_s)):
            news.told(STATUS)
            told.append(now)
    return told


@pytest.mark.parametrize(
    ("bytes_s", "apart"),
    [
        (1e6, LEAST),
        (STATUS / SHARE / 28, LEAST),
        (STATUS / SHARE / 78, 80.0),  # 1 kB/s
        (STATUS / SHARE / 898, 900.0),
        (1.0, MOST),
        (0.0, MOST),
    ],
)
def test_counters_that_flow_take_one_per_cent_of_what_is_sent(news: News, bytes_s: float, apart: float) -> None:
    found = flowing(news, bytes_s, 2 * MOST)
    assert {later - earlier for earlier, later in pairwise([0.0, *found])} == {apart}
    assert (LEAST, MOST, SHARE) == (30.0, 1_800.0, 0.01)


def test_a_larger_status_is_told_more_seldom(news: News) -> None:
    news.told(4 * STATUS)
    assert flowing(news, STATUS / SHARE / 78, 600.0)[0] == 315.0


def test_nothing_is_saved_up(news: News) -> None:
    assert news.are(facts(11), MOST, sent=10**9)
    news.told(STATUS)
    assert not any(news.are(facts(12 + n), MOST + n * LOOK, sent=10**9) for n in range(359)), "what was sent before"


def test_where_there_is_no_status_none_is_paid_for() -> None:
    news = News()
    told = [now for now in (n * LOOK for n in range(19)) if news.are(facts(int(now)), now, sent=0)]
    assert told == [0.0, 30.0, 60.0, 90.0]


def test_counters_that_came_to_rest_are_told_at_the_next_look_and_once(news: News) -> None:
    looks = (5.0, 10.0, 15.0, 90.0)
    assert [news.are(facts(20), now, sent=100) for now in looks] == [False, True, False, False]


def test_a_sensor_that_rests_after_each_message_is_not_told_of_each_time(news: News) -> None:
    told = 0
    for message in range(1, 120):  # one each 15 s, half an hour
        at, sent = 15.0 * message, 300 * message
        for look in range(3):
            if news.are(facts(10 + message), at + look * LOOK, sent=sent):
                news.told(STATUS)
                told += 1
    assert told == ADVANCE // STATUS  # the first was told before; 1 % of 36 kB pays for none


def test_what_is_told_already_is_no_news_however_old(news: News) -> None:
    assert not news.are(facts(10, 3), 1e6, sent=10**9)
    assert news.are(facts(11, 3), 1e6 + LOOK, sent=10**9)


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
    news.told(10 * ADVANCE)
    assert news.are(change, LOOK, sent=0)
    assert news.are(facts(11, 3), 2 * LOOK, sent=0), "and that it is over"


def test_however_much_was_news_counters_pay_for_the_last_of_it(news: News) -> None:
    for n in range(100):
        assert news.are(facts(11, dropped_rows=1 + n), n * 0.1, sent=0)
        news.told(STATUS)
    assert news.are(facts(12, dropped_rows=100), 10.0 + LEAST, sent=int(STATUS / SHARE))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20_000), st.integers(100, 1_500)), max_size=300))
def test_counters_never_cost_more_than_their_share(looks: list[tuple[bool, int, int]]) -> None:
    """Whatever flows and rests: the share, a few in advance, and one each half hour."""
    news = News()
    assert news.are(facts(0), 0.0, sent=0)
    news.told(STATUS)
    sent = told = count = 0
    for look, (moved, size, status) in enumerate(looks, 1):
        count, sent = count + moved, sent + size
        if news.are(facts(count), look * LOOK, sent=sent):
            news.told(status)
            told += status
    stale = 1_500 * (len(looks) * LOOK // MOST)
    assert told <= SHARE * sent + ADVANCE + 1_500 + stale
