"""Does it add up? Numbers that were counted independently are compared, and rows named where they differ. Pure.

* `windows`: a count, raised as windows are cut and kept over restarts; and the windows that fit into what came.
* `answers`: the windows that fit into the rows that came since the bridge's start, and those that were open then; and
  the windows that were answered or refused since, or are on their way: by number.
* `work`: the windows on their way; and those that somebody works at: the cloud, a lane, the connection.
* `kept`: the Results kept for a replay; and the windows cut, which they cannot outnumber.
* `agent`: the rows that an agent accepted, by its own store; and the rows that came to a bridge, were dropped by a rule
  of the agent's owner, or are still with the agent. Of whole windows, for which a bridge keeps no series: the rows that
  a bridge answered or refused, or is about to.

A check that cannot be made says so (`holds` is None) and proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.ledger.account import FORGOTTEN as BEFORE
from bridge.ledger.account import MODEL
from bridge.ranges import Range, both, count, minus, numbers, text, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.ledger.account import Account, Part, StreamAccount, WholeAccount, Windows

FORGOTTEN = "rows were given up so long ago that their ranges are forgotten"
NOT_KNOWN = "the bridge's journal was lost: nobody knows whether these rows came before"
DAMAGED = "damaged"  # rule of rows that were lost with a store
LOST = "rows that a damaged store has lost since"
PUSHED_OUT = "series"  # rule of rows given up for want of room
UNFINISHED = frozenset({PUSHED_OUT, MODEL})  # such rules: windows across the first of the rows may be complete
SHORT = "rows that were given up since"
TOO_MANY = "ranges of answered windows are forgotten, for there were too many"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison.

    Attributes:
        name: which; see the module.
        holds: whether it adds up; None: cannot be said.
        says: why not, in words and numbers; what is missing to say it.
        rows: rows, inclusive, that are not accounted for.
        bridge: bridge of which this is true; "": all of them together.
    """

    name: str
    holds: bool | None
    says: str = ""
    rows: list[Range] = []
    bridge: str = ""


def check_series(account: Account, *, bridge: str) -> list[Check]:
    """What one bridge's own numbers prove of a series of rows."""
    found = [_windows(account)]
    if account.windows is None:
        found.append(Check("answers", None, "the bridge does not run: nobody counts what is answered"))
    else:
        found += [_answers(account), _work(account.windows, account.window)]
    if account.kept is not None:
        found.append(_kept(account))
    return [msgspec.structs.replace(one, bridge=bridge) for one in found]


def check_stream(account: StreamAccount, *, bridge: str) -> list[Check]:
    """What one bridge's own numbers prove of a stream of whole windows; nothing of rows."""
    if account.whole is None:
        return []
    return [msgspec.structs.replace(_work(account.whole, 1), bridge=bridge)]


def _windows(account: Account) -> Check:
    fit = count(numbers(account.came, account.window, account.hop))
    if account.unnamed:
        if account.cut <= fit:
            return Check("windows", None, f"{account.unnamed} {FORGOTTEN}")
    elif account.cut == _complete(account):
        return Check("windows", holds=True)
    elif gone := [one for one in account.given_up if one.rule in {DAMAGED, *UNFINISHED}]:
        rows = [(one.first, one.last) for one in gone]
        most = count(numbers(union([*account.came, *rows]), account.window, account.hop))
        if fit <= account.cut <= most:
            why = LOST if any(one.rule == DAMAGED for one in gone) else SHORT
            return Check("windows", None, f"{account.cut - fit} windows were cut of {why}", rows)
    return Check("windows", False, f"{account.cut} windows were cut, {fit} fit into the rows that came", account.came)


def _unfinished(account: Account) -> list[Range]:
    return [(one.first, one.last) for one in account.given_up if one.rule in UNFINISHED]


def _complete(account: Account) -> int:
    """How many windows were complete: those that begin before rows that were given up so may need some of them.

    Such rows begin with a window (`Series.give_up_all`), and those before it were cut.
    """
    window, hop, gone = account.window, account.hop, _unfinished(account)
    needed = [(first, min(last, first - hop + window - 1)) for first, last in gone if window > hop]
    begun = [(first // hop, last // hop) for first, last in gone]
    return count(minus(numbers(union([*account.came, *needed]), window, hop), begun))


def _answers(account: Account) -> Check:
    fit = numbers(account.came, account.window, account.hop)
    due = union([*minus(fit, account.before), *account.opened])
    done = union([*account.ended, *account.waiting])
    due = both(due, [(_first_sure(account), account.came[-1][1])]) if account.came else due
    cut = numbers(union([*account.came, *_unfinished(account)]), account.window, account.hop)
    lost, strange = minus(due, done), minus(done, union([*cut, *account.opened]))
    if lost:
        says = f"{_count(count(lost), 'window')} cut, and neither answered, nor refused, nor on the way"
        return Check("answers", False, says, _as_rows(lost, account))
    if strange:
        says = f"{_count(count(strange), 'window')} answered or on the way, whose rows never came"
        return Check("answers", False, says, _as_rows(strange, account))
    windows = account.windows
    if windows is not None and account.ended_all:
        ended, counted = count(account.ended), windows.answered + sum(windows.refused.values())
        if ended != counted:
            return Check("answers", False, f"{counted} windows were counted as they ended, {ended} are known to have")
    return Check("answers", holds=True)


def _first_sure(account: Account) -> int:
    """Number of the first window of which all is known: older ranges of what was given up or ended may be forgotten."""
    row = account.given_up[0].first if account.unnamed and account.given_up else 0
    ended = account.ended[0][0] if account.ended and not account.ended_all else 0
    return max(-(-row // account.hop), ended)


def _as_rows(windows: Iterable[Range], account: Account) -> list[Range]:
    return union((low * account.hop, high * account.hop + account.window - 1) for low, high in windows)


def _work(windows: Windows, rows: int) -> Check:
    if windows.astray is None:
        return Check("work", None, "the bridge was in the middle of a turn that cannot end: its disk refuses")
    if not windows.astray:
        return Check("work", holds=True)
    lost = union((seq, seq + rows - 1) for seq in windows.astray)
    return Check(
        "work", False, f"{_count(len(windows.astray), 'window')} without an answer, and nobody works at it", lost
    )


def _kept(account: Account) -> Check:
    if account.kept is None or account.kept <= account.cut:
        return Check("kept", holds=True)
    return Check("kept", False, f"{account.kept} different Results are kept of {account.cut} windows")


def check_agent(
    part: Part,
    accounts: Sequence[Account],
    silent: Sequence[str] = (),
    *,
    wholes: Sequence[WholeAccount] = (),
    unsure: Sequence[str] = (),
) -> Check:
    """Whether each row that an agent accepted came, was dropped by rule, or is still with the agent.

    Of whole windows a row came when its window was answered, refused, or is on its way.

    The agent's part must be older than the accounts: what came to a bridge since is no longer with the agent.

    Args:
        part: what the agent says of a series.
        accounts: what the bridges say of it; rows safe with any of them are safe.
        silent: bridges that did not answer: what is missing may be with them.
        wholes: what the bridges say of its whole windows.
        unsure: why bridges may have answered more whole windows than they say.
    """
    unknown = [(one.first, one.last) for account in accounts for one in account.given_up if one.rule == BEFORE]
    found, unknown = _agent(part, accounts, wholes, unknown)
    if found.holds and unknown:
        return msgspec.structs.replace(found, holds=None, says=NOT_KNOWN, rows=unknown)
    unnamed = sum(account.unnamed for account in accounts)
    if found.holds and unnamed:
        return msgspec.structs.replace(found, holds=None, says=f"{unnamed} {FORGOTTEN}")
    if found.holds is False and silent:
        return msgspec.structs.replace(found, holds=None, says=f"{found.says}; {', '.join(silent)} did not answer")
    if found.holds is False and wholes:
        doubts = list(unsure) + [TOO_MANY for one in wholes if not one.ended_all][:1]
        return msgspec.structs.replace(found, holds=None, says="; ".join([found.says, *doubts])) if doubts else found
    if found.holds is False and not accounts:
        return msgspec.structs.replace(found, holds=None, says=f"{found.says}; no bridge knows this series any more")
    return found


def _agent(
    part: Part, accounts: Sequence[Account], wholes: Sequence[WholeAccount], unknown: Sequence[Range]
) -> tuple[Check, list[Range]]:
    """What can be said; and which rows, of those that nobody has, may have come before the bridge forgot them."""
    accepted: list[Range] = [(0, part.accepted - 1)]
    came = union(
        [
            *(one for account in accounts for one in [*account.came, *account.held]),
            *(one for whole in wholes for one in [*whole.ended, *whole.waiting]),
        ]
    )
    dropped = union(one for one in dropped_rows(part, accounts))
    away = minus(minus(accepted, came), dropped)
    forgotten = both(away, unknown)
    if not isinstance(part.kept, int):
        forgotten = minus(forgotten, part.kept)
    away = minus(away, forgotten)
    given_up = [(one.first, one.last) for account in accounts for one in account.given_up if one.by_bridge]
    lost = both(away, minus(given_up, [*came, *unknown]))
    if lost:
        return _missing(part, lost, count(lost), "no longer waited for by the bridge"), forgotten
    if isinstance(part.kept, int):
        where = f"not with the bridge, and the agent keeps only {part.kept} rows"
        return _missing(part, away, count(away) - part.kept, where), forgotten
    lost = minus(away, part.kept)
    return _missing(part, lost, count(lost), "neither with the bridge nor with the agent"), forgotten


def _missing(part: Part, rows: list[Range], number: int, where: str) -> Check:
    """What is to be said of so many of these rows that nobody has."""
    if number <= 0:
        return Check("agent", holds=True)
    if number <= part.unlisted:
        says = f"{part.unlisted} rows were dropped by the agent's rules so long ago that it lists them no more"
        return Check("agent", None, says, rows)
    return Check("agent", False, f"accepted, not dropped by rule, {where}", rows)


def dropped_rows(part: Part, accounts: Sequence[Account]) -> list[Range]:
    """Rows that were given up by a rule of the sender's owner, by what the agent lists and what it told the bridges."""
    told = [(one.first, one.last) for account in accounts for one in account.given_up if not one.by_bridge]
    return union([*told, *((one.first, one.last) for one in part.dropped)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verdict(checks: Iterable[Check]) -> bool | None:
    """Whether all of it adds up: False if anything does not, None if something could not be checked."""
    outcomes = [check.holds for check in checks]
    if False in outcomes:
        return False
    return None if None in outcomes or not outcomes else True


def problem(check: Check) -> str:
    """What does not add up, for a person, with its rows."""
    rows = f"rows {text(check.rows)}: " if check.rows else ""
    where = f" ({check.bridge})" if check.bridge else ""
    return f"{check.name}{where}: {rows}{check.says}"
