"""The way out: what is published, and when what waited for it is settled."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Answer, Placement, Receipt, Result, SeriesKey, Window
from bridge.messages import Error as Told
from bridge.pipeline.admit import ErrorGate
from bridge.pipeline.arrival import Arrival, Verdict
from bridge.pipeline.outbound import Outbound
from bridge.pipeline.receipts import MAX_RANGES
from bridge.pipeline.turn import Decided, Refusal, Ticket
from bridge.topics import DataTopic
from bridge.wire.answers import decode_answer

if TYPE_CHECKING:
    from bridge.mqtt.messages import Publish

KEY = SeriesKey("s", "d", "x", "e")
WHO = DataTopic("s", "d", "x")
SAID = Answer("sit", 0.5, "1", "v")
WHY = Refused("stale", "late", seq=3)


class Bench:
    """An Outbound, a publisher that keeps what it is given, and what was settled."""

    def __init__(self) -> None:
        self.full = False
        self.sent: list[Publish] = []
        self.shown: list[str] = []
        self.verdicts: list[Verdict] = []
        self.counts: Counter[str] = Counter()
        self.out = Outbound(self, lambda topic, _: self.shown.append(topic), ErrorGate(2.0), self.counts)

    def publish(self, messages: list[Publish]) -> None:
        self.sent += messages

    def acknowledged(self, at: int = -1, code: int = 0) -> None:
        done = self.sent[at].done
        assert done is not None
        done(code)

    def arrival(self, **how: Any) -> Arrival:
        return Arrival("t", b"", 0.0, self.verdicts.append, **how)

    def ticket(self, *windows: str, durable: bool = False, receipt: bool = False, **how: Any) -> Ticket:
        rows = how.pop("rows", (0, 63))
        key = how.pop("key", KEY)
        ticket = Ticket(self.arrival(**how), key, rows, receipt, durable, completed=len(windows))
        for window in windows:
            self.out.waiters.wait(window, ticket)
        return ticket


@pytest.fixture
def bench() -> Bench:
    return Bench()


def decided(name: str, *, journalled: bool = False, **fields: Any) -> Decided:
    values = np.zeros((2, 1), np.float32)
    window = Window(name, KEY, 0, values, 1.5, "device", 0.0, "m", "live", 9.0, **fields)
    return Decided(window, SAID, Placement("bridge", "why", firm=True), 0.0, journalled=journalled)


def test_a_message_answered_at_once_is_settled_after_its_results_pubacks(bench: Bench) -> None:
    ticket = bench.ticket("a", "b")
    bench.out.results([decided("a"), decided("b")])
    bench.out.settle([ticket])
    assert bench.out.waiters.waits_for("a")
    bench.acknowledged(0)
    assert bench.verdicts == []
    bench.acknowledged(1)
    assert bench.verdicts == [Verdict()]
    assert not bench.out.waiters.waits_for("a")
    assert bench.out.taken() == []


def test_a_message_in_the_journal_is_settled_at_once_and_once(bench: Bench) -> None:
    ticket = bench.ticket("a", durable=True)
    bench.out.results([decided("a", journalled=True)])
    bench.out.settle([ticket])
    assert len(bench.verdicts) == 1
    bench.acknowledged()
    assert len(bench.verdicts) == 1
    assert (bench.out.taken(), bench.out.taken()) == (["a"], [])


def test_who_wants_the_result_is_settled_with_it(bench: Bench) -> None:
    ticket = bench.ticket("a", durable=True, wants_result=True)
    bench.out.settle([ticket])
    assert bench.verdicts == []
    bench.out.results([decided("a", journalled=True)])
    assert [[one.id for one in verdict.results] for verdict in bench.verdicts] == [["a"]]


def test_of_two_windows_no_result_is_waited_for(bench: Bench) -> None:
    bench.out.settle([bench.ticket("a", "b", durable=True, wants_result=True)])
    assert [verdict.results for verdict in bench.verdicts] == [()]


def test_a_copy_is_settled_with_the_first(bench: Bench) -> None:
    bench.ticket("a")
    bench.ticket("a")
    bench.out.results([decided("a")])
    bench.acknowledged()
    assert len(bench.verdicts) == 2


@pytest.mark.parametrize("journalled", [False, True])
def test_a_result_that_the_broker_refused_is_handed_back_and_settled_when_it_is_safe(
    bench: Bench, *, journalled: bool
) -> None:
    ticket = bench.ticket("a")
    bench.out.results([decided("a", journalled=journalled)])
    bench.acknowledged(code=0x87)
    assert bench.counts["results_refused_by_broker"] == 1
    assert bench.out.taken() == []
    assert bench.verdicts == []
    ((saved, tickets),) = bench.out.refused_by_broker()
    assert saved.result.id == "a"
    assert tickets == [ticket]
    bench.out.settle(tickets)
    assert len(bench.verdicts) == 1
    assert bench.out.refused_by_broker() == []


def test_results_are_shown_to_coap_but_answers_to_infer_are_not(bench: Bench) -> None:
    bench.out.results([decided("a"), decided("b", reply_to="reply/me", correlation=b"c")])
    assert bench.shown == ["edge/v1/s/d/result/m"]
    assert [(one.topic, one.correlation) for one in bench.sent] == [("edge/v1/s/d/result/m", None), ("reply/me", b"c")]


def test_results_of_an_earlier_life_are_published_again_and_struck_from_the_journal(bench: Bench) -> None:
    bench.out.again([decided("a").saved(), decided("b", reply_to="reply/me", correlation=b"c").saved()])
    assert [(one.topic, one.correlation) for one in bench.sent] == [("edge/v1/s/d/result/m", None), ("reply/me", b"c")]
    assert bench.shown == ["edge/v1/s/d/result/m"]
    assert bench.out.waiters.waits_for("a")
    bench.acknowledged(0)
    assert bench.out.taken() == ["a"]


def test_who_waits_for_a_window_that_gets_no_result_is_handed_back(bench: Bench) -> None:
    ticket = bench.ticket("a")
    assert bench.out.waiters.forget("a") == [ticket]
    bench.out.refusals([Refusal(WHY, WHO, None, tickets=[ticket])], 0.0)
    bench.out.settle([ticket])
    assert bench.verdicts == []
    bench.acknowledged()
    assert len(bench.verdicts) == 1
    assert bench.out.waiters.forget("a") == []


def test_who_waits_over_coap_for_a_window_that_gets_no_result_is_answered_at_once(bench: Bench) -> None:
    ticket = bench.ticket("a", transient=True)
    ticket.refused = WHY
    bench.out.refusals([Refusal(WHY, WHO, None, tickets=bench.out.waiters.forget("a"))], 0.0)
    assert [verdict.refused for verdict in bench.verdicts] == [WHY]


def test_latency_runs_until_the_publish(bench: Bench) -> None:
    bench.out.results([decided("a")])
    assert decode_answer(bench.sent[0].payload, Result).latency_ms > 1e9  # it arrived in 1970


def test_a_refusal_is_settled_once_its_error_is_out(bench: Bench) -> None:
    bench.out.refusals([Refusal(WHY, WHO, bench.arrival())], 0.0)
    (error,) = bench.sent
    assert error.topic == "edge/v1/s/d/error"
    assert decode_answer(error.payload, Told) == Told("stale", "late", "x", 3)
    assert bench.verdicts == []
    bench.acknowledged()
    bench.acknowledged()
    assert [verdict.refused for verdict in bench.verdicts] == [WHY]


def test_a_coap_sender_is_answered_at_once(bench: Bench) -> None:
    bench.out.refusals([Refusal(WHY, WHO, bench.arrival(transient=True))], 0.0)
    assert [verdict.refused for verdict in bench.verdicts] == [WHY]
    assert len(bench.sent) == 1


def test_errors_beyond_the_rate_are_not_told_but_settled(bench: Bench) -> None:
    bench.out.refusals([Refusal(WHY, WHO, bench.arrival()) for _ in range(5)], 0.0)
    assert (len(bench.sent), len(bench.verdicts)) == (2, 3)


def test_a_refusal_of_nobody_is_settled_without_an_error(bench: Bench) -> None:
    bench.out.refusals([Refusal(WHY, None, bench.arrival())], 0.0)
    assert (bench.sent, len(bench.verdicts)) == ([], 1)


def test_who_asked_infer_gets_the_error_with_its_correlation(bench: Bench) -> None:
    bench.out.refusals([Refusal(WHY, None, bench.arrival(), "reply/me", b"c")], 0.0)
    assert [(one.topic, one.correlation) for one in bench.sent] == [("reply/me", b"c")]


def test_receipts_join_ranges_and_keep_series_apart(bench: Bench) -> None:
    other = SeriesKey("s", "d", "x", "f")
    spans = [((64, 99), KEY), ((0, 63), KEY), ((200, 201), KEY), ((5, 9), other)]
    bench.out.settle([bench.ticket(durable=True, receipt=True, rows=rows, key=key) for rows, key in spans])
    assert [(one.topic, decode_answer(one.payload, Receipt)) for one in bench.sent] == [
        ("edge/v1/s/d/receipt/x", Receipt("e", [(0, 99), (200, 201)])),
        ("edge/v1/s/d/receipt/x", Receipt("f", [(5, 9)])),
    ]


def test_a_receipt_has_at_most_64_ranges(bench: Bench) -> None:
    bench.out.settle([bench.ticket(durable=True, receipt=True, rows=(3 * n, 3 * n)) for n in range(MAX_RANGES + 6)])
    assert [len(decode_answer(one.payload, Receipt).safe) for one in bench.sent] == [MAX_RANGES, 6]


def test_no_receipt_where_none_was_asked_for_or_for_infer(bench: Bench) -> None:
    infer = SeriesKey("_infer", "_infer", "_infer", "e")
    bench.out.settle([bench.ticket(durable=True), bench.ticket(durable=True, receipt=True, key=infer)])
    assert (bench.sent, len(bench.verdicts)) == ([], 2)


async def test_it_waits_while_the_broker_takes_no_more(bench: Bench) -> None:
    bench.full = True
    waiting = asyncio.ensure_future(bench.out.room())
    await asyncio.sleep(0.06)
    assert not waiting.done()
    bench.full = False
    await asyncio.wait_for(waiting, 1.0)
