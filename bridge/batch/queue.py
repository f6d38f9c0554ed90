"""A bounded queue that hands out batches of one model: fair between owners, earliest deadline first within each.

Fair is start-time fair queueing (Goyal, Vin and Cheng, 1997): each item taken moves its owner's turn on by one, the
owner with the lowest turn comes next, and among equal turns the earliest deadline. So an owner with one item waits for
about one item of each other owner, however many those have. Who comes back from idleness starts at the lowest turn of
those who wait: nobody saves up turns, nobody loses a debt.

Giving up, when the queue is full: what is stale goes first. Then a newcomer is turned away if its owner holds its share
(limit ÷ owners) or more; else the owner that holds most gives up its item of the latest deadline. An item without a
deadline (∞) is never given up, nor turned away: who adds such items bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
_Key: TypeAlias = tuple[int, float, int, Hashable]  # turn, deadline, number, owner: where a flow stands in the agenda


class Shed(NamedTuple, Generic[T]):
    """An item that was given up, and the contract's reason for it."""

    item: T
    reason: Literal["stale", "overload"]


class _Owner(Generic[T]):
    """Items of one owner: a heap a model, and the key under which that heap is in the model's agenda."""

    __slots__ = ("booked", "flows", "held", "turn", "within")

    def __init__(self) -> None:
        self.turn = 0
        self.held = 0
        self.within = 0  # of these, items with a deadline: what the limit is for
        self.flows: dict[str, list[tuple[float, int, T]]] = {}
        self.booked: dict[str, _Key] = {}


class Queue(Generic[T]):
    """See the module. Every operation is O(log n) that does not say otherwise, but for giving up an item when full."""

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: items held at most, those without a deadline apart.
        """
        self._limit = limit
        self._numbers = count()
        self._owners: dict[Hashable, _Owner[T]] = {}
        self._agenda: dict[str, list[_Key]] = {}  # may hold keys no longer booked; they are skipped
        self._waiting: dict[int, tuple[Hashable, str, bool]] = {}  # owner, model, whether it has a deadline
        self._deadlines: list[tuple[float, int]] = []  # may hold numbers no longer waiting; they are skipped
        self._active = 0
        self._within = 0  # items with a deadline, and owners of such
        self._sharing = 0
        self._stale: list[T] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._stale)

    def add(
        self, item: T, *, model: str, deadline: float, owner: Hashable, now: float, due: float | None = None
    ) -> list[Shed[T]]:
        """Queue an item.

        Args:
            item: anything.
            model: what it can be batched by.
            deadline: when it becomes stale, on the clock of `now`; ∞: never, and it is not given up; not NaN.
            owner: whom it is for; owners share fairly.
            now: the present.
            due: the order in which the owner's items come, where that is not by deadline; not NaN.

        Returns:
            What was given up for it, or the item itself; each such item is the caller's again.
        """
        if deadline <= now:
            return [Shed(item, "stale")]
        shed: list[Shed[T]] = []
        mine = self._owners.get(owner)
        bounded = deadline < inf
        if bounded and self._within + len(self._stale) >= self._limit:
            shed = [Shed(old, "stale") for old in self.expired(now)]
            if not shed:
                held = mine.within if mine else 0
                if held >= self._limit // (self._sharing + (not held)):
                    return [Shed(item, "overload")]
                shed = [Shed(self._latest_of_fullest(), "overload")]
        mine = self._enter(owner)
        number = next(self._numbers)
        heappush(mine.flows.setdefault(model, []), (deadline if due is None else due, number, item))
        mine.held += 1
        self._waiting[number] = (owner, model, bounded)
        if bounded:
            self._sharing += not mine.within
            mine.within += 1
            self._within += 1
            self._note(deadline, number)
        self._book(owner, mine, model)
        return shed

    def _note(self, deadline: float, number: int) -> None:
        if len(self._deadlines) > 2 * self._limit:
            self._deadlines = [pair for pair in self._deadlines if pair[1] in self._waiting]
            heapify(self._deadlines)
        heappush(self._deadlines, (deadline, number))

    def turn(self, now: float) -> str | None:
        """The model that `take` will hand out; None when nothing waits."""
        self._sweep(now)
        keys = [(key, model) for model in self._agenda if (key := self._first(model)) is not None]
        return min(keys)[1] if keys else None

    def take(self, now: float, limit: int, *, joins: Callable[[list[T], T], bool] | None = None) -> list[T]:
        """The next batch: items of one model, none stale, in the order in which they are due; [] when nothing waits.

        Args:
            now: the present.
            limit: items in the batch at most.
            joins: asked of each item but the first, with those before it; the batch ends before the first that is not
                to join them.
        """
        model = self.turn(now)
        taken: list[T] = []
        while model is not None and len(taken) < limit and (key := self._first(model)) is not None:
            owner = self._owners[key[3]]
            if taken and joins is not None and not joins(taken, owner.flows[model][0][2]):
                break
            owner.turn += 1
            _, number, item = heappop(owner.flows[model])
            self._left(number)
            taken.append(item)
        return taken

    def ahead(self, owner: Hashable, due: float) -> dict[str, int]:
        """Items of each model that would be handed out before a new one of this owner, if nothing else came.

        At most: of each other owner as many as turns are left until the new item's, and one more, whose deadline might
        be the earlier one. O(owners + the owner's items).

        Args:
            owner: whom the new item would be for.
            due: its deadline.
        """
        mine = self._owners.get(owner)
        found = dict.fromkeys(self._agenda, 0)
        for model, flow in mine.flows.items() if mine else ():
            found[model] = sum(entry[0] <= due for entry in flow)
        turn = sum(found.values()) + (mine.turn if mine and mine.held else self._lowest(mine))
        for other in self._owners.values():
            if other is not mine:
                for model, flow in other.flows.items():
                    found[model] += max(0, min(len(flow), turn - other.turn + 1))
        return {model: count for model, count in found.items() if count}

    def withdraw(self, owner: Hashable, wanted: Callable[[T], bool]) -> list[T]:
        """Remove and return those items of an owner that are no longer `wanted`; O(the owner's items)."""
        mine = self._owners.get(owner)
        if mine is None:
            return []
        flows = mine.flows.items()
        unwanted = [(model, number) for model, flow in flows for _, number, item in flow if not wanted(item)]
        items = []
        for model, number in unwanted:
            items.append(_take_out(mine.flows[model], number))
            self._left(number)
        return items

    def expired(self, now: float) -> list[T]:
        """Remove and return what is stale: items whose deadline is not after `now`."""
        self._sweep(now)
        stale, self._stale = self._stale, []
        return stale

    def _sweep(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1] not in self._waiting):
            _, number = heappop(deadlines)
            if number in self._waiting:
                owner, model, _ = self._waiting[number]
                self._stale.append(_take_out(self._owners[owner].flows[model], number))
                self._left(number)

    def _latest_of_fullest(self) -> T:
        """Take out the item that is due last of the owner that holds most with a deadline."""
        fullest = max(self._owners.values(), key=lambda owner: owner.within)
        bounded = [(entry[:2], flow) for flow in fullest.flows.values() for entry in flow if self._waiting[entry[1]][2]]
        (_, number), flow = max(bounded, key=lambda pair: pair[0])
        item = _take_out(flow, number)
        self._left(number)
        return item

    def _enter(self, name: Hashable) -> _Owner[T]:
        """The owner, about to hold one more."""
        if name not in self._owners and len(self._owners) >= 2 * max(self._limit, self._active):
            self._owners = {key: owner for key, owner in self._owners.items() if owner.held}
        owner = self._owners.setdefault(name, _Owner())
        if not owner.held:
            owner.turn = self._lowest(owner)
            self._active += 1
        return owner

    def _lowest(self, owner: _Owner[T] | None) -> int:
        """The turn at which an owner without items comes in."""
        turns = [key[0] for model in self._agenda if (key := self._first(model)) is not None]
        return max(owner.turn if owner else 0, min(turns, default=0))

    def _left(self, number: int) -> None:
        """An item has left its heap; when it was the last of all, debts are void."""
        name, model, bounded = self._waiting.pop(number)
        owner = self._owners[name]
        owner.held -= 1
        self._active -= not owner.held
        if bounded:
            owner.within -= 1
            self._within -= 1
            self._sharing -= not owner.within
        self._book(name, owner, model)
        if not self._waiting:
            self._owners.clear()
            self._agenda.clear()
            self._deadlines.clear()

    def _book(self, name: Hashable, owner: _Owner[T], model: str) -> None:
        """Enter the head of a flow into the model's agenda, or strike the flow when it is empty."""
        flow = owner.flows[model]
        if not flow:
            del owner.flows[model], owner.booked[model]
            return
        key = (owner.turn, *flow[0][:2], name)
        if owner.booked.get(model) == key:
            return
        owner.booked[model] = key
        agenda = self._agenda.setdefault(model, [])
        if len(agenda) > 2 * max(self._limit, len(self._waiting)):
            agenda[:] = [owner.booked[model] for owner in self._owners.values() if model in owner.booked]
            heapify(agenda)
        else:
            heappush(agenda, key)

    def _first(self, model: str) -> _Key | None:
        """The key that is due next; keys from before a change of turn or head are put right on the way."""
        agenda = self._agenda.get(model, [])
        while agenda:
            key = agenda[0]
            owner = self._owners.get(key[3])
            if owner is not None and owner.booked.get(model) == key:
                if key[0] == owner.turn:
                    return key
                heappop(agenda)
                self._book(key[3], owner, model)
            else:
                heappop(agenda)
        return None


def _take_out(flow: list[tuple[float, int, T]], number: int) -> T:
    """Remove the item of that number from a heap; it heads it, unless `due` says another order than the deadlines."""
    if flow[0][1] == number:
        return heappop(flow)[2]
    at = next(i for i, entry in enumerate(flow) if entry[1] == number)
    item = flow.pop(at)[2]
    heapify(flow)
    return item
