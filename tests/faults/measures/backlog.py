"""An hour of backlog drains while live readings go on: ten streams at 50 rows/s of one real agent, Mosquitto, bridge.

First, for half a minute, the agent goes on with nothing behind it: that is normal. Then an agent with the same streams
starts that was cut off for an hour: 1.8 million rows in its outbox, written through the real one with past times. Its
source goes on meanwhile in its own time. A window is *live* if all its rows were accepted in this life of the agent;
its freshness is the time from its last row's acceptance (the agent's confirmation on stdout) to its Result at a
subscriber of its own. Seconds in which rows wait for their message to fill (25 rows, the default) are part of it;
the rest is told beside it.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tests.benchmarks.rows import Row
from tests.faults.measures import hour
from tests.faults.measures.hour import DEVICE, HOUR, PER_MESSAGE, STREAMS
from tests.faults.measures.sight import HOP, WINDOW, Sight
from tests.faults.measures.witness import Witness
from tests.support.brokers import start_mosquitto
from tests.support.programs import command, start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN = 90.0  # s in which the first windows of a running series are answered
SETTLE = 3.0  # seconds after the first Results that count in neither phase: connecting, first batches
NORMAL = 30.0  # seconds of the normal phase
PATIENCE = 420.0  # seconds that the backlog may take
TAIL = 30.0  # seconds that the last live windows may take after it
FRESH, MEMORY = 1.2, 1.1  # the bounds asked for
BROKER = "set_tcp_nodelay true\nmax_inflight_messages 200\nmax_queued_messages 100000"  # as config/mosquitto has them
BRIDGE = """
[bridge]
id = "gw-1"
log_level = "warning"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[coap]
enabled = false
"""
ROUTE = """
[[routes]]
stream = "{name}"
model = "activity"
place = "bridge"
"""


class Phase(msgspec.Struct, frozen=True):
    """What was seen in one phase.

    Attributes:
        fresh: seconds from a live window's last row to its Result.
        sent: the same from the last row of its message.
        rss: greatest resident memory of agent and bridge, bytes.
    """

    fresh: list[float]
    sent: list[float]
    rss: dict[str, int]


class Drain(msgspec.Struct, frozen=True):
    """What became of the backlog.

    Attributes:
        seconds: from the agent's start to the last Result of the backlog; None: not all of it came.
        windows: that should have come, backlog, seam and live.
        missing: of these.
        contradicted: windows with two Results that differ.
        repeated: Results that came twice and said the same.
        kept: rows of the backlog that the agent still keeps at the end.
    """

    seconds: float | None
    windows: int
    missing: int
    contradicted: int
    repeated: int
    kept: int


def measure(folder: Path, *, normal: float = NORMAL, patience: float = PATIENCE) -> list[Row]:
    """The normal phase, then the backlog.

    Args:
        folder: for files; needs half a gigabyte.
        normal: seconds of the normal phase.
        patience: seconds that the backlog may take.
    """
    recording = folder / "recording.npz"
    hour.record(recording)
    for name in ("normal", "cut-off"):
        hour.fill(folder / name, recording, kept=name == "cut-off")
    routes = "".join(ROUTE.format(name=name) for name in STREAMS)
    with (
        start_mosquitto(folder / "mosquitto", extra=BROKER) as broker,
        start_bridge(folder / "bridge", BRIDGE.format(port=broker.port) + routes) as bridge,
    ):
        watch = {"bridge": bridge.pid}
        with _agent(folder / "normal", recording, broker.port) as agent:
            witness = Witness(broker.port, agent, watch | {"agent": agent.pid}, Sight())
            before = _normal(witness, normal)
        with _agent(folder / "cut-off", recording, broker.port) as agent:
            backlog = {(name, seq) for name in STREAMS for seq in range(0, HOUR - WINDOW + 1, HOP)}
            witness = Witness(broker.port, agent, watch | {"agent": agent.pid}, Sight(backlog))
            during, drain = _drain(witness, patience)
    return judge(before, during, msgspec.structs.replace(drain, kept=hour.left(folder / "cut-off")))


@contextmanager
def _agent(folder: Path, recording: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real agent; ended by SIGTERM, so that it closes its outbox."""
    config = folder / "edge_agent.toml"
    config.write_text(hour.agent_toml(recording, port))
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [command("edge-agent"), "run", "--config", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, cwd=folder, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield agent
    except BaseException:
        agent.kill()
        raise
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.stdout is not None
        agent.stdout.read()  # else it may wait for us
        agent.wait(20)
        agent.stdout.close()


def _normal(witness: Witness, seconds: float) -> Phase:
    """A bridge that knows nothing of a running series waits once for what may come before it: `gap_receipts`."""
    sight = witness.sight
    if not witness.watch(lambda: len({stream for stream, _ in sight.arrived}) == len(STREAMS), BEGIN):
        raise TimeoutError(f"not every stream of {DEVICE} is answered: {len(sight.arrived)} windows")
    since = _settled(witness)
    witness.look_on(seconds)
    until = time.monotonic()
    witness.look_on(1.0)  # what was complete by then is answered
    witness.close()
    return _phase(witness, since, until)


def _drain(witness: Witness, patience: float) -> tuple[Phase, Drain]:
    sight, begun = witness.sight, time.monotonic()
    since = _settled(witness)
    done = witness.watch(lambda: not sight.left, patience)
    until = time.monotonic()
    seconds = max(came for (_, seq), came in sight.arrived.items() if seq + WINDOW <= HOUR) - begun if done else None
    due = sight.due()
    witness.watch(lambda: due <= sight.arrived.keys(), TAIL if done else 0.0)
    witness.close()
    missing = len(due - sight.arrived.keys())
    return _phase(witness, since, until), Drain(seconds, len(due), missing, sight.contradicted, sight.repeated, 0)


def _settled(witness: Witness) -> float:
    """When every stream has accepted rows, and a little more."""
    if not witness.watch(lambda: len(witness.sight.ends()) == len(STREAMS), 60.0):
        raise TimeoutError(f"not every stream of {DEVICE} accepts rows: {witness.sight.ends()}")
    witness.look_on(SETTLE)
    return time.monotonic()


def _phase(witness: Witness, since: float, until: float) -> Phase:
    fresh, sent = witness.sight.freshness(HOUR, since, until, PER_MESSAGE)
    return Phase(fresh, sent, {name: max(samples) for name, samples in witness.rss.items()})


def p95(figures: list[float]) -> float:
    """95th percentile; infinite for fewer than two."""
    return statistics.quantiles(figures, n=20, method="inclusive")[-1] if len(figures) > 1 else float("inf")


def judge(before: Phase, during: Phase, drain: Drain) -> list[Row]:
    """The rows of both phases."""
    total = HOUR * len(STREAMS)
    rows = [
        _row("backlog-live", "p95 of live readings while an hour drains, of normal",
             p95(during.fresh) / p95(before.fresh), FRESH, _told(before, during), [before, during]),
    ]  # fmt: skip
    for who in ("agent", "bridge"):
        mib = [phase.rss[who] / (1 << 20) for phase in (before, during)]
        rows.append(
            _row(f"backlog-memory-{who}", f"greatest memory of the {who} while an hour drains, of normal",
                 mib[1] / mib[0], MEMORY, f"{mib[0]:.1f} → {mib[1]:.1f} MiB")
        )  # fmt: skip
    took = "not drained" if drain.seconds is None else f"{drain.seconds:.1f} s, {total / drain.seconds:,.0f} rows/s"
    contradicted = f", {drain.contradicted} with two that differ" if drain.contradicted else ""
    rows += [
        _row(
            "backlog-missing",
            "windows of backlog and live without exactly one effective Result",
            drain.missing + drain.contradicted,
            0,
            f"of {drain.windows:,}{contradicted}; backlog {took}; {drain.repeated} repeats",
            drain,
            unit="windows",
        ),
        _row("backlog-kept", "rows of the backlog that the agent still keeps", drain.kept, 0, unit="rows"),
    ]
    return rows


def _told(before: Phase, during: Phase) -> str:
    figures = [f"{p95(phase.fresh) * 1e3:.0f} ms of {len(phase.fresh)}" for phase in (before, during)]
    sent = [f"{p95(phase.sent) * 1e3:.1f}" for phase in (before, during)]
    return f"{figures[0]} → {figures[1]}; after the message is full {sent[0]} → {sent[1]} ms"


def _row(
    name: str, measure: str, figure: float, bound: float, note: str = "", raw: Any = None, *, unit: str = "×"
) -> Row:
    return Row(
        name=name, measure=measure, figure=figure, low=figure, high=figure, unit=unit, bound=bound, sense="at most",
        note=note, raw=raw,
    )  # fmt: skip
