"""A program with the agent in it, killed again and again: real process, real Mosquitto, real bridge."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bridge import topics
from bridge.messages import Observation
from bridge.store.outbox import Limits, Outbox
from bridge.wire.data import decode_data
from bridge.wire.formats import of_payload
from tests.support.fleet import HOP, ROOT, SITE, STREAM, WINDOW, bridge_toml, free_udp_port
from tests.support.peers import Peer
from tests.support.programs import start_bridge
from tests.support.sensor import AT_ONCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
DEVICE = "d1"
KILLS = 4


class Lives:
    """Lives of one program; what it was told is accepted, of all of them."""

    def __init__(self, folder: Path, settings: str, *, pack: int = 8) -> None:
        self.state = folder / "state"
        self.accepted: list[int] = []
        self._folder = folder
        self._config = folder / "agent.toml"
        self._config.write_text(
            f'[agent]\nsite = "{SITE}"\ndevice = "{DEVICE}"\nreceipt_timeout = 1.0\n{settings}\n'
            f'[[streams]]\nname = "{STREAM}"\nsource = "program"\nrate = 200\n'
            f"rows_per_message = {pack}\nlongest_wait = 0.05\n"
        )

    def live(self, pairs: int, *, kill_after: int | None = None, between: bool = False) -> None:
        """One life; killed once so many pairs of rows were accepted in it, or between sending and keeping some."""
        command = [sys.executable, "-m", "tests.support.sensor", str(self._config), str(pairs)]
        command += ["between"] * between
        log = self._folder / "sensor.log"
        with log.open("ab") as err, subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=err, text=True
        ) as sensor:  # fmt: skip
            assert sensor.stdout is not None
            try:
                for number, line in enumerate(sensor.stdout):
                    if line != "left\n":
                        first, last = map(int, line.split())
                        self.accepted += range(first, last + 1)
                    if number == kill_after:
                        sensor.kill()
            finally:
                sensor.kill()
        if kill_after is None:
            assert sensor.returncode == (-signal.SIGKILL if between else 0), log.read_text()[-3000:]

    def kept(self) -> int:
        box = Outbox(self.state / f"agent-{SITE}-{DEVICE}.db", Limits(), tell=pytest.fail)
        try:
            return box.rows()
        finally:
            box.close()


def heard(peer: Peer) -> tuple[dict[int, float], set[int]]:
    """Rows that devices published, by number; each says its number, but the first pair of a life. Numbers unused."""
    found: dict[int, float] = {}
    unused: set[int] = set()
    epochs = set()
    for message in peer.received(topics.data(SITE, DEVICE, STREAM)):
        one = decode_data(message.payload, of_payload(message.payload))
        if not isinstance(one, Observation):  # rows that were sent and not accepted are told
            assert one.why == "unused"
            unused |= {row for first, last in one.ranges for row in range(first, last + 1)}
            continue
        assert one.seq is not None
        epochs.add(one.epoch)
        for number, row in enumerate(one.values.tolist(), one.seq):
            assert found.setdefault(number, row[0]) == row[0], "the same number for another row"
    assert len(epochs) == 1
    return found, unused


def test_killed_at_any_moment_it_loses_no_row_that_was_accepted(tmp_path: Path, mosquitto: RunningBroker) -> None:
    with start_bridge(tmp_path / "bridge", bridge_toml(mosquitto.url)), Peer(mosquitto.url, topics.DATA_FILTER) as peer:
        lives = Lives(tmp_path, f'url = "{mosquitto.url}"')
        for kill in range(KILLS):
            lives.live(2_000, kill_after=3 + 17 * kill)
        lives.live(100)
        found, unused = heard(peer)
    assert {*lives.accepted} <= found.keys()
    assert all(value in {number, -1.0} for number, value in found.items())
    assert list(found.values()).count(-1.0) == AT_ONCE * (KILLS + 1)
    assert {*range(max(found) + 1)} - found.keys() <= unused, "a number without a row"
    assert lives.kept() == 0


def test_over_both_ways_each_window_has_one_result_whatever_was_killed(
    tmp_path: Path, mosquitto: RunningBroker
) -> None:
    port = free_udp_port()
    results = topics.result(SITE, DEVICE, "activity")
    with start_bridge(tmp_path / "bridge", bridge_toml(mosquitto.url, coap=port)), Peer(mosquitto.url, results) as peer:
        lives = Lives(tmp_path, f'url = "{mosquitto.url}"\ncoap = "coap://127.0.0.1:{port}"')
        lives.live(2_000, kill_after=120)
        lives.live(2_000, kill_after=80)
        lives.live(150)
        rows = max(lives.accepted) + 1
        expected = list(range(0, rows - WINDOW + 1, HOP))
        peer.expect(results, len(expected))
        assert sorted({one.json["seq"] for one in peer.received(results)}) == expected
    assert lives.kept() == 0


def test_killed_between_sending_and_keeping_no_number_is_given_twice(tmp_path: Path, mosquitto: RunningBroker) -> None:
    with start_bridge(tmp_path / "bridge", bridge_toml(mosquitto.url)), Peer(mosquitto.url, topics.DATA_FILTER) as peer:
        lives = Lives(tmp_path, f'url = "{mosquitto.url}"\ncommit_wait = 0.0', pack=AT_ONCE)
        for _ in range(KILLS):
            lives.live(2_000, between=True)
        lives.live(100)
        found, unused = heard(peer)
    assert {*lives.accepted} <= found.keys()
    assert not unused & {*lives.accepted}
    assert len(unused) == KILLS * AT_ONCE, "what was to be sent in the moment of each kill"
    assert lives.kept() == 0
