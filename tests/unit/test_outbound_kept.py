"""The way out and the log of published Results: settled only when both the broker and the disk have it."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.messages import Answer, Placement, SeriesKey, Window
from bridge.pipeline import outbound as module
from bridge.pipeline.admit import ErrorGate
from bridge.pipeline.arrival import Arrival, Verdict
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.turn import Decided, Ticket
from bridge.pipeline.unheard import Unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.mqtt.messages import Publish
    from bridge.store.kept import Record

KEY = SeriesKey("s", "d", "x", "e")
TOPIC = "edge/v1/s/d/result/m"
NOBODY = 0x10


class Bench:
    """An Outbound between a broker and a disk that say when they have something."""

    def __init__(self) -> None:
        self.full = False
        self.room = 5
        self.sent: list[Publish] = []
        self.records: list[Record] = []
        self.recalled: list[tuple[str, int]] = []
        self.verdicts: list[Verdict] = []
        counts: Counter[str] = Counter()
        self.unheard = Unheard(counts)
        self.out = Outbound(
            self,
            lambda _topic, _payload: None,
            ErrorGate(),
            counts,
            kept=self,
            unheard=self.unheard,
            earlier={"old": 7},
            recall=lambda window, record: self.recalled.append((window, record)),
        )

    def publish(self, messages: list[Publish]) -> None:
        self.sent += messages

    def append(self, record: Record) -> None:
        record.n = len(self.records) + 1
        self.records.append(record)

    def broker_has(self, at: int = -1, code: int = 0) -> None:
        done = self.sent[at].done
        assert done is not None
        done(code)

    def disk_has(self, at: int = -1) -> None:
        record = self.records[at]
        record.kept = True
        record.done(record)

    def ticket(self, window: str, *, durable: bool = False) -> Ticket:
        arrival = Arrival("t", b"", 0.0, self.verdicts.append)
        ticket = Ticket(arrival, KEY, (0, 63), receipt=False, durable=durable, completed=1)
        self.out.waiters.wait(window, ticket)
        return ticket


@pytest.fixture
def bench() -> Bench:
    return Bench()


def decided(name: str, *, journalled: bool = False, whole: bool = False, **fields: Any) -> Decided:
    window = Window(name, KEY, 0, np.zeros((2, 1), np.float32), 1.5, "device", 0.0, "m", "live", 9.0, **fields)
    placed = Placement("bridge", "why", firm=True)
    return Decided(window, Answer("sit", 0.5, "1", "v"), placed, 0.0, journalled=journalled, whole=whole)


@pytest.mark.parametrize("first", ["broker", "disk"])
@pytest.mark.parametrize("code", [0, NOBODY])
def test_settled_when_both_have_it(bench: Bench, first: str, code: int) -> None:
    bench.ticket("a")
    bench.out.results([decided("a")])
    has: list[Callable[[], None]] = [partial(bench.broker_has, code=code), bench.disk_has]
    for tell in has if first == "broker" else reversed(has):
        assert bench.verdicts == []
        assert bench.out.waiters.waits_for("a")
        tell()
    assert len(bench.verdicts) == 1
    assert not bench.out.waiters.waits_for("a")


@pytest.mark.parametrize("first", ["broker", "disk"])
def test_struck_from_the_journal_when_both_have_it(bench: Bench, first: str) -> None:
    bench.out.results([decided("a", journalled=True)])
    for tell in (bench.broker_has, bench.disk_has) if first == "broker" else (bench.disk_has, bench.broker_has):
        assert bench.out.taken() == []
        tell()
    assert bench.out.taken() == ["a"]


def test_publishing_waits_for_neither(bench: Bench) -> None:
    bench.out.results([decided("a")])
    bench.out.results([decided("b")])
    assert len(bench.sent) == 2


def test_a_turn_is_one_record_with_the_bytes_that_were_published(bench: Bench) -> None:
    bench.out.results([decided("a"), decided("b", whole=True)])
    (record,) = bench.records
    assert record.items == [(TOPIC, message.payload) for message in bench.sent]
    assert record.whole == ["b"]


def test_a_large_turn_is_several_records(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOGETHER", 2)
    bench.out.results([decided(str(n)) for n in range(5)])
    assert [len(record.items) for record in bench.records] == [2, 2, 1]
    bench.out.again([decided(str(n)).saved() for n in range(3)])
    assert [len(record.items) for record in bench.records[3:]] == [2, 1]


def test_answers_to_infer_are_not_kept_and_not_waited_for(bench: Bench) -> None:
    bench.ticket("a")
    bench.out.results([decided("a", reply_to="reply/me", correlation=b"c")])
    assert bench.records == []
    bench.broker_has(code=NOBODY)
    assert len(bench.verdicts) == 1
    assert not bench.unheard.marks


def test_results_of_an_earlier_life_are_kept_too(bench: Bench) -> None:
    bench.out.again([decided("a").saved(), decided("b", reply_to="reply/me", correlation=b"c").saved()])
    assert [record.items for record in bench.records] == [[(TOPIC, bench.sent[0].payload)]]
    bench.broker_has(0)
    bench.broker_has(1)
    assert bench.out.taken() == ["b"]
    bench.disk_has()
    assert bench.out.taken() == ["a"]


def test_what_the_broker_refuses_is_journalled_whatever_the_disk_says(bench: Bench) -> None:
    ticket = bench.ticket("a")
    bench.out.results([decided("a")])
    bench.broker_has(code=0x87)
    assert [tickets for _, tickets in bench.out.refused_by_broker()] == [[ticket]]
    bench.disk_has()
    assert bench.verdicts == []


def test_what_nobody_heard_is_marked_and_who_hears_again_is_found(bench: Bench) -> None:
    bench.out.results([decided("a"), decided("b")])
    bench.broker_has(0, NOBODY)
    bench.broker_has(1, NOBODY)
    assert bench.unheard.marks == {TOPIC: (1, bench.sent[0].payload)}
    bench.out.results([decided("c")])
    bench.broker_has()
    assert (bench.unheard.marks, bench.unheard.found) == ({}, {TOPIC: 1})


def test_when_the_broker_last_took_something(bench: Bench) -> None:
    assert bench.out.heard_at is None
    bench.out.results([decided("a")])
    bench.out.results([decided("b")])
    bench.broker_has(0)
    assert bench.out.heard_at == bench.records[0].at


async def test_a_disk_that_refuses_closes_the_doors(bench: Bench) -> None:
    bench.full = True
    assert bench.out.full
    assert bench.out.most == 5
    bench.room = 0
    assert bench.out.most == 1, "what lanes and the cloud end must come through"
    waiting = asyncio.ensure_future(bench.out.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.full = False
    await asyncio.wait_for(waiting, 1.0)


def test_a_window_of_an_earlier_process_is_published_again_before_its_copy_is_settled(bench: Bench) -> None:
    assert bench.out.waiters.waits_for("old")
    ticket = bench.ticket("old")
    other = bench.ticket("new")
    assert bench.out.waiters.wait("old", other)
    assert not bench.out.waiters.wait("new", other)
    other.open -= 2
    bench.out.settle([ticket])
    assert bench.recalled == [("old", 7)]
    assert bench.verdicts == []
    bench.out.waiters.recalled("old")
    assert len(bench.verdicts) == 2
    assert not bench.out.waiters.waits_for("old")


def test_a_window_that_the_journal_publishes_again_is_not_recalled(bench: Bench) -> None:
    bench.out.again([decided("old").saved()])
    bench.ticket("old")
    assert bench.recalled == []
