"""What the bridge counts, and how it tells of it: alone, and with the real pipeline on a real journal."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge import topics
from bridge.ledger import book as books
from bridge.ledger import desk as desks
from bridge.ledger import tally as tallies
from bridge.ledger.account import Account, Page, Windows, decode_page
from bridge.ledger.book import Book, windows_of
from bridge.ledger.desk import Desk
from bridge.ledger.proof import check_series
from bridge.ledger.source import running_account
from bridge.ledger.statement import Statement, state
from bridge.messages import SeriesKey
from bridge.mqtt.messages import Delivery, Publish
from bridge.requests import Requests
from bridge.topics import DataTopic
from tests.support.engines import ROWS, until
from tests.support.lives import Life, World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bridge.ledger.tally import Tally
    from bridge.mqtt.connection import Connection

KEY = SeriesKey("s", "d", "w", "e")
ROUTE: Any = SimpleNamespace(manifest=SimpleNamespace(input=SimpleNamespace(rows=4, hop=2)))
ENTRY: Any = SimpleNamespace(route=ROUTE)


def cuts(*seqs: int, key: SeriesKey = KEY) -> list[Any]:
    route = SimpleNamespace(windows="rows")
    windows = [SimpleNamespace(id=f"{key.epoch}{seq}", key=key, seq=seq) for seq in seqs]
    return [SimpleNamespace(window=window, route=route) for window in windows]


def begun(*seqs: int) -> tuple[Book, Tally]:
    """A book in which these windows were cut."""
    book = Book()
    book.turn(cuts(*seqs), {KEY: ENTRY}, 5.0)
    tally = book.tally(KEY)
    assert tally is not None
    return book, tally


def totals(book: Book) -> dict[str, Any]:
    """Those that are not nought."""
    return {name: value for name, value in book.totals().items() if value}


def test_windows_end_in_any_order() -> None:
    book, tally = begun(0, 2, 4, 6, 8)
    assert tally.ended == []
    for window in ("e0", "e2", "e8", "e4"):
        book.answered(window)
    assert tally.ended == [(0, 2), (4, 4)]
    book.refused("e6", "stale")
    assert tally.ended == [(0, 4)]
    book.turn(cuts(10), {}, 6.0)
    book.answered("e10")
    assert tally.ended == [(0, 5)]
    assert (tally.answered, tally.refused, tally.seen) == (5, {"stale": 1}, 6.0)
    assert totals(book) == {"windows": 6, "answered": 5, "refused": {"stale": 1}}


def test_a_window_ends_once() -> None:
    book, tally = begun(0, 2)
    book.answered("e0")
    book.answered("e0")
    book.refused("e0", "stale")
    book.provisional("e0")
    book.provisional("e2")
    assert totals(book) == {"windows": 2, "answered": 1, "provisional": 1, "in_flight": 1, "repeats": 1}
    assert windows_of(tally, book.waiting()[tally], None) == Windows(1, 1, {}, 1, None)
    book.refused("e2", "shape")
    book.refused("e2", "shape")
    assert totals(book)["refused"] == {"shape": 1}


def test_too_many_holes_are_forgotten_and_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "RANGES", 2)
    book, tally = begun(*range(0, 20, 2))
    for seq in (0, 4, 8):
        book.answered(f"e{seq}")
    assert (tally.ended, tally.ended_all) == ([(0, 0), (2, 2), (4, 4)], True)
    book.answered("e12")
    assert (tally.ended, tally.ended_all) == ([(2, 2), (4, 4), (6, 6)], False)


def test_windows_of_an_earlier_life() -> None:
    book, whole = Book(), SeriesKey("s", "d", "far", "e")
    book.restored(KEY, 2, [(0, 4)])
    for seq in (6, 8):
        book.reopened(KEY, f"e{seq}", seq)
    book.reopened(whole, "far7", 7)
    tally = book.tally(KEY)
    assert tally is not None
    assert (tally.before, tally.opened) == ([(0, 4)], [6, 8])
    book.answered("e8")
    book.answered("far7")
    assert (tally.ended, totals(book)["in_flight"]) == ([(4, 4)], 1)
    account = book.stream(("s", "d", "far"), book.waiting(), lambda _: True)
    assert account is not None
    assert account.whole == Windows(1, astray=[])


def test_windows_of_no_series_are_counted_by_stream() -> None:
    book = Book()
    for epoch in ("a", "b"):
        book.turn(cuts(3, 90, key=SeriesKey("s", "d", "far", epoch)), {}, 7.0)
    book.answered("a3")
    account = book.stream(("s", "d", "far"), book.waiting(), lambda window: window != "b90")
    assert account is not None
    assert account.whole == Windows(1, waiting=3, astray=[90])
    assert account.seen == 7.0


def test_a_turn_tells_windows_whose_sender_asks_from_those_whose_sender_does_not() -> None:
    book = Book()
    plain, asked, other = cuts(0, 4, 8)
    for cut, receipt in ((plain, False), (asked, True), (other, False)):
        cut.route, cut.ticket = SimpleNamespace(windows="whole"), SimpleNamespace(receipt=receipt)
        cut.window.values = range(4)
    again = cuts(12)
    book.turn([plain, *again, asked, other], {}, 5.0)
    book.turn(cuts(16, key=SeriesKey("s", "d", "w", "f")), {}, 6.0)
    account = book.stream(("s", "d", "w"), book.waiting(), None)
    assert account is not None
    assert account.whole is not None
    assert (account.whole.waiting, account.seen) == (5, 6.0)
    (numbered,) = book.wholes(("s", "d", "w"), book.waiting())
    assert (numbered.key, numbered.waiting) == (KEY, [(4, 11)])  # from the first that asks on
    for window in ("e0", "e4", "e8", "e12", "f16"):
        book.answered(window)
    assert totals(book) == {"windows": 5, "answered": 5}
    (numbered,) = book.wholes(("s", "d", "w"), book.waiting())
    assert numbered.ended == [(4, 11)]


def test_an_evicted_series_is_forgotten_and_what_waits_of_it_ends() -> None:
    book, _ = begun(0)
    book.evicted([KEY, KEY])
    assert book.tally(KEY) is None
    book.answered("e0")
    assert totals(book) == {"windows": 1, "answered": 1}


def test_messages_that_give_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "STREAMS", 2)
    book = Book()
    book.known(KEY, 5.0)
    book.refusal(DataTopic("s", "d", "w"), "stale", 6.0)
    book.refusal(DataTopic("s", "d", "w"), "shape", 7.0, 3)
    book.refusal(None, "stale", 8.0)
    account = book.stream(("s", "d", "w"), {}, None)
    assert account is not None
    assert (account.duplicates, account.refused, account.seen) == (1, {"stale": 1, "shape": 3}, 7.0)
    assert totals(book) == {"duplicates": 1, "late": 2}
    book.known(SeriesKey("s", "d2", "w", "e"), 9.0)
    book.known(SeriesKey("s", "d3", "w", "e"), 9.0)
    assert (book.forgotten, book.stream(("s", "d", "w"), {}, None)) == (1, None)
    assert book.streams() == [("s", "d2", "w"), ("s", "d3", "w")]


# ---- with the pipeline


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


class Post:
    """A connection that keeps what it is given."""

    def __init__(self) -> None:
        self.full = False
        self.sent: list[Publish] = []
        self.acknowledged: list[Delivery] = []

    def publish(self, messages: list[Publish]) -> None:
        self.sent += messages

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        self.acknowledged += deliveries

    @property
    def pages(self) -> list[Page]:
        return [decode_page(one.payload) for one in self.sent]


def desk_of(life: Life, post: Post) -> Desk:
    pipeline = life.pipeline
    return Desk("gw-1", post, pipeline._out.book, pipeline._windower, works_at=pipeline.works_at)


def sift(desk: Desk, post: Post, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """As the bridge does."""
    requests = Requests({topics.bridge_ledger("gw-1"): desk.asked}, topics.safe_reply)
    return requests.sift(cast("Connection", post), list(deliveries))


def question(payload: bytes = b"{}", *, reply_to: str | None = "edge/v1/_reply/me/1", retain: bool = False) -> Delivery:
    return Delivery("edge/v1/_bridge/gw-1/ledger", payload, 1, retain, None, reply_to, b"7", 3)


def ledger(life: Life, payload: bytes = b"{}") -> Statement:
    post = Post()
    desk = desk_of(life, post)
    sift(desk, post, [question(payload)])
    while not post.sent or post.pages[-1].more:
        desk.serve()
    return state(post.pages, {})


def account(life: Life, key: SeriesKey) -> Account:
    pipeline = life.pipeline
    entry = pipeline._windower.entry(key)
    assert entry is not None
    book = pipeline._out.book
    return running_account(entry, book, book.waiting(), working=pipeline.works_at, kept=None)


ROWS_KEY = SeriesKey("s", "d", "rows", "e")


async def test_what_waits_is_somebody_s_work_until_it_ends(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    life.deliver("whole", 0)
    await life.turn()
    found = ledger(life)
    assert found.adds_up is True, found.problems
    (line,) = found.series
    assert (line.safe, line.bridges["gw-1"].windows, line.bridges["gw-1"].waiting) == (3 * ROWS, 3, 3)
    life.slow.let_all_go()
    await until(lambda: life.has_answered(4))
    assert ledger(life).series[0].bridges["gw-1"].answered == 0, "the broker has not taken them"
    life.take_all()
    after = ledger(life)
    assert after.adds_up is True, after.problems
    assert (after.series[0].bridges["gw-1"].answered, after.series[0].bridges["gw-1"].waiting) == (3, 0)
    (whole,) = [one for one in after.streams if one.account.stream == "whole"]
    assert whole.account.whole == Windows(1, astray=[])


async def test_a_window_that_everybody_forgot_is_found(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    await life.turn()
    lost = next(iter(life.pipeline._decider.open))
    del life.pipeline._decider.open[lost]
    life.pipeline._out.waiters.forget(lost)
    assert [one.rows for one in check_series(account(life, ROWS_KEY), bridge="") if one.holds is False] == [[(0, 3)]]
    del life.pipeline._out.book._waiting[lost]
    assert ledger(life).problems == [
        "s/d/rows e: answers (gw-1): rows 0–3: 1 window cut, and neither answered, nor refused, nor on the way"
    ]


@pytest.mark.parametrize("answered", [False, True])
async def test_it_adds_up_after_kill_9(world: World, answered: bool) -> None:
    life = world.live()
    life.deliver("rows", 0, 3 * ROWS)
    await life.turn()
    if answered:
        life.slow.let_go(0, 1)
        await until(lambda: life.has_answered(2))
    await life.crash()
    again = world.live()
    again.deliver("rows", 3 * ROWS, ROWS)
    again.deliver("rows", 0, 2 * ROWS)
    await again.turn()
    before = ledger(again)
    assert before.adds_up is True, before.problems
    assert (before.series[0].bridges["gw-1"].windows, before.series[0].bridges["gw-1"].waiting) == (4, 4)
    again.slow.let_all_go()
    await until(lambda: {0, 4, 8, 12} <= set(again.seqs))
    again.take_all()
    after = ledger(again)
    assert after.adds_up is True, after.problems
    assert after.series[0].bridges["gw-1"].answered == 4
    assert [one.account.duplicates for one in after.streams if one.account.stream == "rows"] == [1]


async def test_gaps_are_named_with_their_rule_also_after_kill_9(world: World) -> None:
    life = world.live()
    life.slow.let_all_go()
    life.deliver("rows", 0, ROWS + 1)
    life.deliver("rows", 2 * ROWS, 2 * ROWS)
    await life.turn()
    assert ledger(life).series[0].held == 2 * ROWS
    (entry,) = [one for one in life.pipeline._windower.entries if one.key == ROWS_KEY]
    entry.series.gap_since = -1e9  # it was waited for long enough
    await until(lambda: {0, 8, 12} <= set(life.seqs))
    await life.crash()
    again = world.live()
    await again.turn()
    (line,) = ledger(again).series
    assert [(one.first, one.last, one.rule) for one in line.dropped] == [(5, 7, "gap")]
    assert (line.safe, line.dropped_rows, line.bridges["gw-1"].windows, line.adds_up) == (13, 3, 3, True)


async def test_a_result_that_the_broker_refuses_is_refused_until_the_next_life(world: World) -> None:
    life = world.live()
    life.slow.let_all_go()
    life.deliver("rows", 0, ROWS)
    await until(lambda: life.has_answered(1))
    for message in life.sent:
        if message.done is not None:
            message.done(0x87)
    await life.turn()
    (line,) = ledger(life).series
    assert (line.bridges["gw-1"].refused, line.adds_up) == ({"broker": 1}, True)
    await life.crash()
    again = world.live()
    await again.turn()
    (line,) = ledger(again).series
    assert (line.bridges["gw-1"].waiting, line.adds_up) == (1, True)


async def test_a_window_that_no_route_takes_any_more_is_refused(world: World) -> None:
    life = world.live()
    life.deliver("whole", 0)
    life.deliver("rows", 0, ROWS, receipt=True)
    await life.turn()
    await life.crash()
    again = world.live(routes=[one for one in life.pipeline._table.routes if one.model == "fast"])
    await again.turn()
    assert totals(again.pipeline._out.book)["refused"] == {"no_route": 1}
    assert ledger(again).adds_up is not False


async def test_refused_messages_are_counted_by_stream(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, ROWS)
    life.deliver("whole", 0, ROWS + 1)
    await life.turn()
    found = {one.account.stream: one.account.refused for one in ledger(life).streams}
    assert found["whole"] == {"shape": 1}


async def test_an_account_is_paged_between_turns_while_the_broker_takes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "PAGE", 2)
    life = world.live()
    for device in ("a", "b", "c"):
        life.deliver("rows", 0, 1, device=device)
        life.deliver("rows", 0, 1, device=device)
    await life.turn()
    post = Post()
    desk = desk_of(life, post)
    other = Delivery("edge/v1/s/d/data/rows", b"", 1, False, None, None, None, 4)
    asked = question()
    assert sift(desk, post, [other]) == [other]
    assert sift(desk, post, [other, asked]) == [other]
    assert post.acknowledged == [asked]
    post.full = True
    desk.serve()
    assert not post.sent
    post.full = False
    life.pipeline.at_rest = desk.serve
    await until(lambda: bool(post.sent) and not post.pages[-1].more)
    pages = post.pages
    assert [(one.page, len(one.series), len(one.streams), one.more) for one in pages] == [
        (0, 2, 0, True), (1, 1, 1, True), (2, 0, 2, True), (3, 0, 1, False)
    ]  # fmt: skip
    assert {(one.topic, one.correlation) for one in post.sent} == {("edge/v1/_reply/me/1", b"7")}
    assert sorted(one.key.device for page in pages for one in page.series) == ["a", "b", "c"]
    only = ledger(life, b'{"device": "b"}')
    assert [one.device for one in only.series] == ["b"]
    assert [one.account.device for one in only.streams] == ["b"]


async def test_questions_that_cannot_be_answered(world: World) -> None:
    life = world.live()
    post = Post()
    desk = desk_of(life, post)
    unheard: Iterable[Delivery] = (
        question(reply_to=None),
        question(reply_to="edge/v1/s/d/data/w"),
        question(retain=True),
    )
    for one in unheard:
        assert sift(desk, post, [one]) == []
    sift(desk, post, [question(b"[]"), question(b" " * 5_000)])
    assert [json.loads(one.payload)["reason"] for one in post.sent] == ["malformed", "malformed", "too_large"]
    sift(desk, post, [question() for _ in range(desks.QUESTIONS + 1)])
    assert json.loads(post.sent[-1].payload)["reason"] == "overload"
    post.sent.clear()
    for _ in range(desks.QUESTIONS + 1):
        desk.serve()
    assert len(post.sent) == desks.QUESTIONS


async def test_in_the_middle_of_a_turn_nobody_is_said_to_have_lost_a_window(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, ROWS)
    await life.turn()
    post = Post()
    desk = desk_of(life, post)
    sift(desk, post, [question()])
    desk.serve(at_rest=False)
    found = state(post.pages, {})
    assert found.adds_up is None
    assert not found.problems


async def test_what_was_forgotten_while_it_was_told(world: World) -> None:
    life = world.live()
    life.deliver("rows", 0, 1)
    life.deliver("rows", 0, 1)
    await life.turn()
    post = Post()
    desk = desk_of(life, post)
    sift(desk, post, [question()])
    life.pipeline._windower._entries.clear()
    life.pipeline._out.book._streams.clear()
    desk.serve()
    assert (post.pages[0].series, post.pages[0].streams) == ([], [])
