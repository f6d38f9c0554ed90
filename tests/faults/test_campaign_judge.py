"""The judge is fed false evidence: it must see what is lost, doubled, out of order, wrong, and what is excused."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.faults.campaign import ledger
from tests.faults.campaign.evidence import Accepted, Evidence, Excuse, Heard, Truth
from tests.faults.campaign.faults import outside, spoil
from tests.faults.campaign.judge import HOP, judge
from tests.faults.campaign.plan import WINDOW

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 640
STARTS = range(0, ROWS - WINDOW + 1, HOP)


def heard(seq: int, **other: Any) -> Heard:
    said = Heard(
        at=10.0 + seq / 100, session=1, id=f"id-{seq}", stream="rows", epoch="e", seq=seq, lane="live",
        label="pendulum", score=0.95, tier="bridge", provisional=False,
    )  # fmt: skip
    return msgspec.structs.replace(said, **other)


def sound() -> Evidence:
    """Ten ranges accepted, nine windows answered in order."""
    accepted = [Accepted("e", first, first + 63, 1.0 + first / 100) for first in range(0, ROWS, 64)]
    truth = {("e", seq): Truth("pendulum", 0.95) for seq in STARTS}
    return Evidence("rows", accepted, [heard(seq) for seq in STARTS], truth, ledger=[])


def test_sound_evidence_passes() -> None:
    verdict = judge(sound())
    assert verdict.passed
    assert verdict.windows == len(STARTS)


def test_a_lost_window_is_seen() -> None:
    evidence = sound()
    del evidence.heard[3]
    verdict = judge(evidence)
    assert len(verdict.lost) == 1
    assert "window 192–319" in verdict.lost[0]
    assert not verdict.passed


def test_rows_between_confirmed_ones_count_as_accepted() -> None:
    """A restart swallowed the confirmation of rows 128–191; later numbers show that they were accepted."""
    evidence = sound()
    del evidence.accepted[2]
    assert judge(evidence).windows == len(STARTS)
    del evidence.heard[2]
    assert len(judge(evidence).lost) == 1


def test_a_provisional_result_alone_is_a_loss() -> None:
    evidence = sound()
    evidence.heard[4].provisional = True
    assert len(judge(evidence).lost) == 1


def test_two_epochs_have_their_own_windows() -> None:
    evidence = sound()
    evidence.accepted.append(Accepted("f", 0, 300, 9.0))
    assert [text.split()[4] for text in judge(evidence).lost] == ["f"] * 3


def test_a_short_epoch_owes_nothing() -> None:
    evidence = sound()
    evidence.accepted.append(Accepted("f", 0, WINDOW - 2, 9.0))
    assert judge(evidence).passed


@pytest.mark.parametrize(
    "second", [{"label": "abduction"}, {"score": 0.80}, {"label": "abduction", "tier": "cloud", "session": 2}]
)
def test_a_second_effective_result_is_seen(second: dict[str, Any]) -> None:
    evidence = sound()
    evidence.heard.append(heard(128, **second))
    assert len(judge(evidence).doubled) == 1


@pytest.mark.parametrize("repeat", [{}, {"session": 2, "at": 99.0}, {"tier": "cloud"}, {"score": 0.9500001}])
def test_a_repeat_that_says_the_same_is_none(repeat: dict[str, Any]) -> None:
    evidence = sound()
    evidence.heard.append(heard(128, **repeat))
    assert judge(evidence).passed


def in_two_steps() -> Evidence:
    """Window 128 got a provisional Result at once, and the final one two windows later."""
    evidence = sound()
    evidence.provisional = True
    evidence.heard[2].provisional = True
    evidence.heard.insert(5, heard(128, tier="cloud", label="abduction", rev=1))
    return evidence


def test_a_provisional_one_before_is_none() -> None:
    assert judge(in_two_steps()).passed


def test_a_final_one_whose_provisional_one_nobody_heard_is_right() -> None:
    evidence = in_two_steps()
    evidence.heard[2] = evidence.heard.pop(5)
    assert judge(evidence).passed


def test_a_provisional_result_needs_a_route_that_allows_it() -> None:
    evidence = in_two_steps()
    evidence.provisional = False
    assert [text.split(", ")[-1] for text in judge(evidence).wrong] == ["where none is allowed"] * 2


def test_a_provisional_result_that_no_final_one_follows_is_a_loss() -> None:
    """Also where nobody was told that the rows were accepted; but not where they may be lost."""
    evidence = in_two_steps()
    evidence.heard.append(heard(STARTS[-1] + HOP, provisional=True))
    assert [text.split()[1] for text in judge(evidence).lost] == ["576–703"]
    evidence.excuses = [Excuse("e", [(576, 703)], told=True, why="spoilt")]
    assert judge(evidence).passed


@pytest.mark.parametrize(
    ("at", "fields", "why"),
    [
        (5, {"rev": 0}, "a final Result of revision 0 after a provisional one"),
        (2, {"rev": 1}, "a provisional Result of revision 1 by bridge"),
        (2, {"tier": "cloud"}, "a provisional Result of revision 0 by cloud"),
    ],
)
def test_revisions_must_fit(at: int, fields: dict[str, Any], why: str) -> None:
    evidence = in_two_steps()
    evidence.heard[at] = msgspec.structs.replace(evidence.heard[at], **fields)
    assert [text.split(": ")[1] for text in judge(evidence).wrong] == [why]
    evidence.excuses = [Excuse("e", [(128, 255)], told=True, why="the store that knew is spoilt")]
    assert judge(evidence).wrong == [] or at == 2


def test_two_provisional_results_say_the_same() -> None:
    evidence = in_two_steps()
    evidence.heard.append(msgspec.structs.replace(evidence.heard[2], at=99.0))
    assert judge(evidence).passed
    evidence.heard[-1].label, evidence.heard[-1].tier = "abduction", "bridge"
    assert "provisionally pendulum, then provisionally abduction" in " ".join(judge(evidence).wrong)


def test_two_final_results_of_different_revisions_are_two_values() -> None:
    evidence = in_two_steps()
    evidence.heard[2] = heard(128, tier="cloud", label="abduction")
    assert judge(evidence).wrong == ["window 128: two final Results, of revisions 0 and 1"]


def test_wrong_order_is_seen() -> None:
    evidence = sound()
    evidence.heard[2], evidence.heard[3] = evidence.heard[3], evidence.heard[2]
    assert judge(evidence).disorder == ["lane live: window 128 came first after window 192"]


def test_lanes_have_their_own_order() -> None:
    evidence = sound()
    evidence.heard = [
        *evidence.heard[5:],
        *(msgspec.structs.replace(one, lane="backlog") for one in evidence.heard[:5]),
    ]
    assert judge(evidence).passed


def test_windows_that_the_cloud_is_asked_about_are_not_overtaken() -> None:
    evidence = sound()
    late = msgspec.structs.replace(evidence.heard.pop(2), tier="cloud", reason="unsure: 0.812 < 0.900")
    evidence.heard.insert(4, late)
    assert judge(evidence).disorder == ["lane live: window 128 came first after window 256"]


def test_a_repeat_out_of_order_is_no_disorder() -> None:
    evidence = sound()
    evidence.heard.insert(4, heard(0))
    assert judge(evidence).passed


def test_what_was_published_while_nobody_listened_may_come_later() -> None:
    """The broker died at 12 s; the subscriber was back at 14 s, and a replay brings windows 192 and 256 at last."""
    evidence = sound()
    evidence.attended = 14.0
    before, missed, after = evidence.heard[:3], evidence.heard[3:5], evidence.heard[5:]
    for one in (*after, *missed):
        one.session, one.at = 2, 15.0
    evidence.heard = [*before, *after, *missed]
    assert judge(evidence).passed
    for late in evidence.accepted[5:]:
        late.at = 14.5
    evidence.heard[4], evidence.heard[5] = evidence.heard[5], evidence.heard[4]  # of rows accepted since
    assert judge(evidence).disorder == ["lane live: window 384 came first after window 448"]


def test_two_bridges_promise_no_order() -> None:
    evidence = sound()
    evidence.shared = True
    evidence.heard = [one for one in evidence.heard if one.seq % WINDOW == 0][::-1]
    verdict = judge(evidence)
    assert verdict.passed
    assert verdict.windows == ROWS // WINDOW


def test_an_excuse_needs_to_be_told_and_to_fit() -> None:
    evidence = sound()
    del evidence.heard[3]
    evidence.excuses = [Excuse("e", [(300, 310)], told=True, why="spoilt")]
    verdict = judge(evidence)
    assert (len(verdict.told), verdict.lost) == (1, [])
    assert verdict.passed
    evidence.excuses[0].told = False
    assert len(judge(evidence).lost) == 1
    evidence.excuses = [Excuse("e", [(320, 400)], told=True, why="spoilt"), Excuse("f", [(0, 999)], told=True, why="")]
    assert len(judge(evidence).lost) == 1


def test_a_result_of_other_rows_is_wrong() -> None:
    evidence = sound()
    evidence.truth["e", 64] = Truth("pendulum", 0.80)
    assert "the engine says" in judge(evidence).wrong[0]
    evidence.heard[1].tier = "cloud"  # another model
    assert judge(evidence).wrong == []


@pytest.mark.parametrize("stranger", [{"seq": 65}, {"epoch": "f"}])
def test_a_result_for_no_window_is_wrong(stranger: dict[str, Any]) -> None:
    evidence = sound()
    evidence.heard.append(msgspec.structs.replace(heard(64, id="other"), **stranger))
    assert len(judge(evidence).wrong) == 1


def test_rows_handed_over_last_may_have_been_accepted_without_a_word() -> None:
    evidence = sound()
    evidence.heard.append(heard(STARTS[-1] + HOP))
    assert judge(evidence).passed


def test_a_number_given_twice_is_wrong() -> None:
    evidence = sound()
    evidence.accepted.append(Accepted("e", 600, 650, 9.0))
    assert "row number 600 was given again" in judge(evidence).wrong[0]


def test_no_ledger_falls_short() -> None:
    evidence = sound()
    evidence.ledger = None
    assert not judge(evidence).passed
    evidence.ledger = ["rows 3–4 are nowhere"]
    assert judge(evidence).ledger == ["rows 3–4 are nowhere"]


def test_what_is_stuck_falls_short() -> None:
    evidence = sound()
    evidence.stuck = ["the agent did not end"]
    assert not judge(evidence).passed


def test_ranges() -> None:
    assert outside([(0, 9), (20, 29)], [(3, 4), (25, 99)]) == [(0, 2), (5, 9), (20, 24)]
    assert outside([(0, 4), (5, 9)], []) == [(0, 9)]
    assert outside([], [(0, 4)]) == []


@pytest.mark.parametrize("how", ["damaged", "truncated"])
def test_a_spoilt_store_is_another_file(tmp_path: Path, how: str) -> None:
    store = tmp_path / "store.db"
    with sqlite3.connect(store) as database:
        database.execute("CREATE TABLE t(x)")
        database.executemany("INSERT INTO t VALUES (?)", [(b"x" * 1_000,)] * 40)
    database.close()
    before = store.read_bytes()
    assert store.name in spoil(store, how, random.Random(1))
    assert store.read_bytes() != before
    assert spoil(tmp_path / "none.db", how, random.Random(1)) == "there was no store to spoil"


# ---- the ledger


def said(**other: Any) -> dict[str, Any]:
    line = {"epoch": "e", "accepted": ROWS, "safe": ROWS, "checks": [{"name": "windows", "holds": True}]}
    return {"adds_up": True, "silent": [], "series": [line | other], "streams": []}


def test_a_ledger_that_adds_up() -> None:
    assert not list(ledger.problems(said(), []))
    assert not list(ledger.differences(said(), sound().accepted, [], told=True))


def test_a_ledger_that_knows_less_than_the_source() -> None:
    assert "says that 600 rows" in next(ledger.differences(said(accepted=600), sound().accepted, [], told=True))
    assert "says that None rows" in next(ledger.differences(said(accepted=None), sound().accepted, [], told=True))
    assert not list(ledger.differences(said(accepted=None), sound().accepted, [], told=False))
    spoilt = Excuse("e", [(600, 639)], told=True, why="spoilt")
    assert not list(ledger.differences(said(accepted=600), sound().accepted, [spoilt], told=True))
    assert "says nothing of epoch e" in next(ledger.differences(said(epoch="f"), sound().accepted, [], told=True))


@pytest.mark.parametrize("holds", [False, None])
def test_what_does_not_add_up_needs_an_excuse_for_its_rows(holds: bool | None) -> None:
    short = said(checks=[{"name": "agent", "holds": holds, "rows": [[64, 90]], "says": "nowhere"}])
    assert "rows [[64, 90]]: nowhere" in next(ledger.problems(short, []))
    assert list(ledger.problems(short, [Excuse("e", [(0, 80)], told=True, why="")]))
    assert list(ledger.problems(short, [Excuse("e", [(0, 99)], told=False, why="")]))
    assert not list(ledger.problems(short, [Excuse("e", [(0, 99)], told=True, why="")]))


def test_a_silent_bridge_is_a_problem() -> None:
    assert list(ledger.problems(said() | {"silent": ["gw-1"]}, [])) == ["bridge gw-1 did not answer"]
