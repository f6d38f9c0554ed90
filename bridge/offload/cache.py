"""Answers for windows that repeat byte for byte, for a declared time. No clock: `now` is an argument."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bridge.messages import Rows
    from bridge.wire.offload import Reply

MOST = 1_024


class _Kept(NamedTuple):
    reply: Reply
    model: str
    at: float


class Cache:
    """Replies by model and values.

    Args:
        seconds: for which an answer is used again; 0: never.
        most: answers kept; the one unused for longest goes first.
    """

    def __init__(self, seconds: float, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, model: str, values: Rows) -> bytes | None:
        """BLAKE2b-128 of what would be sent; None if nothing is kept anyway.

        Args:
            model: the model.
            values: float32, shape (rows, channels), after masking.
        """
        if self._seconds <= 0:
            return None
        digest = hashlib.blake2b(f"{model}\0{values.shape}\0".encode(), digest_size=16)
        digest.update(values.tobytes())
        return digest.digest()

    def find(self, key: bytes | None, now: float) -> tuple[Reply, float] | None:
        """The answer kept under a key, and its age in seconds."""
        kept = self._kept.get(key) if key is not None else None
        if key is None or kept is None:
            return None
        if now - kept.at >= self._seconds:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept.reply, now - kept.at

    def keep(self, key: bytes | None, model: str, reply: Reply, now: float) -> None:
        """Keep an answer; without a key nothing is done."""
        if key is None:
            return
        self._kept[key] = _Kept(reply, model, now)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, model: str) -> None:
        """Drop a model's answers: another version of it is asked from now on."""
        for key in [key for key, kept in self._kept.items() if kept.model == model]:
            del self._kept[key]
