"""Answers operators who ask for the ledger, a page at a time between two turns of the pipeline.

A page is written when the pipeline is at rest, so that each window in it is either done or somebody's work. Series need
not be of the same moment: whatever is compared is of one series. Pages are small, and written only while the broker
takes what the bridge publishes: live readings wait for one page at most.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.errors import Refused
from bridge.ledger.account import Page, encode_page, question_of
from bridge.ledger.book import Names
from bridge.ledger.source import running_account
from bridge.messages import SeriesKey
from bridge.mqtt.messages import Publish
from bridge.requests import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ledger.account import Account, StreamAccount, WholeAccount
    from bridge.ledger.book import Book
    from bridge.pipeline.window import Windower

PAGE = 128  # accounts of a page: one to two milliseconds of work
QUESTIONS = 4  # answered at a time; further ones are refused


class Postman(Protocol):
    """What the desk needs of a connection."""

    @property
    def full(self) -> bool:
        """More publishes wait for the broker than may."""
        ...

    def publish(self, messages: list[Publish]) -> None:
        """Queue messages."""
        ...


class _Answer(msgspec.Struct, eq=False):
    """A question being answered.

    Attributes:
        reply: where to.
        series: what is still to be told.
        streams: likewise.
        page: number of the next page.
    """

    reply: Reply
    series: deque[SeriesKey]
    streams: deque[Names]
    page: int = 0


class Desk:
    """Takes questions and answers them.

    Args:
        bridge: our id.
        post: the connection.
        book: what was counted.
        windower: the series.
        works_at: whether somebody works at a window, by its id.
        kept_count: different Results of a series kept for a replay; None where not known.
        unsure: why an earlier process may have answered more whole windows than the book knows; "": it did not.
    """

    def __init__(
        self,
        bridge: str,
        post: Postman,
        book: Book,
        windower: Windower,
        *,
        works_at: Callable[[str], bool],
        kept_count: Callable[[SeriesKey], int | None] = lambda _key: None,
        unsure: Callable[[], str] = str,
    ) -> None:
        self._bridge = bridge
        self._post = post
        self._book = book
        self._windower = windower
        self._works_at = works_at
        self._kept_count = kept_count
        self._unsure = unsure
        self._answers: deque[_Answer] = deque()
        self._started = time.time()

    def asked(self, request: dict[str, Any], reply: Reply | None) -> None:
        """Take a question.

        Args:
            request: may hold `device`: its name.
            reply: where to answer; without, nobody wants to know.

        Raises:
            Refused: `malformed`, naming the key; `overload` when too many are being answered.
        """
        if reply is None:
            return
        device = question_of(request).device
        if len(self._answers) >= QUESTIONS:
            raise Refused("overload", f"{QUESTIONS} questions are being answered; ask again")
        series = [*self._windower.keys, *self._windower.pushed_out.keys]
        streams = self._book.streams()
        if device is not None:
            series = [key for key in series if key.device == device]
            streams = [names for names in streams if names[1] == device]
        self._answers.append(_Answer(reply, deque(series), deque(streams)))

    def serve(self, *, at_rest: bool = True) -> None:
        """Write the next page, if one is asked for and the broker takes it.

        Args:
            at_rest: the pipeline is between two turns.
        """
        if not self._answers or self._post.full:
            return
        answer = self._answers.popleft()
        page = self._page(answer, at_rest=at_rest)
        if page.more:
            self._answers.append(answer)
        self._post.publish([Publish(answer.reply.topic, encode_page(page), correlation=answer.reply.correlation)])

    def _page(self, answer: _Answer, *, at_rest: bool) -> Page:
        waiting, working = self._book.waiting(), self._works_at if at_rest else None
        series: list[Account] = []
        streams: list[StreamAccount] = []
        wholes: list[WholeAccount] = []
        while answer.series and len(series) < PAGE:
            key = answer.series.popleft()
            entry = self._windower.entry(key) or self._windower.pushed_out.get(key)
            if entry is not None:
                kept = self._kept_count(entry.key)
                series.append(running_account(entry, self._book, waiting, working=working, kept=kept))
        while answer.streams and len(series) + len(streams) + len(wholes) < PAGE:
            names = answer.streams.popleft()
            stream = self._book.stream(names, waiting, working)
            if stream is not None:
                streams.append(stream)
                wholes += self._book.wholes(names, waiting)
        number, answer.page = answer.page, answer.page + 1
        more = bool(answer.series or answer.streams)
        return Page(
            self._bridge, time.time(), self._started, number, more, series, streams,
            forgotten=self._book.forgotten, wholes=wholes, unsure=self._unsure(),
        )  # fmt: skip
