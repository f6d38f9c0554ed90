"""What a new journal takes over from a damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.store.conversion import checksum
from bridge.store.database import Broken, transaction
from bridge.store.journal_reading import decoded, fetched, index_of, saved_of
from bridge.store.mending import mended
from bridge.store.records import Changes, encode
from bridge.store.salvage import DAMAGE, readable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from bridge.messages import SeriesKey
    from bridge.store.mending import Span
    from bridge.store.segments import Segments

_NAMED = 8  # ranges that the sentence names


def recover(old: sqlite3.Connection, new: sqlite3.Connection, *, segments: Segments, mark: int) -> str:
    """Copies all records that can be read, and gives up rows that series had and are in none of them.

    Args:
        old: the damaged journal.
        new: an empty one with its tables; it gets the large records, too.
        segments: the damaged one's large records.
        mark: number of the newest record, as far as known beside the journal.

    Returns:
        A sentence about how far it went.

    Raises:
        sqlite3.Error: the new one cannot be written.
    """
    with transaction(new):
        good = [_copy(new, *found) for found in _good(old, segments)]
        for _, window in readable(old, "decided", "id"):
            if isinstance(window, str):
                new.execute("INSERT OR IGNORE INTO decided (id) VALUES (?)", (window,))
        mend = mended(saved_of(new, segments, index_of(new, segments)))
        last = max([mark, *good])
        _copy(new, last + 1, encode(Changes(series=[series for series, _ in mend])))
    lost = last - min(good) + 1 - len(good) if good else last
    return (
        f"{len(good)} records recovered, {lost} or more lost: rows that were acknowledged and unfinished windows need, "
        "open questions and Results not sent may be missing"
        + _named([(series.key, span) for series, spans in mend for span in spans])
    )


def _good(old: sqlite3.Connection, segments: Segments) -> Iterator[tuple[int, bytes]]:
    """Records that are as they were written; version 2 had no checksums, so there what can be read must do."""
    try:
        old.execute("SELECT crc FROM turns LIMIT 0")
        columns = "body, crc"
    except DAMAGE:
        columns = "body, NULL"
    for n, stored, crc in readable(old, "turns", columns):
        try:
            if isinstance(body := fetched(n, stored, segments), bytes):
                decoded(n, body, checksum(n, body) if columns == "body, NULL" else crc)
                yield n, body
        except Broken:
            continue


def _copy(new: sqlite3.Connection, n: int, body: bytes) -> int:
    new.execute("INSERT OR IGNORE INTO turns VALUES (?, ?, ?)", (n, body, checksum(n, body)))
    return n


def _named(lost: list[tuple[SeriesKey, Span]]) -> str:
    if not lost:
        return ""
    names = [
        f"{key.site}/{key.device}/{key.stream} {first}–{end - 1} of epoch {key.epoch}"
        for key, (first, end) in lost[:_NAMED]
    ]
    more = f" and {len(lost) - _NAMED} more ranges" if len(lost) > _NAMED else ""
    return f"; known to be lost are rows {', '.join(names)}{more}"
