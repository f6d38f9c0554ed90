"""When a silent MQTT connection is asked, tried beside, and given up; with a clock that the test sets."""

from __future__ import annotations

import msgspec
import pytest

from bridge.link.events import TcpInfo
from bridge.tcp import Look
from edge_agent.vigil import (
    GONE,
    LEAST_PATIENCE,
    MARGIN,
    MOST_PATIENCE,
    NOTICE,
    UNKNOWN,
    Verdict,
    Vigil,
    margin,
    patience,
)

BOUND = 1.0  # seconds beside 3 round trips


class Silence:
    """A connection that owes an answer since 0 s, and a kernel that tells what the test wants."""

    def __init__(self, rtt: float = 0.05, *, leniency: float = 0.0, tells: bool = True) -> None:
        self.vigil = Vigil(leniency=leniency)
        info = TcpInfo(0.0, rtt, 0.0, segments=5, retransmitted=0)
        self.seen = Look(info, rtt, 0.0, segments_in=9, data_in=5, acked=100, held=0) if tells else None
        self.opened: float | None = None
        self.now = 0.0
        self.said: dict[Verdict, float] = {}
        self.vigil.look(0.0, self.seen, opened=None)
        self.vigil.owed(0.0)

    def arrives(self, *, segments: int = 0, data: int = 0, acked: int = 0, written: int = 0) -> None:
        assert self.seen is not None
        one = self.seen
        self.seen = msgspec.structs.replace(
            one,
            segments_in=one.segments_in + segments,
            data_in=one.data_in + data,
            acked=one.acked + acked,
            held=one.held + written - acked,
        )

    def until(self, end: float) -> dict[Verdict, float]:
        """Looks as often as it is due; tells when each verdict came first."""
        while self.now < end and "dead" not in self.said:
            due = self.vigil.due(self.now)
            if due is None or self.now + due > end:
                break
            self.now += due
            verdict = self.vigil.look(self.now, self.seen, opened=self.opened)
            if verdict != "wait":
                self.said.setdefault(verdict, self.now)
        return self.said


@pytest.mark.parametrize("rtt", [0.0, 0.05, 0.6, 2.0])
def test_a_broker_that_has_all_and_says_nothing_is_dead_within_the_bound(rtt: float) -> None:
    said = Silence(rtt).until(60.0)
    assert said["ask"] == pytest.approx(2 * rtt + MARGIN)
    assert said["ask"] < said["aside"] < said["dead"]
    assert 3 * rtt + NOTICE <= said["dead"] + 1e-9
    assert said["dead"] <= 3 * rtt + BOUND


@pytest.mark.parametrize("rtt", [0.0, 0.05, 0.6, 2.0])
def test_a_path_that_lost_one_connection_and_opens_another_at_once_shows_it_within_the_bound(rtt: float) -> None:
    silence = Silence(rtt)
    silence.arrives(written=50)  # never acknowledged
    silence.opened = silence.until(2 * rtt + 0.55)["aside"] + rtt
    assert silence.until(60.0)["dead"] <= 3 * rtt + BOUND


def test_a_silent_network_is_known_within_the_bound_but_the_connection_is_kept_for_ten_seconds() -> None:
    silence = Silence()
    silence.arrives(written=50)
    said = silence.until(60.0)
    assert said["mute"] <= 3 * 0.05 + BOUND
    assert 3 * 0.05 + GONE <= said["dead"] <= 3 * 0.05 + GONE + 0.11


def test_when_the_network_is_back_a_repetition_has_the_time_that_it_takes() -> None:
    silence = Silence()
    silence.arrives(written=50)
    assert "dead" not in silence.until(4.0)
    silence.opened = 4.0
    assert 5.05 <= silence.until(60.0)["dead"] <= 5.16, "one repetition each second, and a round trip"
    alive = Silence()
    alive.arrives(written=50)
    alive.until(4.0)
    alive.opened = 4.0
    alive.until(4.8)
    alive.arrives(segments=1, acked=50)
    assert "dead" not in alive.until(5.4)
    alive.vigil.heard(5.4, more=False)
    assert "dead" not in alive.until(60.0)


def test_a_broker_whose_kernel_came_back_alone_is_dead_a_little_later() -> None:
    silence = Silence()
    silence.arrives(written=50)
    silence.until(4.0)
    silence.arrives(segments=1, acked=50)
    assert 4.6 <= silence.until(60.0)["dead"] <= 4.0 + 0.05 + NOTICE


def test_segments_are_a_sign_of_life_while_ours_are_missing_and_bare_acknowledgements_of_all_are_not() -> None:
    lossy, deaf = Silence(), Silence()
    for one in (lossy, deaf):
        one.arrives(written=50)
        one.until(0.36)
        assert "ask" in one.said
    deaf.arrives(acked=50)
    for tenth in range(4, 40):
        for one in (lossy, deaf):
            one.arrives(segments=1)
            one.until(tenth / 10)
    assert "dead" not in lossy.said
    assert deaf.said["dead"] <= 3 * 0.05 + BOUND


def test_a_large_message_on_a_thin_link_is_not_silence() -> None:
    silence = Silence(0.2)
    silence.arrives(written=100_000)
    for tenth in range(1, 125):
        silence.arrives(segments=1, acked=800)
        silence.until(tenth / 10)
    assert "dead" not in silence.said


def test_what_is_answered_out_of_order_counts() -> None:
    silence = Silence()
    for tenth in range(1, 40):
        silence.arrives(segments=1, data=1)
        silence.until(tenth / 10)
    assert "dead" not in silence.said


def test_nothing_owed_is_no_silence() -> None:
    silence = Silence()
    silence.vigil.heard(0.04, more=False, took=0.04)
    assert silence.vigil.due(0.1) is None
    assert silence.vigil.silent(9.0) == 0.0
    silence.vigil.excuse(1.0)
    assert silence.vigil.look(9.0, silence.seen, opened=None) == "wait"
    silence.vigil.owed(10.0)
    silence.vigil.owed(11.0)
    assert silence.vigil.silent(11.0) == 1.0
    silence.vigil.heard(12.0, more=True)
    assert silence.vigil.silent(12.5) == 0.5


def test_a_broker_that_takes_its_time_gets_it() -> None:
    slow, quick = Silence(), Silence()
    slow.vigil.heard(0.0, more=True, took=0.5)
    slow.vigil.heard(0.0, more=True, took=0.5)
    quick.vigil.heard(0.0, more=True, took=0.01)
    assert slow.until(60.0)["dead"] >= 3 * 0.5 + NOTICE
    assert quick.until(60.0)["dead"] <= 3 * 0.05 + BOUND


def test_leniency_and_our_own_hold_ups_put_it_off() -> None:
    assert Silence(leniency=4.0).until(60.0)["dead"] == pytest.approx(3 * 0.05 + NOTICE + 4.0, abs=0.02)
    late = Silence()
    late.vigil.excuse(3.0)
    assert late.until(60.0)["dead"] == pytest.approx(3 * 0.05 + NOTICE + 3.0, abs=0.02)


def test_without_a_kernel_that_tells_the_other_connection_decides() -> None:
    silence = Silence(tells=False)
    silence.vigil.heard(0.0, more=True)
    assert silence.vigil.round_trip == UNKNOWN
    silence.vigil.heard(0.0, more=True, took=0.1)
    assert "dead" not in silence.until(5.0)
    assert silence.until(60.0)["dead"] == pytest.approx(3 * 0.1 + GONE, abs=0.11)


def test_the_kernels_patience_follows_the_round_trip_between_its_bounds() -> None:
    assert patience(0.0, 0.0) == LEAST_PATIENCE
    assert patience(0.6, 0.05) == pytest.approx(LEAST_PATIENCE + 8.0)
    assert patience(30.0, 1.0) == MOST_PATIENCE
    assert LEAST_PATIENCE > GONE


def test_a_retransmission_comes_a_round_trip_late_but_neither_before_delayed_answers_nor_after_linux_own_time() -> None:
    assert [margin(least) for least in (0.0, 0.05, 0.12, 0.6)] == [0.05, 0.05, 0.12, 0.2]
