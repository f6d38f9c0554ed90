"""A bridge's desk for questions about its account, with a connection that keeps what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bridge import topics
from bridge.ledger.account import Page, decode_page
from bridge.ledger.desk import Desk
from bridge.ledger.statement import Statement, state
from bridge.mqtt.messages import Delivery, Publish
from bridge.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.connection import Connection
    from tests.support.lives import Life


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
