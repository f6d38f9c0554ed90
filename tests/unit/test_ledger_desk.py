"""How the bridge tells of its account: in pages, between turns, and to whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bridge.ledger import desk as desks
from bridge.ledger.statement import state
from bridge.mqtt.messages import Delivery
from tests.support.engines import ROWS, until
from tests.support.ledger_desk import Post, desk_of, ledger, question, sift
from tests.support.lives import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal.db")


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
