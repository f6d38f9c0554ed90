"""A bridge's state folder as accounts, while the bridge does not run."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.errors import StoreError
from bridge.ledger.account import Page
from bridge.ledger.source import saved_accounts
from bridge.pipeline import restore
from bridge.pipeline.window import Patience, Windower
from bridge.store.conversion import VERSION
from bridge.store.database import translated
from bridge.store.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.config import Config


def read(config: Config, base: Path, *, device: str | None) -> Page:
    """What the state folder holds; nothing in it is changed.

    Args:
        config: the bridge's settings.
        base: folder that relative paths in them start from.
        device: the only device to read of; None: all.

    Raises:
        ConfigError: the settings cannot be used.
        ModelError: a model cannot be used.
        StoreError: there is no journal, it cannot be read, or a bridge uses it.
    """
    path = assembly.state_folder(config, base) / "journal.db"
    _look(path)
    table = assembly.route_table(config, assembly.manifests(config, assembly.catalog_of(config, base)))
    journal = Journal(path, lambda _: None)
    try:
        saved = journal.load()
    finally:
        journal.close()
    windower = Windower(Patience(), lambda: "")
    restore.take_up_series(saved, table, windower, now=time.monotonic())
    entries = [entry for entry in windower.entries if device in {None, entry.key.device}]
    return Page(config.bridge.id, time.time(), None, series=saved_accounts(entries, saved))


def _look(path: Path) -> None:
    """Make sure that opening the journal does no more than open it: not begin one, convert it, or set it aside.

    Raises:
        StoreError: it would.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is none; has a bridge with these settings ever run?")
    with translated(str(path)):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=0.5)
        try:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        finally:
            connection.close()
    if verdict != "ok":
        raise StoreError(f"{path}: damaged: {' '.join(verdict.split())}; the bridge sets it aside when it starts")
    if version != VERSION:
        raise StoreError(f"{path}: schema {version}, this program knows {VERSION}; a bridge converts it when it starts")
