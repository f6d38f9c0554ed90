"""The agent over MQTT and CoAP at once, with a real Mosquitto and a real bridge, through relays that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cut import Link, TcpCut, tcp_cut, udp_link
from tests.support.fleet import HOP, ROOT, SITE, STREAM, WINDOW, bridge_toml, free_udp_port, rows_of
from tests.support.peers import Peer
from tests.support.programs import prepare_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.messages import Rows
    from tests.support.brokers import RunningBroker

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
DEVICE = "wrist-8"
RATE = 200.0
HAND_OVER = 6.0  # s; 1.2–3 where nobody else needs the machine
STATUS = f"edge/v1/{SITE}/{DEVICE}/status"


class Agent:
    """The edge agent as a process, fed on its stdin in real time."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.rows = 0

    @classmethod
    async def start(cls, folder: Path, tcp: TcpCut, udp: Link | None, more: str) -> Agent:
        folder.mkdir(parents=True)  # noqa: ASYNC240 # a test's own folder
        config = folder / "edge_agent.toml"
        coap = "" if udp is None else f'coap = "{udp.url}"'
        config.write_text(
            f'[agent]\nsite = "{SITE}"\ndevice = "{DEVICE}"\nurl = "mqtt://127.0.0.1:{tcp.port}"\n{coap}\n'
            f'[[streams]]\nname = "{STREAM}"\nsource = "stdin"\nrate = {RATE}\nrows_per_message = 8\n{more}\n'
        )
        log = folder / "agent.log"
        with log.open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge_agent.cli", "run", "--config", str(config),
                cwd=folder, env={"PYTHONPATH": str(ROOT)}, stderr=err,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line.startswith(b"ready {"), log.read_text()
        return cls(process, log)

    @property
    def said(self) -> str:
        return self._log.read_text()

    async def feed(self, values: Rows, until: Callable[[], object], *, timeout: float = 30.0) -> float:  # noqa: ASYNC109 # a bound on the test
        """Rows in real time until something holds.

        Returns:
            Seconds it took.
        """
        begun = time.monotonic()
        assert self._process.stdin is not None
        sent = 0
        while not until():
            assert time.monotonic() - begun < timeout, self.said[-3000:]
            due = int((time.monotonic() - begun) * RATE)
            lines = [json.dumps(row) for row in values[self.rows : self.rows + due - sent].tolist()]
            assert len(lines) == due - sent, "out of rows"
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            await self._process.stdin.drain()
            self.rows += len(lines)
            sent = due
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def end(self) -> None:
        """Everything is receipted, or it fails."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = await asyncio.wait_for(self._process.wait(), 20)
        assert code == 0, self.said[-3000:]

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Stand:
    """Everything together."""

    def __init__(self, tcp: TcpCut, udp: Link, peer: Peer, folder: Path) -> None:
        self.tcp, self.udp, self.peer, self.folder = tcp, udp, peer, folder
        self.agent: Agent

    def statuses(self) -> list[dict[str, Any]]:
        return [one.json for one in self.peer.received(STATUS)]

    def profile(self) -> str:
        found = [one["profile"] for one in self.statuses() if one.get("profile")]
        return str(found[-1]) if found else ""

    def chosen(self) -> list[str]:
        """Profiles, in order, as the agent logs them."""
        return [
            line.split(" profile ")[1].split(":")[0] for line in self.agent.said.splitlines() if " profile " in line
        ]

    def uses(self, protocol: str) -> bool:
        chosen = self.chosen()
        return bool(chosen) and chosen[-1].startswith(protocol)

    def results(self) -> Counter[int]:
        return Counter(
            one.json["seq"]
            for one in list(self.peer.messages)
            if one.topic == f"edge/v1/{SITE}/{DEVICE}/result/activity"
        )

    async def complete(self) -> None:
        """Each window of the rows fed has exactly one Result."""
        expected = list(range(0, self.agent.rows - WINDOW + 1, HOP))
        async with asyncio.timeout(10):
            while len(self.results()) < len(expected):  # noqa: ASYNC110 # another thread counts
                await asyncio.sleep(0.01)
        assert self.results() == Counter(expected)


@pytest.fixture
async def stand(tmp_path: Path, mosquitto: RunningBroker) -> AsyncIterator[Stand]:
    port = free_udp_port()
    async with contextlib.AsyncExitStack() as stack:
        bridge = prepare_bridge(tmp_path / "bridge", bridge_toml(mosquitto.url, coap=port))
        await asyncio.to_thread(bridge.start)
        stack.callback(bridge.kill)
        tcp = await stack.enter_async_context(tcp_cut(mosquitto.port))
        udp = await stack.enter_async_context(udp_link(f"coap://127.0.0.1:{port}", delay_s=0.01))
        peer = stack.enter_context(Peer(mosquitto.url, "edge/v1/#"))
        made = Stand(tcp, udp, peer, tmp_path / "agent")
        yield made
        await made.agent.kill()


def _link(**settings: Any) -> str:
    return "[link]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())


async def test_a_way_that_is_cut_is_left_within_seconds_and_nothing_is_lost(stand: Stand) -> None:
    stand.agent = agent = await Agent.start(stand.folder, stand.tcp, stand.udp, _link(freshness=0.2))
    values = rows_of(0, 20_000)
    await agent.feed(values, lambda: stand.uses("coap") and len(stand.results()) > 3)
    stand.udp.is_up = False
    assert await agent.feed(values, lambda: stand.uses("mqtt")) < HAND_OVER
    before = len(stand.results())
    await agent.feed(values, lambda: len(stand.results()) > before + 3)
    stand.udp.is_up = True
    stand.tcp.cut()
    assert await agent.feed(values, lambda: stand.uses("coap")) < HAND_OVER
    stand.tcp.mend()
    before = len(stand.results())
    await agent.feed(values, lambda: len(stand.results()) > before + 3)
    await agent.end()
    await stand.complete()
    told = [one for one in stand.statuses() if one.get("profile", "")]
    assert {one["profile"].split("-")[0] for one in told if one["profile"]} == {"coap", "mqtt"}
    assert "does not get through" in " ".join(one["reason"] for one in told)


@pytest.mark.parametrize(("pin", "cut"), [("mqtt-1/*", "coap"), ("mqtt-0/*", "coap"), ("coap-*", "mqtt")])
async def test_a_pin_is_obeyed_whatever_the_other_way_does(stand: Stand, pin: str, cut: str) -> None:
    stand.agent = agent = await Agent.start(stand.folder, stand.tcp, stand.udp, _link(freshness=0.5, pin=pin))
    if cut == "coap":
        stand.udp.is_up = False
    else:
        stand.tcp.cut()
    await agent.feed(rows_of(0, 20_000), lambda: len(stand.results()) > 3)
    await agent.end()
    await stand.complete()
    assert {name.split("/")[0] for name in stand.chosen()} <= {pin.split("/")[0], "coap-con", "coap-non2"}
    assert all(name.startswith(pin[:4]) for name in stand.chosen())


async def test_what_is_excluded_is_not_used_even_if_the_rest_is_cut(stand: Stand) -> None:
    stand.agent = agent = await Agent.start(stand.folder, stand.tcp, stand.udp, _link(exclude=["coap-*", "*/json/*"]))
    values = rows_of(0, 20_000)
    await agent.feed(values, lambda: len(stand.results()) > 3)
    stand.tcp.cut()
    carried = stand.udp.sent
    begun = agent.rows
    await agent.feed(values, lambda: agent.rows - begun > 3 * RATE)
    stand.tcp.mend()
    await agent.end()
    await stand.complete()
    assert {name.split("/")[0] for name in stand.chosen()} == {"mqtt-0"}
    assert stand.udp.sent - carried < 20, "only pings"


async def test_both_ways_gone_and_back_again(stand: Stand) -> None:
    stand.agent = agent = await Agent.start(stand.folder, stand.tcp, stand.udp, _link(freshness=0.2))
    values = rows_of(0, 20_000)
    await agent.feed(values, lambda: len(stand.results()) > 3)
    stand.udp.is_up = False
    stand.tcp.cut()
    begun = agent.rows
    await agent.feed(values, lambda: agent.rows - begun > 5 * RATE)
    stand.udp.is_up = True
    stand.tcp.mend()
    before = len(stand.results())
    assert await agent.feed(values, lambda: len(stand.results()) > before) < HAND_OVER
    await agent.end()
    await stand.complete()
    assert stand.statuses()[-1]["online"] is False


async def test_mqtt_alone_chooses_encoding_and_packing(stand: Stand) -> None:
    link = _link(freshness=0.5) + "\nfidelity = { int8 = 0.0044 }"
    stand.agent = agent = await Agent.start(stand.folder, stand.tcp, None, link)
    await agent.feed(rows_of(0, 20_000), lambda: len(stand.results()) > 5)
    await agent.end()
    await stand.complete()
    assert stand.chosen()[-1].startswith("mqtt-0/int8+zstd/")
    assert stand.udp.sent == 0
