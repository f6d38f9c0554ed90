"""Lines that a flood cannot turn into a flood of lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bridge.seldom import Seldom

if TYPE_CHECKING:
    import pytest


def test_seldom_counts_what_it_does_not_say(caplog: pytest.LogCaptureFixture) -> None:
    seldom = Seldom(logging.getLogger("test"), every=10.0)
    for now in (0.0, 1.0, 2.0, 10.0, 20.0):
        seldom.warn(f"at {now:.0f}", now=now)
    assert caplog.messages == ["at 0", "at 10 (and 2 more since the last such line)", "at 20"]


def test_a_few_come_at_once_each_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seldom = Seldom(logging.getLogger("test"), every=10.0, most=2)
    for now in (0.0, 4.0, 9.0, 10.0, 19.0, 19.5, 20.0):
        seldom.say(f"at {now:g}", now=now, level=logging.WARNING if now else logging.INFO)
    more = " (and 1 more since the last such line)"
    assert caplog.messages == ["at 0", "at 4", f"at 10{more}", "at 19", f"at 20{more}"]
    assert [record.levelno for record in caplog.records] == [logging.INFO] + [logging.WARNING] * 4
