"""The bridge's own account of provisional and final Results beside what was seen from outside. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Account(msgspec.Struct, frozen=True):
    """A device as seen from outside.

    Attributes:
        stream: the kind of its stream; of whole windows the ledger knows the present life's Results alone.
        windows: sent.
        provisional: of which a provisional Result was heard.
        complete: all of it belongs to the bridge's present life, whose Results alone it counts.
    """

    stream: Literal["rows", "whole"]
    windows: int
    provisional: int
    complete: bool


def disagreements(said: dict[str, Any], code: int, accounts: Mapping[str, Account], bridge: str) -> list[str]:
    """Where the ledger says another thing than was seen, a sentence each.

    Args:
        said: what `inference-bridge ledger --json` printed.
        code: its exit code.
        accounts: what was seen, by device.
        bridge: the bridge's id.
    """
    return list(_disagreements(said, code, accounts, bridge))


def _disagreements(said: dict[str, Any], code: int, accounts: Mapping[str, Account], bridge: str) -> Iterator[str]:
    if code or said["adds_up"] is False:
        yield f"does not add up (exit code {code}): {said['problems'][:1]}"
    for device, account in sorted(accounts.items()):
        part = _told(said, device, account, bridge)
        if part is None:
            yield f"says nothing of {device}"
            continue
        seen = {} if account.stream == "whole" else {"windows": account.windows, "waiting": 0}
        if account.complete:
            seen |= {"answered": account.windows, "provisional": account.provisional}
        for what, count in seen.items():
            if part.get(what, 0) != count:  # what is zero may be left out
                yield f"{device}: {what} {part.get(what, 0)}, seen {count}"


def _told(said: dict[str, Any], device: str, account: Account, bridge: str) -> dict[str, Any] | None:
    """What the bridge says of a device's only stream."""
    if account.stream == "rows":
        found = [line["bridges"].get(bridge) for line in said["series"] if line["device"] == device]
    else:
        lines = [line["account"] for line in said["streams"] if line["bridge"] == bridge]
        found = [one["whole"] for one in lines if one["device"] == device]
    return found[0] if found else None
