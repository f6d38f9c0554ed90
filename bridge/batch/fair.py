"""A queue that is fair between owners in bytes, and first in, first out within each.

Deficit round robin (Shreedhar and Varghese, 1996): owners take turns, each turn is worth `QUANTUM` bytes, and what an
owner could not use because its next item is bigger is kept for its next turn. So one owner's flood delays the others by
about a turn, whatever it sends. While everything fits into one `take` there is nothing to be fair about: it is handed
out as it came.

Giving up is fair as well: no owner loses anything while it holds no more than the max–min fair share of the room.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

T = TypeVar("T")

QUANTUM = 65_536  # bytes of a turn: a burst of small messages, or part of a big one


class _Flow(Generic[T]):
    """Items of one owner, their bytes, and the bytes it may still send in its turn."""

    __slots__ = ("credit", "held", "items", "owner")

    def __init__(self, owner: Hashable) -> None:
        self.owner = owner
        self.items: deque[T] = deque()
        self.held = 0
        self.credit = QUANTUM


class FairQueue(Generic[T]):
    """See the module.

    Attributes:
        size: bytes of all items.
    """

    def __init__(self, *, owner: Callable[[T], Hashable], size: Callable[[T], int]) -> None:
        """Begin empty.

        Args:
            owner: whose item it is.
            size: its bytes; always the same for an item.
        """
        self._owner = owner
        self._size = size
        self._fresh: list[T] = []  # as they came; in flows only once they do not all fit
        self._flows: dict[Hashable, _Flow[T]] = {}
        self._ring: deque[_Flow[T]] = deque()
        self._flowing = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._fresh) + self._flowing

    def add(self, items: list[T], size: int) -> None:
        """Add items of so many bytes in all."""
        self._fresh += items
        self.size += size

    def take(self, most: int, size: int, blocked: Callable[[Any], bool] | None = None) -> list[T]:
        """The next items.

        Args:
            most: how many at most; above 0.
            size: bytes after which no more are taken; one item may pass it.
            blocked: owners whose items are to wait.
        """
        if blocked is None and not self._flowing and len(self._fresh) <= most and self.size <= size:
            taken, self._fresh, self.size = self._fresh, [], 0
            return taken
        self._sort_in()
        waiting = set() if blocked is None else {owner for owner in self._flows if blocked(owner)}
        ring = self._ring if not waiting else deque(flow for flow in self._ring if flow.owner not in waiting)
        taken = self._take_turns(ring, most, size)
        if waiting:
            ring.extend(flow for flow in self._ring if flow.owner in waiting)
            self._ring = ring
        return taken

    def _take_turns(self, ring: deque[_Flow[T]], most: int, size: int) -> list[T]:
        taken: list[T] = []
        while ring and len(taken) < most and size > 0:
            flow = ring[0]
            cost = self._size(flow.items[0])
            if flow.credit < cost and len(ring) > 1:
                flow.credit += QUANTUM
                ring.rotate(-1)
                continue
            taken.append(flow.items.popleft())
            flow.credit = max(0, flow.credit - cost)
            size -= cost
            self._less(flow, cost)
            if not flow.items:
                ring.popleft()
                del self._flows[flow.owner]
        return taken

    def give_back(self, items: list[T], taken: T) -> None:
        """Put items of the last `take` back before all others of their owners.

        Args:
            items: the last ones that were handed out, in that order; whose first they are, it is their turn.
            taken: one before them that was more work than its bytes tell: its owner has had its turn.
        """
        self._sort_in()
        back: dict[Hashable, list[T]] = {}
        for item in items:
            back.setdefault(self._owner(item), []).append(item)
        due: deque[_Flow[T]] = deque()
        for owner, its in back.items():
            flow = self._flows.setdefault(owner, _Flow(owner))
            flow.items.extendleft(reversed(its))
            flow.credit = QUANTUM
            held = sum(map(self._size, its))
            flow.held += held
            self.size += held
            due.append(flow)
        due.extend(flow for flow in self._ring if flow.owner not in back)
        spent = self._flows.get(self._owner(taken))
        if spent is not None:
            due.remove(spent)
            due.append(spent)
            spent.credit = 0
        self._ring = due
        self._flowing += len(items)

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Drop all items but the wanted ones."""
        self._sort_in()
        for flow in self._flows.values():
            self._rebuild(flow, [item for item in flow.items if wanted(item)])
        self._sweep()

    def shed(self, size: int, may_go: Callable[[T], bool]) -> list[T]:
        """Give up items, of each owner the oldest first, until so many bytes are left or nothing more may go.

        Owners with no more than their max–min fair share lose nothing.

        Args:
            size: bytes that may stay; with more owners than messages fit, those that came first give up theirs.
            may_go: whether an item may be given up.

        Returns:
            What was given up.
        """
        self._sort_in()
        share = fair_share([flow.held for flow in self._flows.values()], size)
        gone: list[T] = []
        over = self.size - size
        for flow in self._flows.values():
            excess = flow.held - share
            kept: list[T] = []
            for item in flow.items:
                if excess > 0 and over > 0 and may_go(item):
                    cost = self._size(item)
                    excess -= cost
                    over -= cost
                    gone.append(item)
                else:
                    kept.append(item)
            if len(kept) < len(flow.items):
                self._rebuild(flow, kept)
        self._sweep()
        return gone

    def _sort_in(self) -> None:
        """Move what came since the last time to its owners."""
        fresh, self._fresh = self._fresh, []
        for item in fresh:
            owner = self._owner(item)
            flow = self._flows.get(owner)
            if flow is None:
                flow = self._flows[owner] = _Flow(owner)
                self._ring.append(flow)
            flow.items.append(item)
            flow.held += self._size(item)
        self._flowing += len(fresh)

    def _less(self, flow: _Flow[T], cost: int) -> None:
        flow.held -= cost
        self.size -= cost
        self._flowing -= 1

    def _rebuild(self, flow: _Flow[T], kept: list[T]) -> None:
        held = sum(map(self._size, kept))
        self.size -= flow.held - held
        self._flowing -= len(flow.items) - len(kept)
        flow.items, flow.held = deque(kept), held

    def _sweep(self) -> None:
        """Forget owners without items."""
        self._flows = {owner: flow for owner, flow in self._flows.items() if flow.items}
        self._ring = deque(flow for flow in self._ring if flow.items)


def fair_share(held: Iterable[int], room: int) -> int:
    """The level L with Σ min(heldᵢ, L) ≤ room, as high as whole numbers allow: the max–min fair share of each.

    Args:
        held: what each holds.
        room: what all may hold; the greatest of `held` suits when they fit anyway.
    """
    level = 0
    rest = sorted(held)
    for i, amount in enumerate(rest):
        each = room // (len(rest) - i)
        if amount > each:
            return max(each, 0)
        room -= amount
        level = amount
    return level
