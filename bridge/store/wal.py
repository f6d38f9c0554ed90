"""Whether a write-ahead log holds commits that SQLite will not see.

SQLite reads the log up to the first frame whose checksum fails, and takes that for its end
(https://www.sqlite.org/walformat.html): so a damaged frame takes all later commits with it, in silence. What a power
loss leaves looks different. With `synchronous = FULL` a transaction is synced before the next one is written, so only
the last one can be torn, and no frame goes on from where a torn transaction ends. Each frame's checksum goes on from
the one before it: a frame that fits behind a commit which SQLite does not reach proves damage. A log that is cut, or
damaged in its last transaction, cannot be told from one that ends there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = 0x377F0682  # the lowest bit says that checksums are of big-endian words
_HEADER = 32
_FRAME = 24  # bytes before each page
_SIZES = {1 << n for n in range(9, 17)}  # of a page
_BLOCK = 4 << 20  # bytes of frames looked at together
_Bytes = NDArray[np.uint8]
_Words = NDArray[np.uint32]


class _Frames(NamedTuple):
    """The frames of a log: `good` ones go on from the one before them.

    Attributes:
        page: number of each frame's page, from 1.
        commit: whether it ends a transaction.
        good: its checksum is right after the stored one of the frame before, and its salts are the log's.
    """

    page: _Words
    commit: NDArray[np.bool_]
    good: NDArray[np.bool_]


def unseen(path: Path) -> int | None:
    """Number of the frame, from 1, at which SQLite stops although a commit behind it was complete; 0 for the header.

    Args:
        path: the log. Nobody may write to it meanwhile.

    Returns:
        None where nothing was lost, or nothing can be told.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists() or path.stat().st_size < _HEADER:
        return None
    header = _header(path)
    if header is None:
        return _header_lost(path)
    words, order = header
    return _stops_early(_read(path, words[2], order, _part(path, 16, 8), (words[6], words[7])))


def begins(path: Path) -> bool:
    """Whether the log has a good header. Without one SQLite goes on with the salts that it finds there.

    Then frames of the earlier log, behind new ones, would look like the new log's.

    Raises:
        OSError: it cannot be read.
    """
    return _header(path) is not None


def _header(path: Path) -> tuple[list[int], str] | None:
    """Words of the header, and the order of those that are summed, as NumPy calls it; None if it is not whole."""
    header = _part(path, 0, _HEADER)
    if len(header) < _HEADER:
        return None
    words = [int.from_bytes(header[at : at + 4], "big") for at in range(0, _HEADER, 4)]
    order = ">u4" if words[0] & 1 else "<u4"
    summed = _checksums(np.frombuffer(header[:24], np.uint8).reshape(1, -1), np.zeros((1, 2), np.uint32), order)
    good = words[0] & ~1 == _MAGIC and words[2] in _SIZES and summed[0].tolist() == words[6:]
    return (words, order) if good else None


def _stops_early(frames: _Frames) -> int | None:
    bad = np.flatnonzero(~frames.good)
    if not len(bad):
        return None
    stop = int(bad[0])
    proof = (frames.commit & frames.good)[stop:-1] & frames.good[stop + 1 :]  # a torn header may say "commit", too
    return stop + 1 if proof.any() else None


def _header_lost(path: Path) -> int | None:
    """With a bad header SQLite sees nothing of the log: 0 if that makes a difference, None if all was in the database.

    A power loss may tear the header when the log begins anew, after all of it went into the database.
    """
    base = path.with_name(path.name.removesuffix("-wal"))
    # never closed: closing any descriptor of a file gives up all of a process's locks on it (fcntl(2)), SQLite's too
    database = os.open(base, os.O_RDONLY | os.O_CLOEXEC)
    size = int.from_bytes(os.pread(database, 2, 16), "big")
    size = 1 << 16 if size == 1 else size
    if size not in _SIZES:
        return None  # the database's own header is damaged, too, which SQLite tells
    first, second = (_part(path, _HEADER + n * (_FRAME + size) + 8, 8) for n in range(2))
    frames = _read(
        path,
        size,
        "<u4" if sys.byteorder == "little" else ">u4",
        second or first,  # the damage that hit the header may reach into the first frame
        None,
    )
    if not frames.good.any():
        return None
    begin = int(np.argmax(frames.good))  # what the first frame goes on from was in the header
    run = frames.good[begin:]
    end = len(run) if run.all() else int(np.argmin(run))
    commits = np.flatnonzero(frames.commit[begin : begin + end])
    if not len(commits):
        return None
    newest = {int(frames.page[n]): n for n in range(begin, begin + int(commits[-1]) + 1)}
    return 0 if any(_differs(path, database, size, page, n) for page, n in newest.items()) else None


def _differs(path: Path, database: int, size: int, page: int, n: int) -> bool:
    return _part(path, _HEADER + n * (_FRAME + size) + _FRAME, size) != os.pread(database, size, (page - 1) * size)


def _part(path: Path, at: int, count: int) -> bytes:
    """So many bytes from there on, fewer where the file ends."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(file, count, at)
    finally:
        os.close(file)


def _read(path: Path, size: int, order: str, salt: bytes, start: tuple[int, int] | None) -> _Frames:
    """All whole frames.

    Args:
        path: the log.
        size: bytes of a page.
        order: of the words that are summed, as NumPy calls it.
        salt: the log's.
        start: checksum that the first frame goes on from; None where it is not known.
    """
    step = _FRAME + size
    count = (path.stat().st_size - _HEADER) // step
    page, commit, good = np.zeros(count, np.uint32), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    before = np.array([start or (0, 0)], np.uint32)
    for at in range(0, count, together := max(1, _BLOCK // step)):
        end = min(count, at + together)
        raw = np.frombuffer(_part(path, _HEADER + at * step, (end - at) * step), np.uint8).reshape(-1, step)
        head = raw[:, :_FRAME].copy().view(">u4").astype(np.uint32)
        stored = head[:, 4:6]
        summed = np.concatenate([raw[:, :8], raw[:, _FRAME:]], axis=1)
        found = _checksums(summed, np.concatenate([before, stored[:-1]]), order)
        ours = (raw[:, 8:16] == np.frombuffer(salt, np.uint8)).all(axis=1)
        page[at:end], commit[at:end] = head[:, 0], (head[:, 1] > 0) & ours
        good[at:end] = (found == stored).all(axis=1) & ours
        before = stored[-1:]
    return _Frames(page, commit, good)


def _checksums(data: _Bytes, before: _Words, order: str) -> _Words:
    """SQLite's checksum of each row of bytes, going on from the one given for it; shape (rows, 2)."""
    words = np.ascontiguousarray(data).view(order).astype(np.uint32).T.copy()  # a word of all rows side by side
    first, second = before[:, 0].copy(), before[:, 1].copy()
    for n in range(0, len(words), 2):
        first += words[n] + second
        second += words[n + 1] + first
    return np.stack([first, second], axis=1)
