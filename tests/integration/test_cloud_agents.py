"""Two cloud agents of one group at a real Mosquitto: shared and direct topics, several questions a message, a kill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.cloud_agents import MODEL, SLOW, agent, asker, here, plain, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = pytest.mark.real

SMALL = "[engine]\nmax_batch = 8"


async def test_one_of_two_is_killed_mid_batch_and_nothing_is_lost(mosquitto: RunningBroker, tmp_path: Path) -> None:
    windows = plain(256)
    async with (
        agent(tmp_path, mosquitto.url, "gpu-1", command=SLOW, more=SMALL) as one,
        agent(tmp_path, mosquitto.url, "gpu-2", command=SLOW, more=SMALL) as two,
        asker(here(mosquitto)) as bridge,
    ):
        await asyncio.gather(one.ready(), two.ready())
        for start in range(0, 256, 16):  # to whom the broker gives each of these messages is its choice
            bridge.ask_together({f"w{i}": windows[f"w{i}"] for i in range(start, start + 16)})
        await until(lambda: {reply.cloud for got in bridge.messages for reply in got} == {"gpu-1", "gpu-2"})
        one.process.kill()
        await until(lambda: bridge.statuses["gpu-1"]["online"] is False)
        open_ = {name: window for name, window in windows.items() if bridge.answer(name) is None}
        assert open_, "it was killed too late to prove anything"
        bridge.ask_together(open_, agent="gpu-2")
        await until(lambda: all(bridge.answer(name) for name in windows), 25)
        for name, window in windows.items():
            assert {reply.label for reply in bridge.replies[name.encode()]} == {"walk" if window[0, 0] else "rest"}
        late = {"late": windows["w1"]}
        bridge.ask_together(late, agent="gpu-1")
        await until(lambda: bridge.unheard == {"late"})
        bridge.ask_together(late)
        await until(lambda: bridge.answer("late"))


async def test_each_can_be_asked_directly_and_replies_come_together(mosquitto: RunningBroker, tmp_path: Path) -> None:
    async with (
        agent(tmp_path, mosquitto.url, "gpu-1", command=SLOW) as one,
        agent(tmp_path, mosquitto.url, "gpu-2", command=SLOW, more='group = "others"') as two,
        asker(here(mosquitto)) as bridge,
    ):
        await asyncio.gather(one.ready(), two.ready())
        await until(lambda: bridge.statuses.keys() == {"gpu-1", "gpu-2"})
        assert all(status["direct"] and status["models"].keys() == {MODEL} for status in bridge.statuses.values())
        for name in ("gpu-1", "gpu-2"):
            bridge.ask_together({f"{name}-{i}": window for i, window in enumerate(plain(20).values())}, agent=name)
        await until(lambda: len(bridge.replies) == 40)
        assert all(name.decode().startswith(got[0].cloud) for name, got in bridge.replies.items())
        assert all(len(got) == 1 for got in bridge.replies.values())
        assert max(map(len, bridge.messages)) > 1


async def test_what_is_cancelled_is_not_computed_and_the_rest_of_its_message_is(
    mosquitto: RunningBroker, tmp_path: Path
) -> None:
    async with (
        agent(tmp_path, mosquitto.url, "gpu-1", command=SLOW, more=f"{SMALL}\n[limits]\nreceive_maximum = 4") as one,
        asker(here(mosquitto)) as bridge,
    ):
        await one.ready()
        windows = plain(64)
        bridge.ask_together(windows, agent="gpu-1")
        cancelled = [f"w{i}" for i in range(1, 64, 2)]
        bridge.cancel(cancelled, agent="gpu-1")
        for i in range(8):  # more messages than the agent may owe acknowledgements for: each must be settled
            bridge.ask_together({f"more{i}": windows["w1"]}, agent="gpu-1")
        await until(lambda: bridge.answer("more7"))
        await until(lambda: all(bridge.answer(f"w{i}") for i in range(0, 64, 2)))
        computed = [name for name in cancelled if name.encode() in bridge.replies]
        assert len(computed) <= 8, "at most those of the batch that ran when the cancel came"


async def test_what_would_come_too_late_is_refused_at_once(mosquitto: RunningBroker, tmp_path: Path) -> None:
    async with (
        agent(tmp_path, mosquitto.url, "gpu-1", command=SLOW, more=SMALL) as one,
        asker(here(mosquitto)) as bridge,
    ):
        await one.ready()
        for i in range(6):  # it learns what a run takes
            bridge.ask_together({f"learn{i}": plain(1)["w0"]}, agent="gpu-1")
            await until(lambda i=i: bridge.answer(f"learn{i}"))  # type: ignore[misc] # i is this round's
        bridge.ask_together(plain(64), agent="gpu-1", patience=20.0)
        await until(lambda: bridge.answer("w0"))
        bridge.ask_together({"late": plain(1)["w0"]}, agent="gpu-1", patience=0.01)
        await until(lambda: b"late" in bridge.replies)
        (reply,) = bridge.replies[b"late"]
        assert str(reply.error).startswith("too late: predicted ")
        await until(lambda: all(bridge.answer(name) for name in plain(64)))
