"""The instruments: they see what is there, and would see what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from bridge.store.outbox import Limits, Outbox
from tests.faults.measures import backlog, hour, ingest
from tests.faults.measures.backlog import Drain, Phase
from tests.faults.measures.sight import Seen, Sight

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.rows import Row

RESULT = Seen("id-1", "s0", 0, "e", "walk", 0.9)
PHASE = Phase([0.1, 0.2, 0.3], [0.01, 0.02, 0.03], {"agent": 100, "bridge": 100})
DRAIN = Drain(10.0, 100, 0, 0, 0, 0)


def sight(*results: Seen) -> Sight:
    made = Sight({("s0", 0), ("s0", 64)})
    for number, result in enumerate(results):
        made.answered(msgspec.json.encode(result), float(number))
    return made


def test_the_first_final_result_counts_and_others_are_compared_with_it() -> None:
    other = msgspec.structs.replace(RESULT, label="run")
    seen = sight(msgspec.structs.replace(RESULT, provisional=True), RESULT, RESULT, other)
    assert (seen.arrived, seen.left) == ({("s0", 0): 1.0}, {("s0", 64)})
    assert (seen.repeated, seen.contradicted) == (1, 1)


def test_a_window_of_another_epoch_contradicts() -> None:
    assert sight(RESULT, msgspec.structs.replace(RESULT, epoch="e2", id="id-2")).contradicted == 1


def test_freshness_is_from_the_last_row_and_beside_it_from_the_messages() -> None:
    seen = Sight()
    for row, at in ((126, 1.0), (127, 2.0), (149, 3.0), (191, 4.0), (199, 5.0)):
        seen.confirmed(b'{"stream":"s0","epoch":"e","accepted":[0,%d]}' % row, at)
    seen.confirmed(b"ready {}", 6.0)
    for seq, at in ((0, 3.5), (64, 5.5)):
        seen.answered(msgspec.json.encode(msgspec.structs.replace(RESULT, seq=seq)), at)
    assert seen.freshness(0, 0.0, 9.0, 25) == ([1.5, 1.5], [0.5, 0.5])
    assert seen.freshness(1, 0.0, 9.0, 25) == ([1.5], [0.5])
    assert seen.freshness(0, 0.0, 3.0, 25) == ([1.5], [0.5])
    assert seen.due() == {("s0", 0), ("s0", 64)}


def test_an_hour_is_what_the_agent_would_have_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hour, "HOUR", 1_000)
    monkeypatch.setattr(hour, "LIVE", 100)
    recording = tmp_path / "recording.npz"
    hour.record(recording)
    hour.fill(tmp_path / "kept", recording, kept=True)
    hour.fill(tmp_path / "released", recording, kept=False)
    assert (hour.left(tmp_path / "kept"), hour.left(tmp_path / "released")) == (10_000, 0)
    values = np.load(recording)["values"]
    for folder in ("kept", "released"):
        box = Outbox(hour.store(tmp_path / folder), Limits(), tell=pytest.fail)
        assert {(one.next, one.stream, one.epoch) for one in box.series()} == {
            (1_000, name, f"{box.store}.0.recording") for name in hour.STREAMS
        }
        pieces = list(box.read(3, 0, 2_000))
        box.close()
        if folder == "kept":
            np.testing.assert_array_equal(np.concatenate([piece.values for piece in pieces]), values[:1_000])
            assert {len(piece.values) for piece in pieces} <= {1, 2, 3}


def verdicts(rows: list[Row]) -> dict[str, bool]:
    return {row.name: row.passed for row in rows}


@pytest.mark.parametrize(
    ("during", "drain", "short"),
    [
        (PHASE, DRAIN, set()),
        (msgspec.structs.replace(PHASE, fresh=[0.1, 0.2, 0.5]), DRAIN, {"backlog-live"}),
        (msgspec.structs.replace(PHASE, fresh=[]), DRAIN, {"backlog-live"}),
        (msgspec.structs.replace(PHASE, rss={"agent": 112, "bridge": 100}), DRAIN, {"backlog-memory-agent"}),
        (msgspec.structs.replace(PHASE, rss={"agent": 100, "bridge": 112}), DRAIN, {"backlog-memory-bridge"}),
        (PHASE, msgspec.structs.replace(DRAIN, missing=1), {"backlog-missing"}),
        (PHASE, msgspec.structs.replace(DRAIN, contradicted=1), {"backlog-missing"}),
        (PHASE, msgspec.structs.replace(DRAIN, kept=1), {"backlog-kept"}),
        (PHASE, msgspec.structs.replace(DRAIN, seconds=None, missing=1), {"backlog-missing"}),
    ],
)
def test_what_falls_short_is_named(during: Phase, drain: Drain, short: set[str]) -> None:
    assert {name for name, passed in verdicts(backlog.judge(PHASE, during, drain)).items() if not passed} == short


def test_ingest_is_measured_all_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny runs; each verifies that what was accepted is there."""
    for name, count in (("GROUPED", 10_240), ("SINGLY", 20), ("LONELY", 20)):
        monkeypatch.setattr(ingest, name, count)
    rows = ingest.measure(tmp_path, rounds=1)
    assert [row.name for row in rows] == ["ingest-commits", "ingest-durable"]
    assert all(row.figure > 0 for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_ingest_would_notice_a_reading_that_is_not_there(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "a.db", Limits(), tell=pytest.fail)
    with pytest.raises(ingest.NotDurableError, match="2 readings accepted, 0 held"):
        ingest._close(box, tmp_path / "a.db", 2)
