"""Whole windows that come a second time after `kill -9`: one answer each, whatever the next process would say."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge.store.kept import Kept
from tests.support.engines import ROWS, HeldEngine, until
from tests.support.lives import ROUTES, Life, PatientCloud, route

if TYPE_CHECKING:
    from pathlib import Path


def keeping(folder: Path) -> Kept:
    kept = Kept(folder / "results.db", pytest.fail, age=3_600.0, size=1 << 28)
    kept.start()
    return kept


@pytest.mark.parametrize("transient", [False, True], ids=["mqtt", "coap"])
async def test_a_copy_after_a_restart_gets_the_bytes_of_the_first_answer(tmp_path: Path, *, transient: bool) -> None:
    kept = keeping(tmp_path)
    life = Life(tmp_path / "journal.db", HeldEngine("slow"), ROUTES, kept)
    life.deliver("quick", 0, transient=transient)
    await until(lambda: life.has_answered(1))
    await kept.flush()
    if transient:  # the broker has it, so the journal has it no more
        life.take_all()
        await until(lambda: not life.journal.load().results)
    else:
        assert life.verdicts == {}  # the broker's PUBACK did not come before the end
    first = life.sent[0].payload
    await life.crash()
    await kept.close()

    kept = keeping(tmp_path)
    life = Life(tmp_path / "journal.db", HeldEngine("slow"), ROUTES, kept)
    life.fast.version = "2.0.0"  # it would say something else
    number = life.deliver("quick", 0, transient=transient)
    again = life.deliver("quick", 0, transient=transient)
    new = life.deliver("quick", ROWS)
    await until(lambda: len(life.sent) == 2)
    assert sorted(one.payload == first for one in life.sent) == [False, True]
    assert {number, again, new}.isdisjoint(life.verdicts)
    life.take_all()
    await kept.flush()
    await until(lambda: {number, again, new} <= set(life.verdicts))
    third = life.deliver("quick", 0, transient=transient)
    await until(lambda: third in life.verdicts)
    assert len(life.sent) == 2
    await life.crash()
    await kept.close()


def lose_journal(folder: Path) -> None:
    for file in folder.glob("journal.db*"):
        file.unlink()


async def test_rows_that_come_again_after_the_journal_was_lost_get_the_first_answers(tmp_path: Path) -> None:
    kept = keeping(tmp_path)
    routes = [*ROUTES, route("rows-quick", "rows", model="fast")]
    life = Life(tmp_path / "journal.db", HeldEngine("slow"), routes, kept)
    for first in (0, ROWS, 2 * ROWS):
        life.deliver("rows-quick", first)
    await until(lambda: life.has_answered(3))
    await kept.flush()
    life.take_all()
    before = [one.payload for one in life.sent]
    await life.crash()
    await kept.close()
    await asyncio.to_thread(lose_journal, tmp_path)

    kept = keeping(tmp_path)
    life = Life(tmp_path / "journal.db", HeldEngine("slow"), routes, kept)
    life.fast.version = "2.0.0"  # it would say something else
    numbers = [life.deliver("rows-quick", n * ROWS) for n in range(4)]
    await until(lambda: len(life.sent) == 4)
    after = sorted([one.payload for one in life.sent], key=lambda payload: int(msgspec.json.decode(payload)["seq"]))
    assert [payload in before for payload in after] == [True, True, True, False]
    life.take_all()
    await kept.flush()
    await until(lambda: set(numbers) <= set(life.verdicts))
    await life.crash()
    await kept.close()


async def test_a_question_that_a_damaged_journal_brings_back_keeps_its_answer(tmp_path: Path) -> None:
    def copied(source: Path, target: Path) -> None:
        for suffix in ("", "-wal"):
            shutil.copy(source.with_name(source.name + suffix), target.with_name(target.name + suffix))

    kept, cloud, path = keeping(tmp_path), PatientCloud(), tmp_path / "journal.db"
    cascade = msgspec.structs.replace(route("rows-unsure", "rows", model="fast"), policy="cascade", below=0.7)
    life = Life(path, HeldEngine("slow"), [*ROUTES, cascade], kept, cloud)
    life.fast.unsure.add(0)
    life.deliver("rows-unsure", 0)
    await until(lambda: bool(cloud.asked))
    await asyncio.to_thread(copied, path, tmp_path / "earlier.db")
    life.inbox.tell(cloud.silence(0))
    await until(lambda: life.has_answered(1))
    await kept.flush()
    life.take_all()
    first = life.sent[0].payload
    await life.crash()
    await kept.close()
    await asyncio.to_thread(copied, tmp_path / "earlier.db", path)  # its newest commits are gone

    kept, cloud, told = keeping(tmp_path), PatientCloud(), list[str]()
    life = Life(path, HeldEngine("slow"), [*ROUTES, cascade], kept, cloud, tell=told.append)
    await until(lambda: len(life.sent) == 1)
    assert "set aside" in told[0]
    assert life.sent[0].payload == first
    assert not cloud.asked
    life.take_all()
    await until(lambda: not life.pipeline.open)
    assert not life.journal.load().asked
    await life.crash()
    await kept.close()
