"""Accounts that add up, for tests to spoil."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bridge.ledger.account import Account, AgentStatus, Dropped, GivenUp, Part, Windows
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


def whole_cuts(*seqs: int, key: SeriesKey) -> list[Any]:
    """Whole windows of 4 rows, of a sender that wants a receipt, as a turn cuts them."""
    route, ticket = SimpleNamespace(windows="whole"), SimpleNamespace(receipt=True)
    windows = [SimpleNamespace(id=f"{key.epoch}{seq}", key=key, seq=seq, values=[0.0] * 4) for seq in seqs]
    return [SimpleNamespace(window=window, route=route, ticket=ticket) for window in windows]


def agent(*parts: Part, online: bool = True) -> dict[AgentTopic, AgentStatus]:
    return {WHO: AgentStatus(online, 90.0, {"wrist": list(parts)})}
