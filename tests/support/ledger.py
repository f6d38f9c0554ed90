"""Accounts that add up, for tests to spoil."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from bridge.ledger.account import Account, AgentStatus, Dropped, GivenUp, Page, Part, WholeAccount, Windows
from bridge.messages import SeriesKey
from bridge.topics import AgentTopic

KEY = SeriesKey("ward", "w1", "wrist", "e1")
WHO = AgentTopic("ward", "w1")

# 1,000 rows, of which 300–399 were given up: windows of 128 rows every 64 from 0, 64, 128 and from 448 on, to 832
GOOD = Account(
    KEY,
    came=[(0, 299), (400, 999)],
    window=128,
    hop=64,
    cut=10,
    given_up=[GivenUp(300, 399, "age")],
    given_up_rows=100,
    ended=[(0, 2), (7, 11)],
    waiting=[(12, 13)],
    windows=Windows(answered=7, refused={"shape": 1}, waiting=2, astray=[]),
    kept=8,
    seen=100.0,
)
PART = Part("e1", 1_050, [(950, 1_049)], [Dropped(300, 399, "age")])

WHOLES = [  # of two bridges, 64 rows a window
    WholeAccount(KEY, 64, [(0, 127), (256, 319)], seen=70.0),
    WholeAccount(KEY, 64, [(128, 191)], waiting=[(192, 255)]),
]
WHOLE_PART = Part("e1", 400, [(192, 255), (320, 399)])


def but(one: Account, **changed: Any) -> Account:
    return msgspec.structs.replace(one, **changed)


def page(*series: Account, **more: Any) -> Page:
    return Page(more.pop("bridge", "gw-1"), 200.0, 50.0, series=list(series), **more)


def whole_cuts(*seqs: int, key: SeriesKey) -> list[Any]:
    """Whole windows of 4 rows, of a sender that wants a receipt, as a turn cuts them."""
    route, ticket = SimpleNamespace(windows="whole"), SimpleNamespace(receipt=True)
    windows = [SimpleNamespace(id=f"{key.epoch}{seq}", key=key, seq=seq, values=[0.0] * 4) for seq in seqs]
    return [SimpleNamespace(window=window, route=route, ticket=ticket, entry=None) for window in windows]


def agent(*parts: Part, online: bool = True) -> dict[AgentTopic, AgentStatus]:
    return {WHO: AgentStatus(online, 90.0, {"wrist": list(parts)})}
