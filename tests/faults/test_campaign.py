"""Twelve seeds of the campaign, as `make chaos` runs them; one that falls short prints what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.campaign import rows
from tests.faults.campaign.jobs import Campaign, Folder
from tests.faults.campaign.plan import FAULTS, draw
from tests.support.fleet import seeds
from tests.support.real import require_tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.campaign.run import Outcome


@pytest.mark.real
@pytest.mark.timeout(300)  # when several seeds fall short: each waits for what does not come
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """FAULT_FIRST and FAULT_SEEDS choose others, as everywhere in this folder."""
    require_tool("mosquitto")
    chosen = seeds(12)
    outcomes: dict[int, Outcome] = {}
    Campaign(tmp_path, lambda one: outcomes.update({one.plan.seed: one})).run(chosen, jobs=2)
    assert sorted(outcomes) == chosen
    short = [str(one) for one in outcomes.values() if not one.verdict.passed]
    assert not short, "\n\n".join(short)
    assert sum(one.verdict.windows for one in outcomes.values()) > 8 * len(chosen)
    assert all(row.passed for row in rows.judge(list(outcomes.values())))


def test_a_seed_is_its_plan() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    block = [draw(seed) for seed in range(len(FAULTS) * 4)]
    for begin in range(0, len(block), len(FAULTS)):
        assert {fault for plan in block[begin : begin + len(FAULTS)] for fault in plan.faults} == {*FAULTS}
    assert {plan.transport for plan in block} == {"mqtt", "coap"}
    assert {plan.source for plan in block} == {"stdin", "replay"}
    assert {plan.provisional for plan in block} == {True, False}


def test_finished_seeds_are_kept(tmp_path: Path) -> None:
    from tests.faults.campaign.judge import Verdict
    from tests.faults.campaign.run import Outcome

    folder = Folder(tmp_path)
    kept = Outcome(draw(3), Verdict(windows=9, lost=["one"]), 1.0, ["0.00 s  began"])
    folder.keep(kept)
    assert folder.load(3) == kept
    assert folder.load(4) is None
    folder.keep(Outcome(draw(5), Verdict(), 1.0, []))
    (tmp_path / "000005.json").rename(tmp_path / "000006.json")
    assert folder.load(6) is None, "kept under another plan"
    folder.forget(3)
    assert folder.load(3) is None
