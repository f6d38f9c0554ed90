"""What a run is worth, whether a window was answered twice, what memory programs took, and what an agent told."""

from __future__ import annotations

import concurrent.futures
import io
import json
import logging
import math
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from bridge.link import utility
from edge_agent.choice import COMPUTING
from tests.netlab import computing, emulator, lab, memory, ours, priority, record, traffic, usefulness
from tests.netlab.child import Child, ChildFailedError
from tests.netlab.consumer_results import Results
from tests.netlab.entrants import CONTESTANTS, DEFAULT, enters
from tests.netlab.log import Log
from tests.netlab.ours_device import Ear, rows_of
from tests.netlab.record import Deliveries
from tests.netlab.scenarios import SCENARIOS, link
from tests.netlab.stdin_device import Ear as PipeEar
from tests.netlab.stdin_device import lines_of
from tests.netlab.told import Told
from tests.netlab.traffic import Task

if TYPE_CHECKING:
    from pathlib import Path

WISH = {"wanted": 0.05, "reference": 1_000.0, "budget": 0.01}


def test_p95_of_each_second_counts_the_lost_and_skips_seconds_without_messages() -> None:
    handed = np.array([*np.arange(20) / 20, 2.0, 2.5])
    late = np.array([n / 1e3 for n in range(1, 20)] + [math.inf, 0.1, math.inf])
    assert record.p95_by_second(Deliveries(handed, late, 0), 0.0) == [pytest.approx(0.019), None, math.inf]


def test_utility_of_each_second_is_the_agents_own_formula() -> None:
    found = usefulness.by_second([0.04, 0.1, math.inf], [1_000, 500], [0.0, 0.02, 0.0], [0.0, 0.0, 0.001], **WISH)
    assert found == [
        utility(0.04, wanted=0.05, bytes_s=1_000, reference=1_000),
        utility(0.1, wanted=0.05, bytes_s=500, reference=1_000, cost=0.02, budget=0.01),
        utility(math.inf, wanted=0.05, bytes_s=0, reference=1_000, computing=0.001),
    ]


def test_who_sends_less_than_a_message_a_second_does_not_pay_for_one_each_second() -> None:
    found = usefulness.by_second([0.04, None, None, 0.04], [300, 0, 0, 100], [0.0] * 4, [0.0] * 4, **WISH)
    assert found == [utility(0.04, wanted=0.05, bytes_s=100, reference=1_000)] * 4


def test_encodings_cost_what_was_measured() -> None:
    assert [ours.encoding_cost(f"coap-con/{name}/8") for name in ("json", "float32", "int8")] == [0, 0, 0.0044]
    assert [ours.encoding_seconds(f"coap-con/{name}/8") for name in ("json", "float32")] == [0.00001, 0]


def test_what_every_encoding_takes_to_compute_is_measured() -> None:
    found = computing.measure(looks=1)
    assert found.keys() == COMPUTING.keys()
    assert min(found.values()) > 0


def result(seq: int, label: str, *, provisional: bool = False) -> bytes:
    return json.dumps(
        {"id": f"w{seq}", "seq": seq, "provisional": provisional, "label": label, "score": 0.9, "version": "1",
         "tier": "bridge", "latency_ms": 3.0}
    ).encode()  # fmt: skip


def test_a_window_counts_as_answered_twice_only_where_effective_results_differ(tmp_path: Path) -> None:
    with Log(tmp_path / "arrived") as arrived:
        results = Results(arrived)
        for one in (result(0, "no", provisional=True), result(0, "yes"), result(0, "yes"), result(5, "no")):
            results.take(one)
        assert results.twice == 0
        results.take(result(5, "yes"))
        results.take(result(5, "yes"))
        assert results.twice == 1
    assert list(record.read(tmp_path / "arrived")[0]) == [0, 0, 1, 1, 1]


async def test_memory_is_that_of_the_process() -> None:
    now = time.monotonic()
    (found,) = (await memory.watch({"me": os.getpid()}, now, now)).values()
    assert 10_000 < found.middle <= found.peak
    assert 10_000 < found.end <= found.peak
    assert memory.resident(2**22 + 1) == (0, 0)


def test_the_emulator_counts_bytes_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "urgent", lambda: "normal")
    (device, far), (gateway, near) = (socket.socketpair(type=socket.SOCK_DGRAM) for _ in range(2))
    commands, orders = os.pipe()
    packet = bytes([0x45, *bytes(8), 1, *bytes(90)])
    with device, far, gateway, near, concurrent.futures.ThreadPoolExecutor() as pool:
        plan = emulator.Plan(device=device.fileno(), gateway=gateway.fileno(), stages=[link(rtt=0)], seed=1)
        told = pool.submit(emulator.Emulator(plan).run, commands)
        far.send(packet)
        near.recv(200)
        os.write(orders, f"go {time.monotonic() - 2}".encode())
        for sender, receiver in ((far, near), (near, far)):
            sender.send(packet)
            receiver.recv(200)
        os.close(orders)
        seconds = told.result().seconds
    os.close(commands)
    assert (seconds[:2], sum(seconds)) == ([0, 0], 2 * len(packet))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for real time")
async def test_who_is_measured_runs_before_those_that_start_up(tmp_path: Path) -> None:
    async with await Child.start(["cat"], tmp_path / "log") as child:
        priority.prefer([child.pid, 2**22 + 1])
        assert os.sched_getscheduler(child.pid) == os.SCHED_RR
        assert os.sched_getparam(child.pid).sched_priority < priority.INSTRUMENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for real time")
async def test_an_instrument_keeps_its_precedence(tmp_path: Path) -> None:
    program = "from tests.netlab.priority import urgent; print(urgent(), flush=True); input()"
    async with await Child.start([sys.executable, "-c", program], tmp_path / "log") as child:
        await child.until(lambda said: said.strip() == "real time")
        priority.prefer([child.pid])
        assert os.sched_getscheduler(child.pid) == os.SCHED_FIFO


async def keep_telling(child: Child) -> None:
    while True:
        await child.tell("go")


async def test_whoever_is_told_after_its_death_is_named_with_what_killed_it(tmp_path: Path) -> None:
    async with await Child.start(["sh", "-c", "echo why it died >&2; exit 3"], tmp_path / "log") as child:
        with pytest.raises(ChildFailedError, match=r"(?s)exit code 3.*why it died"):
            await keep_telling(child)


@pytest.mark.parametrize("embedded", [True, False])
def test_an_agents_log_becomes_profiles_and_looks(tmp_path: Path, embedded: bool) -> None:
    said = (
        "2026-01-01 INFO mqtt://h: connected, mqtt 5\n"
        '2026-01-01 DEBUG link {"rtt":0.05,"loss":0.1,"goodput":null,"outage":false}\n'
        "2026-01-01 INFO stream wrist: profile coap-con/int8/1: first choice\n"
    )
    task = Task(gateway="g", port=1, folder=str(tmp_path), count=1, rate=1.0, drain=0.0)
    if embedded:
        connected = threading.Event()
        with Told(task, connected.set) as told:
            ear = Ear(told)
            for line in said.splitlines():
                _, level, text = line.split(" ", 2)
                ear.emit(logging.LogRecord("edge_agent", getattr(logging, level), "", 0, text, None, None))
    else:
        pipe = PipeEar(io.BytesIO(said.encode()), task)
        pipe.join()
        connected = pipe.connected
    assert connected.is_set()
    (look,) = msgspec.json.Decoder(lab.Look).decode_lines((tmp_path / "looks.jsonl").read_bytes())
    (switch,) = msgspec.json.Decoder(lab.Switch).decode_lines((tmp_path / "profile.jsonl").read_bytes())
    assert (look.rtt, look.loss, look.goodput, look.outage) == (0.05, 0.1, None, False)
    assert (switch.profile, switch.reason) == ("coap-con/int8/1", "first choice")


def test_the_agent_is_fed_the_very_rows(tmp_path: Path) -> None:
    (tmp_path / "payloads").write_text('{"values":[[1.5,2],[3,4]],"seq":0}\n{"values":[[5,6]],"seq":5}\n')
    task = Task(gateway="g", port=1, folder=str(tmp_path), count=2, rate=1.0, drain=0.0)
    made = list(traffic.payloads(task))
    assert [traffic.number_of(one) for one in made] == [0, 1]
    assert [json.loads(row) for row in lines_of(made[0]).splitlines()] == [[1.5, 2], [3, 4]]
    assert rows_of(made[0]).tolist() == [[1.5, 2], [3, 4]]


def test_the_oracle_is_asked_for_where_something_changes() -> None:
    assert set(DEFAULT) <= set(CONTESTANTS)
    asked = [name for name, one in SCENARIOS.items() if enters("oracle", one)]
    assert asked == [
        "lte",
        "step",
        "ramp",
        "flap",
        "squeeze",
        "noise",
        "outage-4",
        "outage-15",
        "outage-60",
        "udp-block",
    ]
    assert [name for name, one in SCENARIOS.items() if not enters("coap", one)] == ["udp-never"]
    assert all(enters("ours", one) for one in SCENARIOS.values())
    assert [name for name, one in SCENARIOS.items() if enters("stdin", one)] == ["lan"]
