"""What bridges and agents say, put together: a line for each series, and the proof. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bridge.ledger import proof
from bridge.ledger.account import Account, AgentStatus, GivenUp, Page, Part, StreamAccount, WholeAccount
from bridge.messages import SeriesKey
from bridge.ranges import Range, count, minus, union
from bridge.topics import AgentTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORGOTTEN = "numberings of whole windows are forgotten, for there were too many"

Statuses: TypeAlias = "Mapping[AgentTopic, AgentStatus]"


class BridgePart(msgspec.Struct, frozen=True):
    """What one bridge did with a series.

    Attributes:
        windows: windows cut, over all lives of the series.
        answered: those whose final Result the broker took since the bridge's start; None: the bridge does not run.
        provisional: those whose provisional Result it took, likewise.
        refused: those that got no Result, by reason, likewise.
        waiting: those on their way.
    """

    windows: int
    answered: int | None
    provisional: int | None
    refused: dict[str, int] | None
    waiting: int


class Line(msgspec.Struct, frozen=True):
    """A series.

    Attributes:
        site: site of the device.
        device: the device.
        stream: the stream.
        epoch: name of the numbering.
        accepted: rows that the agent accepted; None: no agent tells.
        safe: rows that came to a bridge; of whole windows, those whose window was answered or refused.
        in_flight: rows accepted that are with the agent only; None: no agent tells.
        held: of the safe ones, those that wait for rows before them.
        dropped: ranges given up, and the rule; the latest, where there are many.
        dropped_rows: how many rows were given up.
        bridges: what each bridge did.
        seen: seconds since 1970 of the latest rows; None: none since the bridge's start.
        checks: the proof.
        adds_up: its outcome; None: nothing contradicts, but something could not be checked.
        pushed_out: seconds since 1970 at which a bridge last gave rows up by the rule `series`; None: not lately.
        told: seconds since 1970 at which the agent told what it accepted; None: it does not, or not when.
    """

    site: str
    device: str
    stream: str
    epoch: str
    accepted: int | None
    safe: int
    in_flight: int | None
    held: int
    dropped: list[GivenUp]
    dropped_rows: int
    bridges: dict[str, BridgePart]
    seen: float | None
    checks: list[proof.Check]
    adds_up: bool | None
    pushed_out: float | None = None
    told: float | None = None


class StreamLine(msgspec.Struct, frozen=True):
    """What one bridge counted of a stream since its start, whatever the numbering, and the proof."""

    bridge: str
    account: StreamAccount
    checks: list[proof.Check]
    adds_up: bool | None


class Agent(msgspec.Struct, frozen=True):
    """An agent.

    Attributes:
        site: first level of its topics.
        device: second.
        online: whether it is there.
        t: see `AgentStatus`; None: not known.
        tells: it tells its part, which a will does not.
    """

    site: str
    device: str
    online: bool
    t: float | None
    tells: bool


class Statement(msgspec.Struct, frozen=True):
    """The ledger.

    Attributes:
        adds_up: False if anything contradicts; else whether all of it could be checked (None: not all).
        problems: what contradicts, in words.
        bridges: bridges that answered, and since when they run; None: read from a state folder.
        silent: bridges that did not answer.
        agents: what agents there are.
        series: a line each.
        streams: a line each.
        forgotten: streams whose figures bridges had to drop, for there were too many.
    """

    adds_up: bool | None
    problems: list[str]
    bridges: dict[str, float | None]
    silent: list[str]
    agents: list[Agent]
    series: list[Line]
    streams: list[StreamLine]
    forgotten: int


def state(
    pages: Iterable[Page],
    statuses: Statuses,
    *,
    silent: Iterable[str] = (),
    device: str | None = None,
    since: float | None = None,
) -> Statement:
    """Put together what was said.

    Args:
        pages: what the bridges say.
        statuses: what the agents say; older than the pages.
        silent: bridges that did not answer.
        device: the only device to speak of; None: all.
        since: seconds since 1970; leave out series and streams of which nothing came since then, unless they do not
            add up; None: all.
    """
    said = list(pages)
    silent = sorted(silent)
    accounts = _by_series(said)
    parts = _parts(statuses, device)
    wholes: dict[SeriesKey, list[WholeAccount]] = {}
    for whole in (whole for page in said for whole in page.wholes):
        wholes.setdefault(whole.key, []).append(whole)
    doubts = _Doubts(said, silent)
    lines = [
        _line(key, accounts.get(key, {}), parts.get(key), statuses, wholes.get(key, []), doubts)
        for key in sorted(accounts.keys() | parts.keys(), key=_order)
    ]
    streams = [_stream_line(page.bridge, one) for page in said for one in page.streams]
    lines = [one for one in lines if _recent(one.seen, since) or one.adds_up is False]
    streams = [one for one in streams if _recent(one.account.seen, since) or one.adds_up is False]
    checks = [(_name(line), check) for line in lines for check in line.checks]
    checks += [(_name(one.account), check) for one in streams for check in one.checks]
    return Statement(
        adds_up=proof.verdict(check for _, check in checks),
        problems=[f"{name}: {proof.problem(check)}" for name, check in checks if check.holds is False],
        bridges={page.bridge: page.started for page in said},
        silent=silent,
        agents=_agents(statuses, device),
        series=lines,
        streams=streams,
        forgotten=sum({page.bridge: page.forgotten for page in said}.values()),
    )


class _Doubts:
    """Why bridges may know more of a series than they say.

    Args:
        pages: what they say.
        silent: those that did not answer.
    """

    def __init__(self, pages: list[Page], silent: list[str]) -> None:
        self.silent = silent
        self._of_all = dict.fromkeys(f"{page.bridge}: {page.unsure}" for page in pages if page.unsure)
        self._of_all |= dict.fromkeys(f"{page.bridge}: {FORGOTTEN}" for page in pages if page.forgotten)
        self._of: dict[tuple[str, str, str], list[str]] = {}
        for page in pages:
            for one in page.streams:
                if one.epochs_forgotten:
                    self._of.setdefault((one.site, one.device, one.stream), []).append(f"{page.bridge}: {FORGOTTEN}")

    def unsure(self, key: SeriesKey) -> list[str]:
        """Whole windows of this series that bridges may have answered, in words."""
        return [*self._of_all, *self._of.get((key.site, key.device, key.stream), ())]


def _name(one: Line | StreamAccount) -> str:
    stream = f"{one.site}/{one.device}/{one.stream}"
    return f"{stream} {one.epoch}" if isinstance(one, Line) and one.epoch else stream


def _order(key: SeriesKey) -> tuple[str, str, str, str]:
    return key.site, key.device, key.stream, key.epoch


def _recent(seen: float | None, since: float | None) -> bool:
    return since is None or (seen is not None and seen >= since)


def _by_series(pages: list[Page]) -> dict[SeriesKey, dict[str, Account]]:
    found: dict[SeriesKey, dict[str, Account]] = {}
    for page in pages:
        for account in page.series:
            found.setdefault(account.key, {})[page.bridge] = account
    return found


def _parts(statuses: Statuses, device: str | None) -> dict[SeriesKey, Part]:
    return {
        SeriesKey(who.site, who.device, stream, part.epoch): part
        for who, status in statuses.items()
        if device in {None, who.device}
        for stream, parts in (status.streams or {}).items()
        for part in parts
    }


def _agents(statuses: Statuses, device: str | None) -> list[Agent]:
    return [
        Agent(who.site, who.device, status.online, status.t, status.streams is not None)
        for who, status in sorted(statuses.items())
        if device in {None, who.device}
    ]


def _line(
    key: SeriesKey,
    accounts: dict[str, Account],
    part: Part | None,
    statuses: Statuses,
    wholes: list[WholeAccount],
    doubts: _Doubts,
) -> Line:
    mine = list(accounts.values())
    checks = [check for bridge, one in accounts.items() for check in proof.check_series(one, bridge=bridge)]
    who = AgentTopic(key.site, key.device)
    if part is not None:
        checks.append(proof.check_agent(part, mine, doubts.silent, wholes=wholes, unsure=doubts.unsure(key)))
    elif who in statuses:
        checks.append(proof.Check("agent", None, "the agent's status tells nothing of this series"))
    came = union(
        [
            *(one for account in mine for one in [*account.came, *account.held]),
            *(one for whole in wholes for one in whole.ended),
        ]
    )
    dropped = _dropped(part, mine)
    lost = minus(((one.first, one.last) for one in dropped), came)
    accepted = None if part is None else part.accepted
    unnamed = max((one.unnamed for one in mine), default=0)
    return Line(
        key.site,
        key.device,
        key.stream,
        key.epoch,
        accepted=accepted,
        safe=count(came) - unnamed,
        in_flight=None if accepted is None else count(minus(minus([(0, accepted - 1)], came), lost)),
        held=count(_held(mine)),
        dropped=dropped,
        dropped_rows=count(lost) + unnamed,
        bridges={bridge: _bridge_part(one) for bridge, one in accounts.items()},
        seen=max(
            (t for t in [*(one.seen for one in mine), *(one.seen for one in wholes)] if t is not None), default=None
        ),
        checks=checks,
        adds_up=proof.verdict(checks),
        pushed_out=max((one.pushed_out for one in mine if one.pushed_out is not None), default=None),
        told=statuses[who].t if part is not None else None,
    )


def _held(accounts: list[Account]) -> list[Range]:
    """Rows that wait for rows before them at one bridge, and came to no other."""
    return minus(
        (one for account in accounts for one in account.held), (one for account in accounts for one in account.came)
    )


def _dropped(part: Part | None, accounts: list[Account]) -> list[GivenUp]:
    """Ranges given up, each with the rule: the sender's word before that of a bridge that waited in vain."""
    found = [GivenUp(one.first, one.last, one.rule) for one in part.dropped] if part is not None else []
    told = [one for account in accounts for one in account.given_up]
    for one in sorted(told, key=lambda one: one.by_bridge):
        new = minus([(one.first, one.last)], [(known.first, known.last) for known in found])
        found += [GivenUp(first, last, one.rule) for first, last in new]
    return sorted(found, key=lambda one: one.first)


def _bridge_part(account: Account) -> BridgePart:
    windows = account.windows
    if windows is None:
        return BridgePart(account.cut, None, None, None, count(account.waiting))
    return BridgePart(account.cut, windows.answered, windows.provisional, windows.refused, windows.waiting)


def _stream_line(bridge: str, account: StreamAccount) -> StreamLine:
    checks = proof.check_stream(account, bridge=bridge)
    return StreamLine(bridge, account, checks, proof.verdict(checks))
