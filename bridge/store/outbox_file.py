"""The file of an outbox: its tables, how it is opened, and what it says of itself."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

from bridge.store.age import Moment
from bridge.store.database import open_database
from bridge.store.given_up import SCHEMA as GIVEN_UP
from bridge.store.outbox_recovery import recover

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

MARKS = ".marks"  # beside the outbox
VERSION = 4
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS series(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch TEXT NOT NULL,
       next INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, UNIQUE(stream, epoch))""",
    """CREATE TABLE IF NOT EXISTS blobs(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL,
       count INTEGER NOT NULL, t REAL, dt REAL, kept REAL NOT NULL, data BLOB NOT NULL, crc INTEGER)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS blobs_rows ON blobs(series, first)",
    *GIVEN_UP,
)


def open_outbox(path: Path, tell: Callable[[str], None]) -> sqlite3.Connection:
    """The outbox in this file; a damaged one is recovered as far as it can be read.

    Args:
        path: the file.
        tell: takes a sentence for the owner when a damaged file was set aside.

    Raises:
        StoreError: as `open_database`.
    """
    return open_database(
        path, SCHEMA, version=VERSION, tell=tell, convert=_convert, recover=partial(recover, marks=marks_of(path))
    )


def marks_of(path: Path) -> Path:
    """The marks of the outbox in this file."""
    return path.with_name(path.name + MARKS)


def name_of(db: sqlite3.Connection) -> str:
    """The name of the store, which a new file gets at random."""
    db.execute("INSERT OR IGNORE INTO meta VALUES('store', ?)", (secrets.token_hex(4),))
    return str(db.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()[0])


def noted(db: sqlite3.Connection) -> Moment | None:
    """The moment that was noted last; None: there is none, or none that can be read."""
    found = db.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
    return None if found is None else Moment.read(str(found[0]))


def note(db: sqlite3.Connection, moment: Moment) -> None:
    """Keeps this moment for the next start."""
    db.execute("INSERT OR REPLACE INTO meta VALUES('clock', ?)", (moment.text(),))


def _convert(db: sqlite3.Connection, version: int) -> None:
    """Version 1 had no checksums; those of versions 2 and 3 are taken as they are (`is_intact`)."""
    if version < 2:
        db.execute("ALTER TABLE blobs ADD COLUMN crc INTEGER")
