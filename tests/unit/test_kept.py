"""Keeping published Results: nobody waits for it but who is to be settled."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bridge.errors import StoreError
from bridge.store import kept as module
from bridge.store import kept_writer as writer
from bridge.store.database import Broken
from bridge.store.kept import Kept, Record
from bridge.store.kept_file import KeptFile, Query, Written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

EVER = 1 << 62


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.01)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    kept = begin(tmp_path)
    yield kept
    await kept.close()


def begin(folder: Path) -> Kept:
    kept = Kept(folder / "results.db", pytest.fail, age=3_600.0, size=1 << 28)
    kept.start()
    return kept


def record(done: list[int] | None = None, *, results: int = 1, whole: tuple[str, ...] = ()) -> Record:
    def tell(one: Record) -> None:
        assert one.kept
        if done is not None:
            done.append(one.n)

    items = [("t", b"%d" % i) for i in range(results)]
    return Record(time.time(), time.monotonic(), tell, items, list(whole))


def numbered(n: int, results: int) -> Record:
    made = record(results=results, whole=(f"w{n}",))
    made.n = n
    return made


async def numbers(kept: Kept) -> list[int]:
    found = await kept.read(Query(0, EVER))
    return [] if found is None else [entry.n for entry in found[0]]


async def test_done_is_told_in_order_once_it_is_on_the_disk(kept: Kept) -> None:
    done: list[int] = []
    for _ in range(10):
        kept.append(record(done))
    assert done == []
    await kept.flush()
    assert done == list(range(1, 11))
    found = await kept.read(Query())
    assert found is not None
    assert [entry.payload for entry in found[0]] == [b"0"] * 10
    assert await kept.newest() == 10


async def test_what_comes_while_a_commit_runs_is_committed_together(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, commits = threading.Event(), threading.Event(), []
    write = KeptFile.write

    def slow(self: KeptFile, records: Sequence[Written], now: float) -> None:
        commits.append([one.n for one in records])
        begun.set()
        assert go.wait(5)
        write(self, records, now)

    monkeypatch.setattr(KeptFile, "write", slow)
    kept.append(record())
    assert await asyncio.to_thread(begun.wait, 5)
    for _ in range(20):
        kept.append(record())
    go.set()
    await kept.flush()
    assert commits == [[1], [21]]
    assert await numbers(kept) == [1] + [21] * 20


def test_records_are_joined_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_TOGETHER", 5)
    rows = writer._joined([numbered(n, results) for n, results in ((1, 2), (2, 3), (3, 1), (4, 5), (5, 1))])
    assert [(row.n, len(row.items), len(row.whole)) for row in rows] == [(2, 5, 2), (3, 1, 1), (4, 5, 1), (5, 1, 1)]


async def test_a_disk_that_refuses_stops_the_flow_and_it_goes_on_by_itself(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, refused, full = KeptFile.write, threading.Event(), True

    def fickle(self: KeptFile, records: Sequence[Written], now: float) -> None:
        if full:
            refused.set()
            raise StoreError("disk full")
        write(self, records, now)

    monkeypatch.setattr(KeptFile, "write", fickle)
    done: list[int] = []
    kept.append(record(done))
    assert await asyncio.to_thread(refused.wait, 5)
    kept.append(record(done))
    while not kept.refusing:  # noqa: ASYNC110 # set by the thread
        await asyncio.sleep(0.001)
    assert kept.full
    assert done == []
    full = False
    await kept.flush()
    assert done == [1, 2]
    assert caplog.records[-1].message == "published Results can be kept again"
    assert [line.levelname for line in caplog.records] == ["ERROR", "WARNING"]  # once, however often it refuses


async def test_a_file_found_damaged_is_opened_anew(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    write, broken = KeptFile.write, [Broken("damaged"), StoreError("and cannot be opened")]

    def fickle(self: KeptFile, records: Sequence[Written], now: float) -> None:
        if broken:
            raise broken.pop(0)
        write(self, records, now)

    opened: list[float] = []
    reopen = KeptFile.reopen

    def noted(self: KeptFile, now: float, wall: float) -> None:
        opened.append(now)
        reopen(self, now, wall)

    monkeypatch.setattr(KeptFile, "write", fickle)
    monkeypatch.setattr(KeptFile, "reopen", noted)
    kept.append(record())
    await kept.flush()
    assert len(opened) == 1
    assert await numbers(kept) == [1]


async def test_who_acknowledges_is_called_when_all_of_a_commit_are_told(kept: Kept) -> None:
    told: list[str] = []
    kept.settled = lambda: told.append("settled")
    for _ in range(2):
        one = record()
        one.done = lambda _record: told.append("done")
        kept.append(one)
    await kept.flush()
    assert told[-1] == "settled"
    assert told.count("done") == 2


async def test_too_much_on_its_way_is_full(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    kept.append(record(results=99))
    seen = [kept.full]
    assert kept.room == 1
    kept.append(record(results=1))
    seen.append(kept.full)
    await kept.flush()
    assert [*seen, kept.full] == [False, True, False]


async def test_a_restart_knows_ids_numbers_and_what_was_not_heard(tmp_path: Path) -> None:
    first = begin(tmp_path)
    before = time.monotonic()
    first.append(record(whole=("a", "b")))
    await first.flush()
    first.append(record(whole=("c",)))
    await first.note_unheard(2)
    await first.close()
    second = begin(tmp_path)
    assert (second.whole, second.unheard) == ({"a": 1, "b": 1, "c": 2}, 2)
    assert before - 1.0 < second.latest <= time.monotonic()
    second.append(made := record())
    await second.flush()
    assert (made.n, await numbers(second)) == (3, [1, 2, 3])
    assert await second.newest() == 3
    await second.close()


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    first = begin(tmp_path)
    first.append(record())
    await first.close()
    second = begin(tmp_path)
    assert await numbers(second) == [1]
    await second.close()


async def test_closing_does_not_wait_for_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(KeptFile, "write", refuse)
    monkeypatch.setattr(writer, "RETRY", 1e6)
    kept = begin(tmp_path)
    kept.append(record())
    await asyncio.wait_for(kept.close(), 5.0)


async def test_who_reads_is_told_of_an_error(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("cannot be read")

    monkeypatch.setattr(KeptFile, "read", refuse)
    with pytest.raises(StoreError, match="cannot be read"):
        await kept.read(Query(0, EVER))


async def test_age_is_looked_at_when_nothing_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed = threading.Event()
    monkeypatch.setattr(writer, "IDLE", 0.01)
    monkeypatch.setattr(KeptFile, "trim", lambda *_: trimmed.set())
    kept = begin(tmp_path)
    assert await asyncio.to_thread(trimmed.wait, 5)
    await kept.close()
