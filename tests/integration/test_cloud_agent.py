"""The cloud agent as it is run: processes, a real Mosquitto, the real model; killed, stopped and taken over."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.messages import Answer
from bridge.runtime.load import load
from tests.support.brokers import TlsFiles, free_port, start_mosquitto
from tests.support.cloud_agents import COMMAND, MODEL, SLOW, Agent, agent, asker, here, plain, recorded, until

if TYPE_CHECKING:
    from bridge.wire.offload import Reply
    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real


async def test_a_question_gets_the_big_model_s_answer(mosquitto: RunningBroker, tmp_path: Path) -> None:
    windows = recorded(40)
    manifest = Catalog()[MODEL]
    expected = load(manifest, manifest.for_tier("cloud")).answers(np.stack(list(windows.values())))
    async with agent(tmp_path, mosquitto.url) as gpu, asker(here(mosquitto)) as bridge:
        facts = await gpu.ready()
        assert (facts["id"], facts["engine"], facts["cloud"]) == ("gpu-1", "CPUExecutionProvider", mosquitto.url)
        assert facts["models"] == {MODEL: manifest.version}
        assert (facts["direct"], facts["batch"][MODEL] >= 1) == (True, True)
        bridge.ask_bytes(b"\xa1bad", b"bad")
        bridge.ask(windows)
        await until(lambda: len(bridge.replies) == 41)
        (refusal,) = bridge.replies.pop(b"bad")
        assert str(refusal.error).startswith("malformed: ")
        for (name, right), (correlation, (reply,)) in zip(
            zip(windows, expected, strict=True), sorted_by_number(bridge.replies), strict=True
        ):
            assert isinstance(right, Answer)
            assert (reply.id, correlation, reply.label) == (name, name.encode(), right.label)
            assert reply.score == pytest.approx(right.score, abs=1e-4)
            assert (reply.variant, reply.engine) == (manifest.tiers.cloud, "CPUExecutionProvider")
            assert reply.run_ms > 0
            assert reply.wait_ms >= 0
        assert bridge.statuses["gpu-1"]["online"] is True
        assert bridge.statuses["gpu-1"]["models"] == {MODEL: manifest.version}
        assert bridge.statuses["gpu-1"]["direct"] is True
        assert bridge.statuses["gpu-1"]["run_ms"][MODEL] > 0
        gpu.process.send_signal(signal.SIGTERM)
        assert await gpu.ended() == 0
        await until(lambda: bridge.statuses["gpu-1"]["online"] is False)
        assert bridge.statuses["gpu-1"]["why"] == "stopped"


def sorted_by_number(replies: dict[bytes, list[Reply]]) -> list[tuple[bytes, list[Reply]]]:
    return sorted(replies.items(), key=lambda pair: int(pair[0][1:]))


async def test_one_killed_in_the_middle_of_its_work_loses_nothing(mosquitto: RunningBroker, tmp_path: Path) -> None:
    windows = plain(200)
    async with (
        agent(tmp_path, mosquitto.url, "gpu-1", command=SLOW) as one,
        agent(tmp_path, mosquitto.url, "gpu-2", command=SLOW) as two,
        asker(here(mosquitto)) as bridge,
    ):
        await asyncio.gather(one.ready(), two.ready())
        bridge.ask(windows)
        await until(lambda: len({reply.cloud for got in bridge.replies.values() for reply in got}) == 2)
        one.process.kill()
        await until(lambda: bridge.statuses["gpu-1"]["online"] is False)
        assert bridge.statuses["gpu-1"]["why"] == "vanished"
        answered = len(bridge.replies)
        assert answered < 200, "it was killed too late to prove anything"
        bridge.ask({name: window for name, window in windows.items() if bridge.answer(name) is None})
        await until(lambda: all(bridge.answer(name) for name in windows))
        for name, window in windows.items():
            assert {reply.label for reply in bridge.replies[name.encode()]} == {"walk" if window[0, 0] else "rest"}


async def test_sigterm_answers_what_waits(mosquitto: RunningBroker, tmp_path: Path) -> None:
    windows = plain(100)
    async with (
        agent(tmp_path, mosquitto.url, command=SLOW, more="[engine]\nmax_batch = 4") as gpu,
        asker(here(mosquitto)) as bridge,
    ):
        await gpu.ready()
        bridge.ask(windows)
        await until(lambda: bridge.replies)
        assert len(bridge.replies) < 50
        gpu.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        bridge.ask({"late": windows["w0"]})
        assert await gpu.ended() == 0
        await until(lambda: bridge.statuses["gpu-1"]["online"] is False)
        (late,) = bridge.replies.pop(b"late")
        assert late.error == "stopping: gpu-1 goes away, ask again"
        assert sorted(bridge.replies) == sorted(name.encode() for name in windows)
        assert all(bridge.answer(name) for name in windows)
        assert gpu.log.read_text().splitlines()[-1].endswith("stopped: 100 questions answered, 1 refused, 0 cancelled")


async def test_a_twin_with_its_id_ends_the_first_and_stays_online(mosquitto: RunningBroker, tmp_path: Path) -> None:
    async with agent(tmp_path, mosquitto.url, command=SLOW) as first, asker(here(mosquitto)) as bridge:
        await first.ready()
        async with agent(tmp_path, mosquitto.url, command=SLOW) as twin:
            facts = await twin.ready()
            assert await first.ended() == 1
            assert "another agent connected as 'gpu-1'" in first.log.read_text()
            await until(lambda: bridge.statuses["gpu-1"]["online"])
            bridge.ask(plain(1))
            await until(lambda: bridge.replies)
            assert bridge.statuses["gpu-1"]["instance"] == facts["instance"]
            assert twin.process.returncode is None


async def test_a_broker_that_comes_late_and_goes_in_between(tmp_path: Path) -> None:
    port = free_port()
    async with agent(tmp_path, f"mqtt://127.0.0.1:{port}", command=SLOW) as gpu:
        await until(lambda: "cannot connect" in gpu.log.read_text())
        with start_mosquitto(tmp_path / "broker", port=port) as broker:
            await gpu.ready()
            broker.kill()
            broker.start()
            async with asker(here(broker)) as bridge:
                await until(lambda: bridge.statuses.get("gpu-1", {}).get("online"))
                bridge.ask(plain(3))
                await until(lambda: all(bridge.answer(name) for name in plain(3)))
        gpu.process.send_signal(signal.SIGTERM)
        assert await gpu.ended() == 0


async def test_tls_with_a_password(tmp_path: Path, tls_files: TlsFiles) -> None:
    (tmp_path / "secret").write_text("pass\n")
    more = f'username = "gpu"\npassword_file = "secret"\nca = "{tls_files.ca}"'
    with start_mosquitto(tmp_path / "broker", tls=tls_files, password=("gpu", "pass")) as broker:
        async with agent(tmp_path, broker.url, command=SLOW, more=more) as gpu:
            assert (await gpu.ready())["cloud"] == broker.url


@pytest.mark.parametrize("arguments", [("--require-accelerator",), ()], ids=["by the flag", "by the file"])
async def test_without_the_accelerator_it_requires_it_does_not_start(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    more = "" if arguments else "[engine]\nrequire_accelerator = true"
    command = (*COMMAND, *arguments)
    async with agent(tmp_path, f"mqtt://127.0.0.1:{free_port()}", command=command, more=more) as gpu:
        assert await gpu.ended() == 2
        said = gpu.log.read_text()
        assert "CPUExecutionProvider" in said
        assert "pip install" in said
        assert "Traceback" not in said


async def test_a_flood_is_told_overload_memory_stays_and_service_goes_on(
    mosquitto: RunningBroker, tmp_path: Path
) -> None:
    more = "[limits]\nqueue = 64"
    async with agent(tmp_path, mosquitto.url, command=SLOW, more=more) as gpu, asker(here(mosquitto)) as bridge:
        await gpu.ready()
        before = resident(gpu)
        bridge.ask({f"flood{i}": window for i, window in enumerate([plain(1)["w0"]] * 3_000)})
        await until(lambda: any("overload" in str(got[0].error) for got in bridge.replies.values()))
        async with asyncio.timeout(20):
            while bridge.answer("w0") is None:  # refused as long as the flood stands before it
                bridge.ask(plain(1), patience=60.0)
                await asyncio.sleep(0.5)
        assert resident(gpu) - before < 40 << 20


def resident(gpu: Agent) -> int:
    pages = int(Path(f"/proc/{gpu.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
