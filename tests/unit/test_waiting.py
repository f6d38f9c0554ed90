"""A full disk at the start is waited for, until there is room or somebody says stop."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bridge.errors import StoreError
from bridge.store import waiting
from bridge.store.database import Broken, Failing, Full
from bridge.store.waiting import until_room


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY", 0.001)
    monkeypatch.setattr(waiting, "REPEAT", 3)


async def test_it_is_tried_again_until_there_is_room_and_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    refusals: list[Exception] = [Full("journal.db: full"), *[Failing("journal.db: disk I/O error")] * 4]

    def work() -> str:
        if refusals:
            raise refusals.pop()
        return "opened"

    with caplog.at_level(logging.WARNING):
        assert await until_room(work, asyncio.Event()) == "opened"
    assert [record.getMessage() for record in caplog.records] == [
        "journal.db: disk I/O error; waiting until it can be written, tried again every second",
        "journal.db: disk I/O error; waiting until it can be written, tried again every second",
        "the disk takes writes again",
    ]


@pytest.mark.parametrize("kind", [StoreError, Broken])
async def test_what_waiting_does_not_help_against_is_raised(kind: type[StoreError]) -> None:
    def work() -> None:
        raise kind("no")

    with pytest.raises(kind, match="no"):
        await until_room(work, asyncio.Event())


async def test_waiting_ends_when_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RETRY", 1e6)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        loop.call_soon_threadsafe(stop.set)
        raise Full("no room")

    assert await until_room(work, stop) is None
    assert await until_room(work, stop) is None, "not even tried"
