"""Since when `watch` asks a bridge after it was away: by the bridge's clock."""

from __future__ import annotations

from bridge.watch import MARGIN, Gaps


def test_without_a_gap_nobody_is_asked() -> None:
    gaps = Gaps()
    gaps.lost(50.0)  # the broker was not there yet
    gaps.connected()
    assert gaps.heard("a", 100.0) is None
    assert gaps.heard("a", 105.0) is None


def test_after_a_gap_each_bridge_is_asked_once_since_its_last_word() -> None:
    gaps = Gaps()
    gaps.connected()
    gaps.heard("a", 100.0)
    gaps.heard("a", 105.0)
    gaps.heard("b", 7.0)
    gaps.lost(1e9)
    gaps.connected()
    assert gaps.heard("a", 160.0) == 105.0 - MARGIN
    gaps.asked("a")
    assert gaps.heard("a", 165.0) is None
    assert gaps.heard("b", 60.0) == 7.0 - MARGIN


def test_a_gap_within_a_gap_asks_since_the_first() -> None:
    gaps = Gaps()
    gaps.connected()
    gaps.heard("a", 100.0)
    for _ in range(3):
        gaps.lost(1e9)
        gaps.connected()
    assert gaps.heard("a", 160.0) == 100.0 - MARGIN
    gaps.lost(1e9)  # before it could be asked
    gaps.connected()
    assert gaps.heard("a", 170.0) == 100.0 - MARGIN


def test_a_bridge_not_heard_of_is_asked_by_our_clock() -> None:
    gaps = Gaps()
    gaps.connected()
    gaps.lost(1_000.0)
    gaps.connected()
    assert gaps.heard("new", 5_000.0) == 1_000.0 - MARGIN
