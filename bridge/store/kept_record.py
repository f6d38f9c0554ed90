"""A record of published Results: its columns, its checksum; what becomes of an earlier or a damaged file of them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bridge.store.database import Broken, transaction
from bridge.store.salvage import DAMAGE, readable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

VERSION = 2
SCHEMA = (
    # `whole` before `body`: so the ids are read without the pages that the body overflows into
    """CREATE TABLE IF NOT EXISTS results (n INTEGER PRIMARY KEY, t REAL NOT NULL, whole TEXT, body BLOB NOT NULL,
       crc INTEGER)""",
    "CREATE TABLE IF NOT EXISTS unheard (since INTEGER NOT NULL)",  # one row, or none
    "CREATE TABLE IF NOT EXISTS incomplete (yes INTEGER NOT NULL)",  # one row, or none
)
Row: TypeAlias = "tuple[int, float, str | None, bytes, int | None]"  # number, t, whole windows, body, checksum

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError)  # of decoding damaged bytes


def packed(n: int, t: float, whole: str | None, items: Sequence[tuple[str, bytes]]) -> Row:
    """A record, as it is written."""
    t, body = float(t), _encode(items)
    return n, t, whole, body, _checksum(n, t, whole, body)


def unpacked(row: Row) -> list[tuple[str, bytes]]:
    """Topic and payload of its Results.

    Raises:
        Broken: it is not what was written.
    """
    if not _is_sound(row):
        raise Broken(f"record {row[0]} is damaged: its checksum is wrong")
    try:
        return _decode(row[3])
    except _UNREADABLE as why:
        raise Broken(f"record {row[0]} is damaged ({why})") from why


def convert(db: sqlite3.Connection, _version: int) -> None:
    """Version 1 had no checksums: those of its records stay empty, until they are over age."""
    db.execute("ALTER TABLE results ADD COLUMN crc INTEGER")


def recover(old: sqlite3.Connection, new: sqlite3.Connection) -> str:
    """Copies all records that are as they were written; returns a sentence about how far it went."""
    try:
        old.execute("SELECT crc FROM results LIMIT 0")
        columns = "t, whole, body, crc"
    except DAMAGE:
        columns = "t, whole, body, NULL"
    good = bad = 0
    with transaction(new):
        for row in readable(old, "results", columns):
            if _is_sound(row):
                new.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?)", row)
                good += 1
            else:
                bad += 1
        for _, since in readable(old, "unheard", "since"):
            if isinstance(since, int):
                new.execute("INSERT INTO unheard VALUES (?)", (since,))
    return f"{good} records of published Results recovered, {bad} or more lost: those cannot be published again"


def _is_sound(row: tuple[Any, ...]) -> bool:
    n, t, whole, body, crc = row
    typed = isinstance(t, float) and isinstance(whole, str | None) and isinstance(body, bytes)
    return typed and (crc is None or crc == _checksum(n, t, whole, body))


def _checksum(n: int, t: float, whole: str | None, body: bytes) -> int:
    """CRC-32 of a record: SQLite itself would hand out a damaged one."""
    return zlib.crc32(body, zlib.crc32(f"{n} {t!r} {whole}".encode()))
