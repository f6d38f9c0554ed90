"""The link decides how questions leave: real brokers, bridge and cloud agent in namespaces, 64 kbit/s between them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.netlab import cloud_link, namespaces
from tests.netlab.scenarios import link
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
THIN, CLEAN = (link(rtt=200, rate=64e3),), (link(rtt=20),)
WINDOWS = 60
FIXED = 'pin = "mqtt-1/float32/1"'


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """A laboratory is possible, and the test leaves nothing behind."""
    require_tool("mosquitto")
    if why := namespaces.why_not():
        pytest.skip(why)
    yield
    assert [path.name for path in namespaces.NETNS.glob(f"nl{os.getpid()}x*")] == []


async def test_at_64_kbit_s_questions_take_fewer_bytes_and_more_are_answered_in_time(tmp_path: Path) -> None:
    fixed, ours = await asyncio.gather(
        cloud_link.measure(THIN, tmp_path / "fixed", cloud=FIXED, windows=WINDOWS),
        cloud_link.measure(THIN, tmp_path / "ours", windows=WINDOWS),
    )
    assert fixed.heard.status["profiles"] == {"activity": "mqtt-1/float32/1"}
    assert fixed.heard.status["switches"] == []
    assert ours.heard.cloud + ours.heard.bridge == fixed.heard.cloud + fixed.heard.bridge == WINDOWS
    assert ours.bytes_up < 0.5 * fixed.bytes_up
    assert ours.in_time > fixed.in_time + 0.3
    assert ours.heard.counts.get("cloud_answers_refused", 0) == 0


async def test_a_link_that_becomes_thin_is_told_with_its_figures(tmp_path: Path) -> None:
    stages = (*CLEAN, link(2.0, rtt=200, rate=64e3))
    seen = await cloud_link.measure(stages, tmp_path / "run", rate=12.0, windows=108)
    first = seen.heard.status["switches"][0]
    assert first["model"] == "activity"
    assert first["profile"].startswith("mqtt-0/int4+zstd/")
    assert first["reason"].startswith(f"mqtt-1/int4+zstd/1 → {first['profile']}: lone questions would take ")
    assert first["reason"] in seen.log
    assert 4_000 < seen.heard.status["link"]["goodput"] < 10_000


async def test_on_a_clean_link_nothing_is_switched(tmp_path: Path) -> None:
    seen = await cloud_link.measure(CLEAN, tmp_path / "run", rate=20.0, windows=100)
    assert seen.heard.status["switches"] == []
    assert seen.heard.status["profile"] == "mqtt-1/int4+zstd/1"
    assert 0.019 < seen.heard.status["link"]["round_trip"] < 0.2  # the link's, and what a busy machine adds
    assert seen.in_time >= 0.99


async def test_an_outage_is_noticed_and_survived_on_the_same_connection(tmp_path: Path) -> None:
    stages = (*CLEAN, link(2.0, rtt=20, outage=True), link(5.0, rtt=20))
    seen = await cloud_link.measure(stages, tmp_path / "run", rate=8.0, windows=56)
    assert "no window is put to the cloud" in seen.log
    assert "the broker is heard again" in seen.log
    assert seen.heard.cloud + seen.heard.bridge == 56
    assert seen.heard.status["switches"] == []
