"""The ledger for people, and as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from bridge.ledger.account import FORGOTTEN, MODEL
from bridge.ledger.proof import PUSHED_OUT
from bridge.ranges import count, text, union

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.ledger.account import GivenUp
    from bridge.ledger.statement import Agent, Line, Statement, StreamLine

SERIES = ("stream", "epoch", "accepted", "safe", "in flight", "dropped", "windows", "answered", "waiting", "refused",
          "seen", "adds up")  # fmt: skip
STREAMS = ("stream", "duplicates", "late", "refused", "answered", "waiting", "without", "seen", "adds up")
_NAMES = 2  # columns that begin on the left
_WORDS = {True: "yes", False: "NO", None: "?"}
_WHY = {FORGOTTEN: "the bridge's journal was lost", MODEL: "the bridge's model takes other channels since"}


def as_json(statement: Statement) -> str:
    """All of it, in one line."""
    return msgspec.json.encode(statement).decode()


def as_text(statement: Statement, now: float) -> str:
    """Tables, what is dropped, and the proof.

    Args:
        statement: the ledger.
        now: seconds since 1970, for how long ago something was seen.
    """
    parts = [_bridges(statement)]
    if statement.series:
        parts.append(_table(SERIES, [cells for line in statement.series for cells in _series(line, now)]))
    if statement.streams:
        parts.append(_table(STREAMS, [_stream(line, now) for line in statement.streams]))
    parts += [_newer(statement.series), _dropped(statement.series), _unchecked(statement), _outcome(statement)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bridges(statement: Statement) -> str:
    lines = [
        f"bridge {name}: "
        + (
            "stopped; this is what its state folder holds"
            if since is None
            else f"runs since {_clock(since)}; answered, waiting and refused are counted from then on"
        )
        for name, since in statement.bridges.items()
    ]
    lines += [f"bridge {name}: does not answer" for name in statement.silent]
    lines += [
        f"agent {one.site}/{one.device}: {_presence(one)}"
        + ("" if one.tells else f", does not tell what it accepted{'' if one.online else ' until it is back'}")
        for one in statement.agents
        if not (one.online and one.tells)
    ]
    return "\n".join(lines)


def _presence(one: Agent) -> str:
    """Whether it is there; when it went, only a goodbye tells: a will was written when the agent connected."""
    if one.online:
        return f"online, said so {_clock(one.t)}"
    return f"OFFLINE{' since' if one.tells else '; last connected'} {_clock(one.t)}"


def _series(line: Line, now: float) -> Iterable[tuple[str, ...]]:
    """A row of the table for each bridge; what is true of all of them is in the first."""
    first = (
        f"{line.site}/{line.device}/{line.stream}",
        line.epoch,
        _number(line.accepted),
        str(line.safe),
        _number(line.in_flight),
        str(line.dropped_rows),
    )
    last = (_ago(line.seen, now), _WORDS[line.adds_up])
    done = [
        (str(one.windows), _number(one.answered, one.provisional), str(one.waiting), _refused(one.refused))
        for one in line.bridges.values()
    ] or [("–",) * 4]
    for i, cells in enumerate(done):
        yield (*first, *cells, *last) if i == 0 else (*("",) * len(first), *cells, *("",) * len(last))


def _stream(line: StreamLine, now: float) -> tuple[str, ...]:
    one, whole = line.account, line.account.whole
    refused = {reason: count for reason, count in one.refused.items() if reason != "stale"}
    return (
        f"{one.site}/{one.device}/{one.stream}",
        str(one.duplicates),
        str(one.refused.get("stale", 0)),
        _refused(refused),
        "–" if whole is None else _number(whole.answered, whole.provisional),
        "–" if whole is None else str(whole.waiting),
        "–" if whole is None else _refused(whole.refused),
        _ago(one.seen, now),
        "–" if not line.checks else _WORDS[line.adds_up],
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    names = _NAMES if head is SERIES else 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < names else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )


def _newer(lines: list[Line]) -> str:
    """Where the bridge knows of more rows than the agent had accepted when it told."""
    return "\n".join(
        f"newer  {line.site}/{line.device}/{line.stream} {line.epoch}: {line.safe} rows are safe, more than accepted: "
        f"the agent told that at {_clock(line.told)}, and rows came since"
        for line in lines
        if line.accepted is not None and line.safe > line.accepted
    )


def _dropped(lines: list[Line]) -> str:
    """Which rows were given up, by rule."""
    found = []
    for line in lines:
        by_rule: dict[str, list[GivenUp]] = {}
        for one in line.dropped:
            by_rule.setdefault(one.rule, []).append(one)
        for rule, dropped in by_rule.items():
            rows = text((one.first, one.last) for one in dropped)
            found.append(
                f"dropped  {line.site}/{line.device}/{line.stream} {line.epoch}: rows {rows} ({_rule(rule, line)})"
            )
        came = count(union((one.first, one.last) for one in line.dropped)) - line.dropped_rows
        if came > 0:
            name = f"{line.site}/{line.device}/{line.stream} {line.epoch}"
            found.append(
                f"came     {name}: {came} of these rows all the same: a copy was on its way; they count as safe"
            )
    return "\n".join(found)


def _rule(rule: str, line: Line) -> str:
    if rule == PUSHED_OUT and line.pushed_out is not None:
        return f"{rule}: pushed out of the bridge's memory, last at {_clock(line.pushed_out)}"
    return f"{rule}: {why}" if (why := _WHY.get(rule)) else rule


def _unchecked(statement: Statement) -> str:
    """What could not be checked, and why: each reason once."""
    reasons: dict[str, int] = {}
    all_checks = [line.checks for line in statement.series] + [line.checks for line in statement.streams]
    for check in (check for checks in all_checks for check in checks):
        if check.holds is None:
            what = f"{check.name}: {check.says}"
            reasons[what] = reasons.get(what, 0) + 1
    lines = [f"not checked, {count} ×  {what}" for what, count in reasons.items()]
    if statement.forgotten:
        lines.append(f"not checked: {statement.forgotten} streams, forgotten since the start, for there were too many")
    return "\n".join(lines)


def _outcome(statement: Statement) -> str:
    if statement.problems:
        return "\n".join(["DOES NOT ADD UP:", *(f"  {problem}" for problem in statement.problems)])
    alone = sum(line.accepted is None for line in statement.series)
    proven, total = sum(line.adds_up is True for line in statement.series), len(statement.series)
    if not total and not statement.streams:
        return "nothing is known of what was asked for"
    if not total:
        return f"{'adds up' if statement.adds_up else 'nothing contradicts'}: {len(statement.streams)} streams"
    said = (
        f"adds up: {total} series" if proven == total else f"nothing contradicts; checked in full: {proven} of {total}"
    )
    return said + (f"; of {alone} no agent tells what it accepted" if alone else "")


def _number(count: int | None, provisional: int | None = 0) -> str:
    if count is None:
        return "–"
    return f"{count} (+{provisional})" if provisional else str(count)


def _refused(by_reason: dict[str, int] | None) -> str:
    if by_reason is None:
        return "–"
    return ", ".join(f"{count} {reason}" for reason, count in by_reason.items()) or "0"


def _ago(seen: float | None, now: float) -> str:
    """How long ago; "–": not since the bridge's start."""
    if seen is None:
        return "–"
    seconds = max(0.0, now - seen)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _clock(t: float | None) -> str:
    if t is None:
        return "an unknown time"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t))
    except (OverflowError, ValueError, OSError):  # a time that this machine's calendar does not have
        return "an unknown time"
