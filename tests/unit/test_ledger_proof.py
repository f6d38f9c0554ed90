"""Each kind of disagreement is found, and named by row range."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.ledger import proof
from bridge.ledger.account import Account, Dropped, GivenUp, Part, StreamAccount, Windows
from tests.support.ledger import GOOD, KEY, PART, WHOLE_PART, WHOLES, but


def but_part(**changed: Any) -> Part:
    return msgspec.structs.replace(PART, **changed)


def check(name: str, one: Account) -> proof.Check:
    found = [check for check in proof.check_series(one, bridge="gw-1") if check.name == name]
    assert len(found) == 1
    return found[0]


def test_what_adds_up() -> None:
    checks = proof.check_series(GOOD, bridge="gw-1")
    assert [(one.name, one.holds, one.bridge) for one in checks] == [
        (name, True, "gw-1") for name in ("windows", "answers", "work", "kept")
    ]
    assert proof.check_agent(PART, [GOOD]).holds is True
    assert proof.verdict(checks) is True


@pytest.mark.parametrize(
    ("name", "changed", "rows", "says"),
    [
        ("windows", {"cut": 9}, [(0, 299), (400, 999)], "9 windows were cut, 10 fit"),
        ("windows", {"came": [(0, 299), (400, 900)]}, [(0, 299), (400, 900)], "10 windows were cut, 9 fit"),
        ("windows", {"cut": 11, "given_up_rows": 150}, [(0, 299), (400, 999)], "11 windows were cut, 10 fit"),
        ("answers", {"ended": [(0, 1), (7, 11)]}, [(128, 255)], "1 window cut, and neither answered"),
        ("answers", {"waiting": []}, [(768, 959)], "2 windows cut, and neither answered"),
        ("answers", {"ended": [(0, 3), (7, 11)]}, [(192, 319)], "1 window answered or on the way, whose rows never"),
        ("answers", {"opened": [(20, 20)]}, [(1_280, 1_407)], "1 window cut, and neither"),
        ("answers", {"before": [(0, 2)], "opened": [(1, 1)], "ended": [(7, 11)]}, [(64, 191)], "1 window cut"),
        ("answers", {"windows": Windows(answered=8, refused={"shape": 1})}, [], "9 windows were counted as they ended"),
        ("work", {"windows": Windows(7, waiting=2, astray=[768, 832])}, [(768, 959)], "nobody works at it"),
        ("kept", {"kept": 11}, [], "11 different Results are kept of 10 windows"),
    ],
)
def test_a_bridge_that_contradicts_itself(
    name: str, changed: dict[str, Any], rows: list[tuple[int, int]], says: str
) -> None:
    found = check(name, but(GOOD, **changed))
    assert found.holds is False
    assert found.rows == rows
    assert says in found.says
    assert name in proof.problem(found)
    assert "gw-1" in proof.problem(found)


def test_windows_cut_of_rows_that_a_damaged_store_lost_are_not_held_against_anybody() -> None:
    lost = {"came": [(0, 299), (310, 1_049)], "given_up": [GivenUp(300, 309, "damaged")], "given_up_rows": 10}
    whole = Account(KEY, came=[(0, 1_049)], window=128, hop=64, cut=15)
    assert check("windows", whole).holds is True
    found = check("windows", but(whole, **lost))
    assert (found.holds, found.rows) == (None, [(300, 309)])
    assert "windows were cut of rows that a damaged store has lost" in found.says
    assert check("windows", but(whole, **lost, cut=16)).holds is False
    gap = {**lost, "given_up": [GivenUp(300, 309, "gap")]}
    assert check("windows", but(whole, **gap)).holds is False


@pytest.mark.parametrize("rule", ["series", "model"])
def test_rows_of_unfinished_windows_are_dropped_by_rule_and_windows_before_them_are_complete(rule: str) -> None:
    # windows of 0, 64 and 128 were cut when rows from 192 on were pushed out, of which those to 255 were in the last
    done = {"cut": 12, "ended": [(0, 2), (5, 13)], "windows": Windows(12, astray=[])}
    gone: dict[str, Any] = {"given_up": [GivenUp(192, 299, rule)], "given_up_rows": 108}
    one = but(Account(KEY, came=[(0, 191), (300, 999)], window=128, hop=64, cut=0), **done, **gone)
    assert [found.holds for found in proof.check_series(one, bridge="gw-1")] == [True, True, True]
    assert check("windows", but(one, cut=11)).holds is None
    assert check("windows", but(one, cut=15)).holds is False
    assert check("answers", but(one, ended=[(0, 2), (5, 12)])).holds is False
    assert proof.check_agent(Part("e1", 1_000), [one]).holds is True


def test_rows_that_may_have_come_before_the_journal_was_lost_are_held_against_nobody() -> None:
    one = but(GOOD, came=[(400, 999)], given_up=[GivenUp(0, 399, "forgotten")], given_up_rows=400)
    found = proof.check_agent(PART, [one])
    assert (found.holds, found.rows) == (None, [(0, 299)])
    assert "the bridge's journal was lost" in found.says
    assert proof.check_agent(but_part(dropped=[Dropped(0, 399, "age")]), [one]).holds is True
    assert proof.check_agent(but_part(kept=[(0, 299), (950, 1_049)]), [one]).holds is True
    gap = but(
        one, came=[(500, 999)], given_up=[GivenUp(0, 399, "forgotten"), GivenUp(400, 499, "gap")], given_up_rows=500
    )
    assert proof.check_agent(PART, [gap]).rows == [(400, 499)]
    assert proof.check_agent(PART, [gap]).holds is False


def test_what_ended_in_an_earlier_life_is_not_due() -> None:
    one = but(GOOD, before=[(0, 2), (7, 9)], opened=[(9, 9)], ended=[(9, 11)], windows=Windows(3, waiting=2, astray=[]))
    assert check("answers", one).holds is True


def test_windows_below_what_is_still_known_of_are_not_due() -> None:
    ended = {"ended": [(7, 11)], "windows": Windows(8, waiting=2, astray=[])}
    assert check("answers", but(GOOD, ended_all=False, **ended)).holds is True
    assert check("answers", but(GOOD, **ended)).holds is False


def test_forgotten_ranges_prove_nothing_below_those_still_known() -> None:
    one = but(GOOD, given_up_rows=150, cut=8, ended=[(7, 11)], windows=Windows(5, waiting=2, astray=[]))
    assert check("windows", one).holds is None
    assert "50 rows were given up so long ago" in check("windows", one).says
    assert check("answers", one).holds is True
    assert check("answers", but(one, ended=[(8, 11)], windows=Windows(4, waiting=2))).rows == [(448, 575)]
    assert proof.check_agent(PART, [one]).holds is None
    assert check("answers", but(one, given_up=[], given_up_rows=50, ended=[])).holds is False


def test_a_bridge_in_the_middle_of_a_turn_and_one_that_does_not_run() -> None:
    assert check("work", but(GOOD, windows=Windows(7, refused={"shape": 1}, waiting=2))).holds is None
    stopped = proof.check_series(but(GOOD, windows=None, kept=None), bridge="")
    assert [(one.name, one.holds) for one in stopped] == [("windows", True), ("answers", None)]
    assert proof.verdict(stopped) is None


def test_a_series_of_which_nothing_came() -> None:
    empty = Account(KEY, came=[], window=128, hop=64, cut=0, windows=Windows(astray=[]))
    assert [one.holds for one in proof.check_series(empty, bridge="")] == [True, True, True]


def test_whole_windows() -> None:
    one = StreamAccount("ward", "w1", "wrist", whole=Windows(3, waiting=2, astray=[7]))
    (found,) = proof.check_stream(one, bridge="gw-1")
    assert (found.holds, found.rows) == (False, [(7, 7)])
    assert proof.check_stream(StreamAccount("ward", "w1", "wrist", 3), bridge="gw-1") == []
    assert proof.verdict([]) is None


@pytest.mark.parametrize("kept", [144, [(192, 255), (320, 399)]])
def test_whole_windows_that_one_bridge_or_the_agent_has(kept: Any) -> None:
    part = msgspec.structs.replace(WHOLE_PART, kept=kept)
    assert proof.check_agent(part, [], wholes=WHOLES, unsure=["gw-1: kept no longer"]).holds is True


@pytest.mark.parametrize("kept", [80, [(320, 399)]])
def test_whole_windows_that_nobody_has(kept: Any) -> None:
    part = msgspec.structs.replace(WHOLE_PART, kept=kept)
    found = proof.check_agent(part, [], wholes=WHOLES[:1])
    assert found.holds is False
    assert (128, 255) in found.rows
    part = msgspec.structs.replace(part, dropped=[Dropped(128, 255, "age")])
    assert proof.check_agent(part, [], wholes=WHOLES[:1]).holds is True


def test_whole_windows_of_which_bridges_may_know_more_than_they_say() -> None:
    part = msgspec.structs.replace(WHOLE_PART, kept=[(320, 399)])
    found = proof.check_agent(part, [], wholes=WHOLES[:1], unsure=["gw-2: kept no longer"])
    assert (found.holds, found.rows) == (None, [(128, 255)])
    assert found.says.endswith("; gw-2: kept no longer")
    forgets = [msgspec.structs.replace(WHOLES[0], ended_all=False)]
    assert proof.TOO_MANY in proof.check_agent(part, [], wholes=forgets).says
    assert proof.check_agent(part, [], wholes=forgets).holds is None
    assert proof.check_agent(part, [], ["gw-2"], wholes=WHOLES[:1]).holds is None


@pytest.mark.parametrize(
    ("part", "changed", "rows", "says"),
    [
        ({"kept": [(1_000, 1_040)]}, {}, [(1_041, 1_049)], "neither with the bridge nor with the agent"),
        ({"kept": 49}, {}, [(1_000, 1_049)], "the agent keeps only 49 rows"),
        ({"dropped": []}, {"given_up": [GivenUp(300, 399, "gap")]}, [(300, 399)], "no longer waited for"),
        ({}, {"came": [(0, 199), (400, 999)]}, [(200, 299)], "neither with the bridge nor with the agent"),
        (
            {"dropped": [Dropped(300, 349, "size")]},
            {"given_up": [GivenUp(300, 399, "held_rows")]},
            [(350, 399)],
            "no longer waited for",
        ),
    ],
)
def test_rows_that_neither_have(
    part: dict[str, Any], changed: dict[str, Any], rows: list[tuple[int, int]], says: str
) -> None:
    found = proof.check_agent(msgspec.structs.replace(PART, **part), [but(GOOD, **changed)])
    assert (found.holds, found.rows) == (False, rows)
    assert says in found.says


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ({"kept": 50}, {}),  # as many as are on the way
        ({"kept": [(0, 1_049)]}, {}),  # receipts are still on the way to it
        ({"accepted": 900}, {}),  # the bridge knows more by now
        ({"dropped": []}, {}),  # the agent told the bridge why, and lists it no more
        ({}, {"came": [(0, 299)], "held": [(400, 999)]}),
        ({"dropped": [Dropped(290, 450, "age")]}, {}),  # dropped, although some came
    ],
)
def test_rows_that_one_of_them_has(part: dict[str, Any], changed: dict[str, Any]) -> None:
    assert proof.check_agent(msgspec.structs.replace(PART, **part), [but(GOOD, **changed)]).holds is True


@pytest.mark.parametrize("kept", [50, [(1_000, 1_049)]])
def test_rows_dropped_so_long_ago_that_they_are_not_listed_may_be_those_that_are_missing(kept: Any) -> None:
    part = msgspec.structs.replace(PART, kept=kept, dropped_rows=160)  # of which 100 are listed
    for came, holds in (([(0, 239), (400, 999)], None), ([(0, 238), (400, 999)], False)):
        found = proof.check_agent(part, [but(GOOD, came=came)])
        assert found.holds is holds
    waited = but(GOOD, came=[(0, 239), (400, 999)], given_up=[GivenUp(240, 299, "gap"), GivenUp(300, 399, "age")])
    assert proof.check_agent(part, [waited]).holds is None
    assert "60 rows were dropped by the agent's rules so long ago" in proof.check_agent(part, [waited]).says


def test_two_bridges_are_safe_together() -> None:
    one, other = but(GOOD, came=[(0, 299)]), but(GOOD, came=[(400, 999)])
    assert proof.check_agent(PART, [one, other]).holds is True
    assert proof.check_agent(PART, [one]).rows == [(400, 949)]


def test_nobody_is_accused_while_somebody_is_silent_or_forgot() -> None:
    silent = proof.check_agent(PART, [but(GOOD, came=[(0, 299)])], ["gw-2"])
    assert (silent.holds, silent.rows) == (None, [(400, 949)])
    assert "gw-2 did not answer" in silent.says
    unknown = proof.check_agent(PART, [])
    assert unknown.holds is None
    assert "no bridge knows this series" in unknown.says
