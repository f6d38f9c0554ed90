"""First Results of a stream come in the order of its windows, in each lane, though the cloud is asked about some.

A provisional Result is a first one, and has its place like any other; the final one that follows it comes when it can.

From a question to the cloud on, the windows behind it form a line: one decided meanwhile is held, and published when
all before it are. Its Result is in the journal from the decision on, so that nobody waits for the network with
acknowledging it, and a process that dies holds nothing in memory alone.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bridge.messages import Window
from bridge.pipeline.turn import Decided

if TYPE_CHECKING:
    from bridge.messages import Lane
    from bridge.store.records import SavedResult

MOST_HELD = 16_384  # held windows, about 1 kB each; above, the bridge answers what most of them wait for
FAR = 1_024  # windows that one which comes too late is put before at most

Name: TypeAlias = "tuple[str, str, str, Lane]"  # site, device, stream, and lane
_Windows: TypeAlias = "OrderedDict[str, Window | Decided]"


class _Line(msgspec.Struct, eq=False):
    """Windows from the first open question on, by id; as they are while the cloud is asked, and decided."""

    windows: OrderedDict[str, Window | Decided]
    held: int = 0


class Order:
    """All lines.

    Attributes:
        lines: each begins with a window that the cloud is asked about.
        held: decided windows behind such ones.
    """

    def __init__(self) -> None:
        self.lines: dict[Name, _Line] = {}
        self.held = 0
        self._journalled: set[Name] = set()

    def blocks(self, window: Window) -> bool:
        """Whether a window that is decided now has its place in a line."""
        return name_of(window) in self.lines

    def knows(self, window: Window) -> bool:
        """Whether this window was put into a line."""
        line = self.lines.get(name_of(window))
        return line is not None and window.id in line.windows

    def asked(self, window: Window) -> None:
        """The cloud is asked about this window: whatever comes now comes behind it."""
        name = name_of(window)
        line = self.lines.get(name)
        if line is None:
            line = self.lines[name] = _Line(OrderedDict())
        _put(line.windows, window, window)

    def decided(self, one: Decided) -> list[Decided]:
        """Put a decided window in its place; a final answer takes that of a provisional one that is still held.

        Returns:
            What is to be published now, in order; empty where it is held.
        """
        line = self.lines[name_of(one.window)]
        windows = line.windows
        before = windows.get(one.window.id)
        _put(windows, one.window, one)
        if not isinstance(before, Decided):
            line.held += 1
            self.held += 1
        return self._due(one.window, line)

    def gone(self, window: Window) -> list[Decided]:
        """A window gets no Result; what waited for it is to be published now."""
        line = self.lines[name_of(window)]
        del line.windows[window.id]
        return self._due(window, line)

    def _due(self, window: Window, line: _Line) -> list[Decided]:
        windows = line.windows
        due: list[Decided] = []
        while windows and isinstance(first := next(iter(windows.values())), Decided):
            windows.popitem(last=False)
            due.append(first)
        if not windows:
            del self.lines[name_of(window)]
        line.held -= len(due)
        self.held -= len(due)
        return due

    def journals(self, window: Window) -> None:
        """This whole window goes to the journal, where others of its stream do not."""
        self._journalled.add(name_of(window))

    def secured(self, published: list[Decided]) -> list[SavedResult]:
        """Results of a turn that belong into the journal for the sake of the order.

        What the journal does not have the broker sends again, which may take until after the next process has published
        what it does have. So what precedes a whole window that goes to the journal goes there with it.
        """
        if not self._journalled:
            return []
        found = [
            one
            for one in published
            if not one.journalled and one.window.reply_to is None and name_of(one.window) in self._journalled
        ]
        for one in found:
            one.journalled = True
        self._journalled.clear()
        return [one.saved() for one in found]

    @property
    def most_awaited(self) -> str:
        """The window that most others wait for, by its id."""
        longest = max(self.lines.values(), key=lambda line: line.held)
        return next(iter(longest.windows))


def _put(windows: _Windows, window: Window, what: Window | Decided) -> None:
    """At its place if it was asked about, else at the end; but before later rows of its series.

    A whole window that comes again after a restart may be one before those that the journal had.
    """
    known = window.id in windows
    windows[window.id] = what
    if known:
        return
    after: list[str] = []
    for name, other in islice(reversed(windows.items()), 1, FAR):
        there = other if isinstance(other, Window) else other.window
        if there.key != window.key or there.seq < window.seq:
            break
        after.append(name)
    for name in reversed(after):
        windows.move_to_end(name)


def name_of(window: Window) -> Name:
    """The line that a window would be in."""
    key = window.key
    return key.site, key.device, key.stream, window.lane
