"""Power fails at any moment: what was accepted is there, nothing is half; and the instrument that says so bites."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.store.outbox import Append, Limits, Outbox
from tests.faults.power.campaign import campaign, failures, measure, replay
from tests.faults.power.disk import Disk
from tests.faults.power.lives import FAULTS, FOLDER, PATH, SABOTAGES, SUBJECTS, Life, Point
from tests.faults.power.mount import mounted
from tests.faults.power.survivors import DAMAGES, Device, Platter

if TYPE_CHECKING:
    from tests.faults.power.lives import Sabotage

POINTS, LIFE = 300, 50


@pytest.mark.parametrize("subject", SUBJECTS)
def test_nothing_accepted_is_missing_after_power_loss(subject: str) -> None:
    tallies = campaign(POINTS, seed=2, subjects=[subject], losses=LIFE)
    assert not list(map(str, failures(tallies)))
    assert sum(tally.points for tally in tallies.values()) == POINTS
    for tally in tallies.values():  # or the campaign would prove little
        assert tally.at_stake > tally.points / 2
        assert tally.finished > 0


@pytest.mark.parametrize("sabotage", [one for one in SABOTAGES if one != "unsafe overwrite"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_losses_are_found_where_something_does_not_do_as_it_should(subject: str, sabotage: Sabotage) -> None:
    tallies = campaign(POINTS // 3, seed=2, subjects=[subject], sabotage=sabotage, losses=LIFE)
    failed = failures(tallies)
    assert sum(one.missing for one in failed) > 0
    seen = replay(failed[-1].point, sabotage)
    assert (seen.missing, seen.wrong) == (failed[-1].missing, failed[-1].wrong)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_device_that_ruins_what_it_does_not_write_is_found_out(subject: str) -> None:
    torn = [number for number in range(4 * LIFE) if FAULTS[number % len(FAULTS)] == "torn"]
    seen = [seen for life in range(6) for _, seen, _ in Life(subject, 2, life, "unsafe overwrite").lose(torn)]
    assert sum(one.missing for one in seen) > 0


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_folder_that_the_store_made_is_there_after_power_loss(subject: str) -> None:
    assert not [seen for _, seen, _ in Life(subject, 2, 0, folder=False).lose(range(LIFE)) if seen.wrong]


def test_a_row_a_store_for_the_report() -> None:
    rows = measure(40)
    assert [row.name for row in rows] == [f"power-{subject}" for subject in SUBJECTS]
    assert all(row.passed and row.bound == 0 for row in rows)


def test_a_point_is_the_same_each_time() -> None:
    once, again = (list(Life("journal", 2, 0).lose(numbers)) for numbers in (range(20), [19]))
    assert again == [one for one in once if one[0].number == 19]


def test_a_point_can_be_written_down() -> None:
    point = Point("outbox", 1, 2, 11)
    assert Point.parse(str(point)) == point
    assert (point.fault, point.sector) == ("second loss", 512)
    with pytest.raises(ValueError, match="SUBJECT:SEED:LIFE:NUMBER"):
        Point.parse("outbox:1")


def test_a_damaged_file_is_set_aside_whole_though_power_fails_meanwhile() -> None:
    disk = damaged_outbox()
    platter, before = Platter(disk), bodies(disk)
    expected = rows_found(disk)
    dice = Random(1)
    moments = sorted(dice.randint(0, len(disk.log)) for _ in range(POINTS // 3))
    for begin, end in zip([0, *moments], moments, strict=False):
        platter.follow(disk.log[begin:end])
        found = platter.after(dice.choice(DAMAGES), Device(512), dice)
        assert rows_found(found) == expected
        assert before <= bodies(found)


def bodies(disk: Disk) -> set[bytes]:
    """All files but their first 100 bytes: opening counts up a number in SQLite's header."""
    return {bytes(content[100:]) for path in disk.entries if (content := disk.content(path))}


def damaged_outbox() -> Disk:
    """Closed in order; the root page of the blobs is rubbish since."""
    disk = Disk.empty(FOLDER)
    with mounted(disk, {}, Random(1)):
        box = Outbox(PATH, Limits(), tell=pytest.fail)
        series = box.begin("a", "e").id
        for _ in range(20):
            box.apply([Append(series, np.ones((100, 2), np.float32))], 1.0)
        (root,) = box._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'blobs'").fetchone()
        box.close()
    disk.write(disk.number(str(PATH)), b"rubbish " * 512, 4096 * (root - 1))
    disk.log.clear()
    return disk


def rows_found(disk: Disk) -> dict[tuple[str, str], int]:
    """Rows of each series of the outbox on this disk."""
    with mounted(disk, {}, Random(1)):
        box = Outbox(PATH, Limits(), tell=lambda _: None)
        found = {
            (one.stream, one.epoch): sum(len(piece.values) for piece in box.read(one.id, 0, 2**53))
            for one in box.series()
        }
        box.close()
    return found
