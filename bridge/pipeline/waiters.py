"""Who waits for which window's Result, and which windows earlier processes answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.pipeline.turn import Ticket
    from bridge.store.kept import Published


class Waiters:
    """Tickets by window, from the cutting of the window until its Result is with the broker and on the disk.

    Args:
        settle: takes tickets that wait for one window less.
        earlier: ids of whole windows whose Results earlier processes kept, each with the number of its record.
        recall: asked to publish such a Result again, and to call `recalled` then.

    Attributes:
        tickets: of each window that is being answered, or whose Result is on its way; a list without any, where nobody
            waits for it.
        promised: windows of which an earlier process, whose journal was lost, published a provisional Result only.
    """

    def __init__(
        self, settle: Callable[[list[Ticket]], None], earlier: dict[str, int], recall: Callable[[str, int], None]
    ) -> None:
        self._settle = settle
        self._earlier = earlier
        self._recall = recall
        self.tickets: dict[str, list[Ticket]] = {}
        self.promised: set[str] = set()

    def wait(self, window: str, ticket: Ticket) -> bool:
        """The ticket waits for this window's Result; returns whether an earlier process published it."""
        ticket.open += 1
        again = bool(self._earlier) and window in self._earlier
        waiting = self.tickets.get(window)
        if waiting is not None:
            waiting.append(ticket)
            return again
        self.tickets[window] = [ticket]
        if again:
            self._recall(window, self._earlier[window])
        return again

    def waits_for(self, window: str) -> bool:
        """Whether this window is being answered, or its Result on its way to the broker.

        Of one that an earlier process answered we do not know whether the broker has it: who waits for it has it
        published again.
        """
        return window in self.tickets or window in self._earlier

    def forget(self, window: str) -> list[Ticket]:
        """This window gets no Result, or only much later; returns who still waits for it, to be released."""
        return self.tickets.pop(window, [])

    def release(self, tickets: list[Ticket]) -> None:
        """They wait for one window less."""
        for ticket in tickets:
            ticket.open -= 1
        self._settle(tickets)

    # ---- windows of earlier processes

    def published(self, earlier: Published) -> None:
        """Learn which windows an earlier process answered, whose journal was lost: they are not to be answered anew."""
        self._earlier |= earlier.final
        self.promised |= earlier.provisional

    def was_published(self, window: str) -> bool:
        """Whether an earlier process answered this window; who waits for it has its Result published again."""
        return bool(self._earlier) and window in self._earlier

    def publish_again(self, window: str) -> None:
        """Publish the Result of a window of an earlier process again, though nobody waits for it."""
        self._recall(window, self._earlier[window])

    def recalled(self, window: str) -> None:
        """The kept Result of a window of an earlier process was published again, or is kept no more."""
        self._earlier.pop(window, None)
        self.release(self.tickets.pop(window, []))

    def published_here(self, window: str) -> None:
        """The journal has a Result of an earlier process published now: it need not be recalled."""
        self._earlier.pop(window, None)
