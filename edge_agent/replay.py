"""`edge-agent replay`: one recording as an agent, until all of it is receipted or nothing moves any more."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge import settings, topics
from bridge.errors import ConfigError
from bridge.ranges import text, union
from bridge.store.outbox import MARKS
from edge_agent.app import App, make_uplink
from edge_agent.config import Settings
from edge_agent.sources.replay import Replay

if TYPE_CHECKING:
    import argparse

    from bridge.ranges import Range
    from bridge.store.outbox import Outbox

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two looks at the progress


class Report(msgspec.Struct, frozen=True):
    """How a replay ended.

    Attributes:
        rows: rows accepted.
        missing: of these, ranges without a receipt.
        refused: ranges that the bridge refused, or that a rule dropped.
        epoch: name of the numbering.
        seconds: how long it took.
        stopped: why it ended early, if it did.
    """

    rows: int
    missing: list[tuple[int, int]]
    refused: list[tuple[int, int]]
    epoch: str
    seconds: float
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Every row of the recording is receipted."""
        return not (self.missing or self.refused or self.stopped)


def make_settings(args: argparse.Namespace) -> Settings:
    """Settings from the command line.

    Raises:
        ConfigError: naming the setting and why.
    """
    agent = {
        "site": args.site,
        "device": args.device,
        "url": args.url,
        "state": args.state,
        "protocol": args.protocol,
        "username": args.username,
        "password_file": args.password_file,
        "ca": args.ca,
        "cert": args.cert,
        "key": args.key,
        "receipt_timeout": args.receipt_timeout,
    }
    stream = {
        "name": args.stream,
        "source": "replay",
        "files": [str(args.file)],
        "rate": args.rate,
        "speed": args.speed,
        "columns": [name for name in (args.columns or "").split(",") if name],
        "rows_per_message": args.rows_per_message,
        "encoding": args.encoding,
        "packing": args.packing,
        "windows": args.windows,
    }
    data: dict[str, Any] = {"agent": _given(agent), "streams": [_given(stream)]}
    return settings.parse(data, Settings, name="edge-agent replay")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def make_epoch(given: str | None) -> str:
    """The epoch asked for, or a new one.

    Raises:
        ConfigError: it is no epoch.
    """
    if given is None:
        return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    if not 1 <= len(given) <= 64 or not given.isprintable():
        raise ConfigError("edge-agent replay: --epoch: must be 1 to 64 printable characters")
    return given


async def replay(found: Settings, *, epoch: str, timeout: float) -> Report:  # noqa: ASYNC109 # of progress, not of the call
    """Replays, and reports how it ended; the state file is deleted once all is receipted.

    Args:
        found: one agent with one stream.
        epoch: name of the numbering.
        timeout: seconds without a receipt, while one is due, after which it gives up.

    Raises:
        ConfigError: the recording cannot be used.
        StoreError: the outbox cannot be used.
        TakenOver: another client uses our name.
    """
    agent, (stream,) = found.agent, found.streams
    opened = Replay(Path(stream.files[0]), columns=stream.columns)  # a bad file is told before anything is sent
    if opened.empty:
        raise ConfigError(f"{stream.files[0]}: no rows")
    name = epoch if topics.is_name(epoch) else hashlib.blake2b(epoch.encode(), digest_size=8).hexdigest()
    whole_name = f"replay-{agent.site}-{agent.device}-{stream.name}-{name}"
    store = Path(agent.state) / f"{whole_name}.db"
    uplink = make_uplink(agent, client_id=whole_name, keep_session=False)
    app = App(agent, found.streams, store=store, uplink=uplink, epoch=epoch, lanes=False)
    began = time.monotonic()
    stopped, missing = await _watched(app, timeout)
    refused: list[Range] = union([*(rows for route in app.sender.routes for rows in route.refused), *app.dropped])
    report = Report(app.accepted, missing, refused, epoch, round(time.monotonic() - began, 3), stopped)
    if not missing and stopped is None:
        for suffix in ("", "-wal", "-shm", MARKS):
            store.with_name(store.name + suffix).unlink(missing_ok=True)
    else:
        log.error("kept in %s; --epoch %s goes on from there", store, epoch)
    return report


def _is_due(box: Outbox) -> bool:
    """Whether receipts are due: for rows, or for what was given up."""
    return box.bytes > 0 or bool(box.given_up.series)


async def _watched(app: App, timeout: float) -> tuple[str | None, list[Range]]:  # noqa: ASYNC109 # as above
    """Why it ended early, and which rows have no receipt."""
    work = asyncio.create_task(app.run())
    due_since: float | None = None
    missing: list[Range] = []
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=LOOK)
            pending = not work.done() and app.opened and _is_due(app.keeper.box)
            due_since = (due_since or time.monotonic()) if pending else None
            if due_since is not None and time.monotonic() - max(due_since, app.sender.progressed) > timeout:
                missing = await app.missing()
                what = f"; missing: rows {text(missing)}" if missing else " for rows that were given up"
                return f"no receipt for {timeout:.0f} s{what}", missing
        work.result()
    except asyncio.CancelledError:
        missing = await app.missing()
        return f"stopped; missing: rows {text(missing)}", missing
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    return None, missing
