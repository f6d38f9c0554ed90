"""What is asked of the cloud, and how each question ends."""

from __future__ import annotations

import msgspec

from bridge.messages import Rows
from bridge.wire.offload import Reply


class Ask(msgspec.Struct, frozen=True, eq=False):
    """A window to ask the cloud about.

    Attributes:
        id: its id.
        model: model asked.
        values: float32, shape (rows, channels).
        deadline: monotonic seconds; the end is told by then.
        private: indexes of the channels to mask before anything leaves.
    """

    id: str
    model: str
    values: Rows
    deadline: float
    private: tuple[int, ...] = ()


class Answered(msgspec.Struct, frozen=True):
    """A cloud agent answered in time.

    Attributes:
        id: the window's.
        reply: the answer.
        note: how it came about, in words; empty for the usual way.
    """

    id: str
    reply: Reply
    note: str = ""


class Unanswered(msgspec.Struct, frozen=True):
    """No answer will come any more, and why."""

    id: str
    why: str
