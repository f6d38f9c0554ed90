"""The instruments beside the judge: accounts compared, schedules kept, ways slowed, and one fault from end to end."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pytest

from bridge import topics
from bridge.messages import SeriesKey, window_id
from bridge.wire.offload import Asking, Question, Reply, encode_asking, encode_replies
from tests.place import real
from tests.place.real import cloud
from tests.place.real.accounts import Account, disagreements
from tests.place.real.judge import Heard, Sent
from tests.place.real.killed import UnderWay
from tests.place.real.paths import SlowRelay
from tests.place.real.provisional import Seen, judged, unfinished
from tests.place.real.test_judge import final, first, heard
from tests.place.real.traffic import PACK, ROWS, WHOLE, Source, Stream, rows_of
from tests.support.fleet import HOP, MODEL, SITE, WINDOW
from tests.support.programs import ProgramDidNotStartError
from tests.support.standin import Seen as Packet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.place.rows import Row

SEEN = {"d0": Account("rows", 10, 3, complete=True), "d1": Account("whole", 10, 2, complete=True)}


def told(**more: Any) -> dict[str, Any]:
    part = {"windows": 10, "answered": 10, "provisional": 3, "waiting": 0}
    part |= {name: more.pop(name) for name in list(part) if name in more}
    whole = {"site": "ward", "device": "d1", "stream": "whole", "whole": {"answered": 10, "provisional": 2}}
    return {
        "adds_up": True,
        "problems": [],
        "series": [{"device": "d0", "bridges": {"gw-1": part}}],
        "streams": [{"bridge": "gw-1", "account": whole}],
        **more,
    }


def test_a_ledger_that_says_what_was_seen_agrees() -> None:
    assert disagreements(told(), 0, SEEN, "gw-1") == []


@pytest.mark.parametrize("other", [{"windows": 9}, {"answered": 9}, {"provisional": 4}, {"waiting": 1}])
def test_each_figure_is_compared(other: dict[str, int]) -> None:
    ((name, count),) = other.items()
    assert disagreements(told(**other), 0, SEEN, "gw-1") == [
        f"d0: {name} {count}, seen { {'windows': 10, 'answered': 10, 'provisional': 3, 'waiting': 0}[name] }"
    ]


def test_an_earlier_life_excuses_what_only_the_present_one_counts() -> None:
    earlier = {"d0": Account("rows", 10, 3, complete=False)}
    assert disagreements(told(answered=1, provisional=0), 0, earlier, "gw-1") == []
    assert disagreements(told(windows=9), 0, earlier, "gw-1") == ["d0: windows 9, seen 10"]


def test_a_ledger_that_is_silent_or_does_not_add_up() -> None:
    assert disagreements(told(series=[]), 0, SEEN, "gw-1") == ["says nothing of d0"]
    assert disagreements(told(streams=[]), 0, SEEN, "gw-1") == ["says nothing of d1"]
    assert disagreements(told(adds_up=False), 1, SEEN, "gw-1")[0].startswith("does not add up")


def test_provisional_results_without_a_final() -> None:
    assert unfinished([first("a", 1.0), first("b", 1.0), heard("c", 1.0), final("a", 2.0)]) == {"b"}


def lived(*said: Heard, **more: Any) -> Seen:
    """Two windows of a row stream and one whole window, all in the bridge's present life."""
    windows = [Sent(name, device, 0.0, "walk", 0.9) for name, device in (("a", "d0"), ("b", "d0"), ("c", "d1"))]
    part = {"windows": 2, "answered": 2, "provisional": 1, "waiting": 0}
    whole = {"device": "d1", "whole": {"answered": 1, "provisional": 1}}
    usual = Seen(
        sent=windows,
        heard=list(said),
        lives=[],
        open=[1, 2],
        devices={"d0": ROWS, "d1": WHOLE},
        fresh={"d0", "d1"},
        ledger=told(**part, streams=[{"bridge": "gw-1", "account": whole}]),
        code=0,
    )
    return msgspec.structs.replace(usual, **more)


def test_provisional_results_that_are_all_right() -> None:
    said = [first("a", 0.5), heard("b", 0.1), first("c", 0.2), final("c", 3.4), final("a", 2.9)]
    assert {one.name: one.passed for one in judged(lived(*said))} == {
        "provisional-one-final-rows": True,
        "provisional-one-final-whole": True,
        "provisional-by-deadline": True,
        "provisional-answered": True,
        "provisional-ledger": True,
        "provisional-killed": True,
    }


@pytest.mark.parametrize(
    ("said", "more", "short"),
    [
        ([first("a", 0.5), heard("b", 0.1), final("a", 3.1)], {}, "provisional-one-final-rows"),
        ([first("c", 0.2), final("c", 1.0), final("c", 1.1, label="run")], {}, "provisional-one-final-whole"),
        ([heard("c", 0.6)], {}, "provisional-by-deadline"),
        ([heard("a", 0.1)], {}, "provisional-answered"),
        ([heard("a", 0.1)], {}, "provisional-ledger"),
        ([], {"open": [3, 0]}, "provisional-killed"),
    ],
)
def test_each_row_of_provisional_results_can_fall_short(said: list[Heard], more: dict[str, Any], short: str) -> None:
    assert short in {one.name for one in judged(lived(*said, **more)) if not one.passed}


# ---- what is sent


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def source(server: socket.socket, stream: Stream) -> Source:
    url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
    return Source(url, "d0", stream, count=5, number=1, due=lambda window: 10.0 + window)


def test_the_last_row_of_each_window_leaves_when_it_is_due(server: socket.socket) -> None:
    rows, whole = source(server, ROWS), source(server, WHOLE)
    assert len(rows.messages) == (WINDOW + 4 * HOP) / PACK
    assert len(whole.messages) == 5
    for number in range(5):
        assert rows._when(rows._last(number * HOP)) == 10.0 + number
        assert whole._when(whole._last(number * HOP)) == 10.0 + number
    times = [rows._when(first) for first, _ in rows.messages]
    assert times == sorted(times)


def test_windows_not_sent_are_not_expected(server: socket.socket) -> None:
    rows = source(server, ROWS)
    assert rows.sent == []
    rows._left = {first: float(first) for first, _ in rows.messages[:4]}
    assert [one.at for one in rows.sent] == [WINDOW - PACK]
    rows._left |= {first: float(first) for first, _ in rows.messages}
    key = SeriesKey(SITE, "d0", ROWS, "e1")
    assert [one.id for one in rows.sent] == [window_id(key, number * HOP, MODEL) for number in range(5)]


def test_sources_send_other_recordings() -> None:
    assert not np.array_equal(rows_of(0, 1_000), rows_of(1, 1_000))
    assert len(rows_of(0, 200_000)) == 200_000


# ---- ways


def test_a_slow_way_is_slow_one_way(server: socket.socket) -> None:
    with SlowRelay(server.getsockname()[1]) as relay, socket.create_connection(("127.0.0.1", relay.port)) as near:
        near.settimeout(10)
        far, _ = server.accept()
        with far:
            far.settimeout(10)
            relay.delay = 0.5
            begin = time.monotonic()
            near.sendall(b"question")
            far.sendall(b"at once")
            assert near.recv(64) == b"at once"
            assert select.select([far], [], [], 0)[0] == []
            assert far.recv(64) == b"question"
            assert time.monotonic() - begin >= 0.5
            near.close()
            assert far.recv(64) == b""


def packet(kind: Literal["came", "sent"], topic: str, payload: bytes) -> Packet:
    return Packet(kind, topic, payload, 0.0)


def test_questions_under_way_are_those_without_a_reply() -> None:
    values = np.zeros((2, 3), np.float32)
    questions = [Question(name, MODEL, values, 1.0) for name in "abcd"]
    seen = [
        packet("came", topics.escalate(MODEL), encode_asking(Asking(questions))),
        packet("sent", topics.reply("gw-1"), encode_replies([Reply("a", "gpu-1", "walk", 0.9)])),
    ]
    under_way = UnderWay(seen)
    assert under_way.count() == 3
    seen.append(packet("came", topics.escalate(MODEL, "gpu-1"), encode_asking(Asking([], ["b"]))))
    assert under_way.count() == 2
    under_way.forget()
    assert under_way.count() == 0


# ---- from end to end


def test_a_part_that_cannot_be_measured_falls_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_folder: Path) -> list[Row]:
        raise ProgramDidNotStartError("no ready line")

    monkeypatch.setattr(real, "PARTS", {"cloud": fails})
    (found,) = real.rows(tmp_path)
    assert (found.name, found.passed, found.note) == ("cloud-measured", False, "no ready line")


@pytest.mark.real
@pytest.mark.timeout(90)
def test_a_cloud_that_dies(tmp_path: Path) -> None:
    seen = cloud.run("dead", tmp_path, seconds=3.0)
    rows = cloud.judged("dead", seen)
    assert [one.name for one in rows] == ["cloud-dead-answered", "cloud-dead-in-time", "cloud-dead-open"]
    assert rows[0].passed, rows[0]
    assert {one.tier for one in seen.heard} == {"bridge", "cloud"}, "the fault came before or after everything"
    assert len(seen.sent) == pytest.approx(3.0 * cloud.RATE, abs=8)
