"""The laboratory in real namespaces: needs root and /dev/net/tun, which no package brings; skipped without them."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.netlab import lab, namespaces, record
from tests.netlab.child import ChildFailedError
from tests.netlab.contestants import Command, Load
from tests.netlab.entrants import CONTESTANTS
from tests.netlab.rivals import Ruler
from tests.netlab.scenarios import SCENARIOS, Scenario, link
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.netlab.contestants import Run

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("clean")]
RATE = 200.0
EDGE = 0.05  # s: handed over so shortly before a change, a packet may meet it


@pytest.fixture
def clean() -> Iterator[None]:
    """A laboratory is possible, and the test leaves nothing behind."""
    if why := namespaces.why_not():
        pytest.skip(why)
    yield
    assert ours() == []


def ours() -> list[str]:
    return [path.name for path in namespaces.NETNS.glob(f"nl{os.getpid()}x*")]


async def test_datagrams_meet_delay_loss_and_outage(tmp_path: Path) -> None:
    share, lossy, gone, over = 0.3, 1.0, 3.0, 4.0
    scenario = Scenario(
        name="test", about="", rate=RATE, least=5.0,
        stages=(link(rtt=50), link(lossy, rtt=50, loss=share), link(gone, rtt=50, outage=True), link(over, rtt=80)),
    )  # fmt: skip
    outcome = await lab.measure(scenario, Ruler(), seed=3, messages=0, folder=tmp_path / "run")
    found = record.join(tmp_path / "run" / "sent", tmp_path / "run" / "arrived")
    assert (
        len(found.latency) == outcome.figures.messages == outcome.link.up.packets == outcome.link.carrying == 5 * RATE
    )
    assert found.duplicates == 0
    assert outcome.figures.lost == outcome.link.up.lost
    arrived = found.latency[found.latency < math.inf]
    assert arrived.min() >= 0.025

    at = found.handed - outcome.start
    part = {
        begin: found.latency[(at >= begin) & (at < end - EDGE)]
        for begin, end in ((0.0, lossy), (lossy, gone), (gone, over), (over, math.inf))
    }
    lost = {begin: int((latency == math.inf).sum()) for begin, latency in part.items()}
    assert lost[0.0] == lost[over] == 0
    assert lost[gone] == len(part[gone])
    count = len(part[lossy])
    assert abs(lost[lossy] - share * count) < 4 * math.sqrt(count * share * (1 - share))
    assert part[over].min() >= 0.040


async def test_the_same_seed_loses_the_same(tmp_path: Path) -> None:
    """But for what a busy machine sends 10 ms late, after its slot of `model.SLOT`."""
    scenario = Scenario(name="test", about="", rate=50.0, stages=(link(rtt=2, loss=0.2),))
    runs = [
        await lab.measure(scenario, Ruler(), seed=seed, messages=100, folder=tmp_path / str(n))
        for n, seed in enumerate((7, 7, 8))
    ]
    lost = [
        record.join(tmp_path / str(n) / "sent", tmp_path / str(n) / "arrived").latency == math.inf for n in range(3)
    ]
    assert (lost[0] != lost[1]).sum() <= 4
    assert (lost[0] != lost[2]).sum() >= 15
    assert runs[0].figures.lost == int(lost[0].sum())


@pytest.mark.parametrize("name", CONTESTANTS)
async def test_every_contestant_delivers_on_a_clean_link(name: str, tmp_path: Path) -> None:
    require_tool("mosquitto")
    outcome = await lab.measure(SCENARIOS["lan"], CONTESTANTS[name], seed=1, messages=20, folder=tmp_path / "run")
    assert (outcome.figures.messages, outcome.figures.lost, outcome.figures.duplicates) == (20, 0, 0)
    assert outcome.link.carrying >= 20


class Broken(Ruler):
    """Its device dies, or never ends."""

    def __init__(self, code: str) -> None:
        self._code = code

    def load(self, scenario: Scenario, messages: int) -> Load:
        return Load(scenario.rate, messages)

    def device(self, run: Run) -> Command:
        return Command([sys.executable, "-c", f"print('ready', flush=True); {self._code}; {run.seed}"])


async def test_a_contestant_that_fails_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ChildFailedError, match=r"(?s)exit code 3.*why it died"):
        await lab.measure(
            SCENARIOS["lan"], Broken("import sys; print('why it died', file=sys.stderr); sys.exit(3)"), seed=1,
            messages=1, folder=tmp_path / "run",
        )  # fmt: skip


async def test_a_run_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    hangs = Broken(f"open({str(tmp_path / 'hangs')!r}, 'w'); import time; time.sleep(1e3)")
    task = asyncio.create_task(lab.measure(SCENARIOS["lan"], hangs, seed=1, messages=1, folder=tmp_path / "run"))
    async with asyncio.timeout(20):
        while not (tmp_path / "hangs").exists():  # noqa: ASYNC110 # another process makes it
            await asyncio.sleep(0.01)
    assert len(ours()) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_a_dead_run_left_is_found_and_removed() -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    name = f"nl{dead.pid}x0d"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with subprocess.Popen(["ip", "netns", "exec", name, "sleep", "1000"]) as inside, namespaces.pair() as mine:
        try:
            assert name in namespaces.left_behind()
            assert mine.device.name not in namespaces.left_behind()
        finally:
            namespaces.remove(name)
        inside.wait(5)
    assert name not in namespaces.left_behind()
