"""From logs and Results to figures by stage, a table and a picture."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from bridge.demo.journey import Journey, figures, journey, table
from bridge.demo.link import Slot
from bridge.demo.observer import Seen
from bridge.demo.picture import picture
from bridge.demo.relay import Passed
from bridge.demo.schedule import schedule
from bridge.demo.switches import Follower, Switch, switch
from bridge.messages import Result

if TYPE_CHECKING:
    from pathlib import Path

BEGAN = 1_700_000_000.0
ROWS, RATE, SPEED = 128, 50.0, 8.0
REASON = "too late or too coarse: p95 0.3 s & <more>"


def result(seq: int, t: float) -> Result:
    return Result(
        "id", "watch-6", "wrist", seq, "store.0.walk", t, "activity", "1", "pendulum", 0.9, "bridge", False, 1, 1.0,
        "confident", "live",
    )  # fmt: skip


def a_journey(fresh: dict[float, float]) -> Journey:
    """Windows by the second in which their last row was born, and how long their Result took."""
    seen = Seen()
    for number, (born, seconds) in enumerate(fresh.items()):
        seq = 64 * number
        zero = BEGAN + born - (seq + ROWS - 1) / RATE / SPEED
        seen.results["walk", seq] = result(seq, zero + seq / RATE)
        seen.at["walk", seq] = BEGAN + born + seconds
    passed = Passed(BEGAN, [Slot(1_000, 100, 10, n % 2) for n in range(200)], 12_345)
    switches = [
        Switch(BEGAN + 0.1, "coap-con/int8/64", "first choice"),
        Switch(BEGAN + 6.0, "coap-con/int8/16", REASON),
        Switch(BEGAN + 6.2, "mqtt-0/int8/64", "again"),
    ]
    return journey(
        "watch-6", 1, schedule(20.0, SPEED), passed, switches, seen, wanted=0.25, rows=ROWS, rate=RATE, speed=SPEED
    )


def test_freshness_counts_from_the_birth_of_a_windows_last_row() -> None:
    of = a_journey({1.0: 0.05, 2.0: 0.15, 16.0: 2.0})
    assert of.born == pytest.approx([1.0, 2.0, 16.0], abs=1e-6)
    assert of.fresh == pytest.approx([0.05, 0.15, 2.0], abs=1e-6)


def test_each_stage_has_its_windows_bytes_and_profiles() -> None:
    stages = figures(a_journey({1.0: 0.05, 2.0: 0.15, 14.0: 2.0})).stages
    assert [one.name for one in stages] == ["good", "lossy", "thin", "gone", "good again"]
    good, lossy, thin, gone, again = stages
    assert (good.windows, good.fresh_p50, good.fresh_p95) == (2, 100.0, 145.0)
    assert (lossy.windows, lossy.fresh_p50) == (0, None)
    assert gone.fresh_p95 == 2_000.0
    assert good.profiles == ["coap-con/int8/64"]
    assert lossy.profiles == ["coap-con/int8/64", "coap-con/int8/16", "mqtt-0/int8/64"]
    assert thin.profiles == gone.profiles == again.profiles == ["mqtt-0/int8/64"]
    assert sum(one.bytes for one in stages) == 200 * 1_100
    assert again.lost == pytest.approx(0.05)


def test_the_table_fits_eighty_columns_and_names_each_stage() -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table(figures(a_journey({1.0: 0.05, 14.0: 12.0}))))
    said = captured.get()
    assert max(map(len, said.splitlines())) <= 80
    for words in ("good again", "lossy", "thin", "gone", "coap-con/int8/16", "12,000 ms"):
        assert words in said


def test_the_picture_is_xml_and_says_why_a_profile_was_chosen() -> None:
    root = ET.fromstring(picture(a_journey({1.0: 0.05, 14.0: 12.0})))  # noqa: S314 # our own
    texts = [one.text or "" for one in root.iter() if one.text]
    assert any(REASON in text for text in texts)
    assert {"good", "lossy", "thin", "gone", "good again"} <= set(texts)


def test_there_is_a_picture_even_of_nothing() -> None:
    empty = journey(
        "watch-6", 1, schedule(20.0, SPEED), Passed(None, [], 0), [], Seen(), wanted=1, rows=1, rate=1, speed=1
    )
    ET.fromstring(picture(empty))  # noqa: S314 # our own
    assert [one.windows for one in figures(empty).stages] == [0] * 5


def test_the_schedule_grows_with_the_replay() -> None:
    short, long = schedule(10.0, 8.0), schedule(40.0, 2.0)
    assert [4 * one.stage.at for one in short] == pytest.approx([one.stage.at for one in long], abs=0.3)
    thin = next(one.stage.up.rate for one in short if one.name == "thin")
    assert thin == 4 * next(one.stage.up.rate or 0 for one in long if one.name == "thin")


def test_a_follower_tells_whole_lines_once_with_their_times(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.touch()
    follower = Follower(log)
    assert follower.lines() == []
    when = dt.datetime(2026, 11, 22, 15, 5, 14).astimezone()
    with log.open("a") as file:
        file.write(f"{when:%Y-%m-%d %H:%M:%S},615 INFO stream wrist: profile coap-con/int8/32: a: b\nTraceback\n2026")
        file.flush()
        ((at, said),) = follower.lines()
        assert at == pytest.approx(when.timestamp() + 0.615)
        assert switch(at, said) == Switch(at, "coap-con/int8/32", "a: b")
        assert follower.lines() == []
    assert switch(at, "mqtt://127.0.0.1:1883: connected, mqtt5") is None
    follower.close()
