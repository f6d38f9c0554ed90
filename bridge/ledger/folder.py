"""A bridge's state folder as accounts, while the bridge does not run."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.errors import StoreError
from bridge.ledger.account import Page
from bridge.ledger.book import Book
from bridge.ledger.earlier import INCOMPLETE, note
from bridge.ledger.source import saved_accounts, take_up
from bridge.pipeline import restore
from bridge.pipeline.entries import Patience
from bridge.pipeline.window import Windower
from bridge.store.conversion import VERSION
from bridge.store.database import Broken, translated
from bridge.store.journal import Journal
from bridge.store.kept_file import KeptFile, Query
from bridge.store.kept_record import VERSION as KEPT_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.config import Config
    from bridge.pipeline.routes import RouteTable
    from bridge.store.records import Saved


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
    _look(path, VERSION)
    table = assembly.route_table(config, assembly.manifests(config, assembly.catalog_of(config, base)))
    saved = _saved(path)
    windower = Windower(Patience(), lambda: "")
    restore.take_up_series(saved, table, windower, now=time.monotonic())
    entries = [entry for entry in windower.entries if device in {None, entry.key.device}]
    book = Book()
    take_up(book, windower.entries, saved, table)
    unsure = _read_kept(path.with_name("results.db"), table, book)
    names = [one for one in book.streams() if device in {None, one[1]}]
    wholes = [whole for one in names for whole in book.wholes(one, book.waiting())]
    return Page(
        config.bridge.id, time.time(), None, series=saved_accounts(entries, saved), wholes=wholes, unsure=unsure
    )


def _read_kept(path: Path, table: RouteTable, book: Book) -> str:
    """Note in the book what the kept Results answer; returns why there may have been more, "" if there were not.

    Raises:
        StoreError: it cannot be read, or a bridge uses it.
    """
    if not path.is_file() or all(route.windows != "whole" for route in table.routes):
        return ""
    _look(path, KEPT_VERSION)
    file = KeptFile(path, lambda _: None, age=float("inf"), size=1 << 62, now=time.monotonic(), wall=time.time())
    complete, query = True, Query()
    try:
        while (found := file.read(query)) is not None:
            complete &= note(found[0], table, book)
            query = query._replace(after=found[1])
        return "" if complete and not file.incomplete else INCOMPLETE
    finally:
        file.close()


def _saved(path: Path) -> Saved:
    """All that the journal holds.

    Raises:
        StoreError: it is damaged, or cannot be read.
    """
    try:
        journal = Journal(path, lambda _: None, mend=False)
        try:
            return journal.load()
        finally:
            journal.close()
    except Broken as why:
        raise StoreError(f"{why}; the bridge sets it aside when it starts") from why


def _look(path: Path, wanted: int) -> None:
    """Make sure that opening a store does no more than open it: not begin one, convert it, or set it aside.

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
    if version != wanted:
        raise StoreError(f"{path}: schema {version}, this program knows {wanted}; a bridge converts it when it starts")
