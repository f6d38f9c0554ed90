"""What the composition root itself decides: what a lost session means, and what is left out of a stop that hangs."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from bridge.app import App
from bridge.config import BridgeSection, Config
from bridge.mqtt.messages import Settings
from bridge.mqtt.session import Session
from bridge.store.journal import Journal, Record
from tests.support.engines import ROWS, until
from tests.support.lives import Life, World
from tests.support.mqtt_packets import reconnect, suback

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def made(tmp_path: Path, *, drain: float = 10.0) -> App:
    return App(Config(BridgeSection(id="gw-1", drain=drain)), tmp_path)


def test_results_come_again_also_where_the_connection_that_told_of_the_loss_was_never_up(tmp_path: Path) -> None:
    app, lost = made(tmp_path), list[float]()
    session = Session(Settings("me", subscriptions=("a",)))
    connection: Any = SimpleNamespace(session=session, publish=lambda _messages: None)
    replayer: Any = SimpleNamespace(session_lost=lost.append)

    def come(heard_at: float, *, present: bool, up: bool = True) -> None:
        (subscribe,) = reconnect(session, session_present=present)
        if up:
            session.receive(suback(subscribe.packet_id, 1), 0.0)
            outbound: Any = SimpleNamespace(heard_at=heard_at)
            app._connected(connection, mock.Mock(), replayer, outbound)

    come(1.0, present=True)
    assert lost == [], "the broker has the session of an earlier process"
    come(2.0, present=False)
    come(3.0, present=True)
    assert lost == [2.0]
    come(4.0, present=False, up=False)
    come(5.0, present=True)
    come(6.0, present=True)
    assert lost == [2.0, 5.0], "once"


async def stop(app: App, life: Life) -> None:
    """As `run` does at SIGTERM, with the parts of that life."""

    async def nothing(*_: object) -> None:
        """It has no sockets."""

    devices: Any = SimpleNamespace(
        session=Session(Settings("me")), connected=False, stop_delivering=lambda: None, close=nothing
    )
    coap: Any = SimpleNamespace(stop=nothing)
    door: Any = SimpleNamespace(close=lambda: None)
    kept: Any = SimpleNamespace(flush=nothing)
    app._tasks.append(life.running)
    await app._shut_down(devices, None, coap, door, life.pipeline, kept, life.running)


async def test_a_commit_that_hangs_at_the_end_gets_no_other_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "journal.db")
    life = world.live()
    life.slow.let_all_go()
    life.deliver("rows", 0)
    await until(lambda: life.seqs == [0])
    await life.turn()  # its Result is in the journal
    write, begun, go_on, ended = Journal.write, threading.Event(), threading.Event(), threading.Event()

    def slow(journal: Journal, record: Record) -> None:
        begun.set()
        assert go_on.wait(10)
        write(journal, record)
        ended.set()

    monkeypatch.setattr(Journal, "write", slow)
    life.deliver("rows", ROWS, ROWS // 2)
    await until(begun.is_set)
    life.take_all()  # now the broker has it: something to strike
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    await stop(made(tmp_path, drain=0.05), life)
    await until(ended.is_set)
    life.journal.close()
    monkeypatch.undo()
    again = world.live()
    await again.pipeline.taken_up.wait()
    assert again.seqs == [0], "what was not struck is published again"
    await world.end()
