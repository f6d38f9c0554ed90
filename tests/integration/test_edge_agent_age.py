"""The agent's program with `max_age`, killed while the computer's clock is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.store.outbox import Limits, Outbox
from tests.support.brokers import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
CLOCK = """import sys, time
real, off = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + off
from edge_agent.cli import main
sys.exit(main())
"""
DAY = 86_400


def live(folder: Path, rows: Sequence[int], *, clock: float) -> None:
    """Starts the agent with a clock that is wrong by so much, has it accept rows, and kills it."""
    command = [sys.executable, "-c", CLOCK, str(clock), "run", "--config", "agent.toml"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready {")
            process.stdin.write("".join(f"[{row}]\n" for row in rows))
            process.stdin.flush()
            while json.loads(process.stdout.readline())["accepted"][1] < rows[-1]:
                pass
        finally:
            process.send_signal(signal.SIGKILL)


def test_kill_9_in_the_first_seconds_with_a_wrong_clock_makes_no_row_old(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        f'[agent]\nsite = "s"\ndevice = "d1"\nurl = "mqtt://127.0.0.1:{free_port()}"\nmax_age = 3600\n'
        '[[streams]]\nname = "wrist"\nsource = "stdin"\nrate = 50\nconfirm = true\nrows_per_message = 10\n'
    )
    for life, clock in enumerate((-2 * DAY, -DAY, 0)):  # each looks for old rows before it takes new ones
        live(tmp_path, range(100 * life, 100 * life + 100), clock=clock)
    box = Outbox(tmp_path / "state" / "agent-s-d1.db", Limits(), tell=pytest.fail)
    (series,) = box.series()
    assert box.dropped() == []
    assert box.kept(series.id) == [(0, 299)]
    box.close()
