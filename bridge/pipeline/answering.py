"""Windows that are decided: published at once, behind earlier ones, by the cloud, or in two steps.

Of a window in two steps (the route allows provisional Results) the bridge's answer is published at once, in the order
of first Results; the open question in the journal remembers that, and whatever comes of it is the one final Result,
outside that order: the cloud's answer, or the bridge's again. A provisional Result that is still held when the cloud
answers is not published at all: the answer takes its place, and nobody learns that there would have been two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.messages import Answer, Placement, Window
from bridge.offload.messages import Answered, Ask, Unanswered
from bridge.pipeline import restore
from bridge.pipeline.order import MOST_HELD, Order
from bridge.pipeline.turn import Cut, Decided, Ticket, Turn

if TYPE_CHECKING:
    from collections import Counter

    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Route
    from bridge.pipeline.window import Windower
    from bridge.store.records import SavedResult, SavedWindow


class Open(msgspec.Struct, frozen=True, eq=False):
    """A window that the journal keeps until it is answered: it waits for a lane, for the cloud, or for earlier ones.

    Attributes:
        window: the window.
        ticket: the arrival that completed it; None after a restart.
        local: what the bridge's own model says of it; None while it waits for a lane, or the cloud is asked instead.
        why: why the cloud was asked, or what is said of the placement of a window that waits for earlier ones.
        rev: of its final Result: 1 once a provisional one was, or may have been, published.
        cut: what the bridge's own model is asked after all, if the cloud, asked instead of it, is silent.
    """

    window: Window
    ticket: Ticket | None
    local: Answer | None
    why: str = ""
    rev: int = 0
    cut: Cut | None = None


class Answering:
    """The last part of the middle of a turn.

    Args:
        windower: to remember windows of an earlier life.
        outbound: knows who waits for which Result.
        counts: where to count.

    Attributes:
        open: windows that the journal keeps until they are answered, by id.
        order: of first Results.
    """

    def __init__(self, windower: Windower, outbound: Outbound, counts: Counter[str]) -> None:
        self._windower = windower
        self._out = outbound
        self._counts = counts
        self.open: dict[str, Open] = {}
        self.order = Order()

    def take_up_result(self, saved: SavedResult, turn: Turn) -> None:
        """Publish a Result of an earlier life, in its order."""
        decided = restore.load_decided(saved) if self.order.lines else None
        if decided is None or not self.order.blocks(decided.window):
            turn.again.append(saved)
            return
        self._windower.remember(decided.window.id)
        self._in_line(decided, turn)

    def take_up_question(
        self, kept: SavedWindow, window: Window, local: Answer, turn: Turn, *, route: Route | None, barred: str
    ) -> None:
        """Go on with a question to the cloud of an earlier life.

        Args:
            kept: as the journal has it.
            window: as loaded from there.
            local: what the bridge's own model said of it.
            turn: the first.
            route: its route; None if it is gone.
            barred: why the cloud is not asked again; "": it may be.
        """
        ordered = in_order(route, window)
        self.open[window.id] = Open(window, None, local, kept.why, int(kept.provisional))
        if kept.provisional:
            one = restore.load_provisional(kept, window, local)
            if ordered and self.order.blocks(window):
                self._in_line(one, turn)
            else:
                turn.again.append(one.saved())  # maybe once more: whether it was published nobody knows
        elif ordered:
            self.order.asked(window)
        if route is None or barred:
            self.cloud_said(Unanswered(window.id, barred), turn)
        elif window.deadline <= turn.now:
            self.cloud_said(Unanswered(window.id, "the bridge was away until it was too late"), turn)
        else:
            turn.ask.append(_question(window, route))

    def ask(
        self, cut: Cut, answer: Answer | None, why: str, turn: Turn, *, deadline: float, provisional: bool = False
    ) -> None:
        """Ask the cloud about a window.

        Args:
            cut: the window.
            answer: what the bridge's own model says of it; None: nobody asked that.
            why: why the cloud is asked.
            turn: this turn.
            deadline: monotonic seconds until which its answer is waited for.
            provisional: publish the bridge's answer, which there must be, meanwhile.
        """
        window, ordered = msgspec.structs.replace(cut.window, deadline=deadline), in_order(cut.route, cut.window)
        saved = restore.save_window(
            window, answer, why, now=turn.now, wall=turn.wall, via=cut.route.via, provisional=provisional
        )
        turn.changes.asked.append(saved)
        turn.ask.append(_question(window, cut.route))
        self.open[window.id] = Open(window, cut.ticket, answer, why, cut=cut if answer is None else None)
        self._safe_at_commit(window, turn)
        if provisional and answer is not None:
            self._answer_now(restore.load_provisional(saved, window, answer), turn, ordered=ordered)
        elif ordered:
            self.order.asked(window)

    def _answer_now(self, one: Decided, turn: Turn, *, ordered: bool) -> None:
        """Publish a provisional Result in the order of first ones."""
        self._counts["results_provisional"] += 1
        if ordered and self.order.lines and self.order.blocks(one.window):
            self._in_line(one, turn)
            return
        self._promise(one.window.id)
        turn.publish.append(one)

    def _promise(self, window: str) -> None:
        """A provisional Result is published with this turn: the final one is its revision."""
        self.open[window] = msgspec.structs.replace(self.open[window], rev=1)

    def _safe_at_commit(self, window: Window, turn: Turn) -> None:
        """The commit makes this window safe: nobody waits for the network with it, nor is the message kept."""
        for ticket in self._out.waiters.forget(window.id):
            ticket.open -= 1
            ticket.durable = True
            turn.tickets.append(ticket)
            if ticket.arrival.wants_result:
                self._out.waiters.wait(window.id, ticket)

    def cloud_said(self, event: Answered | Unanswered, turn: Turn) -> None:
        """Answer a window that the cloud was asked about."""
        opened = self.open.pop(event.id, None)
        if opened is None:
            return
        window, mine = opened.window, opened.local
        if isinstance(event, Answered) and event.reply.label is not None and event.reply.score is not None:
            reply = event.reply
            answer = Answer(event.reply.label, event.reply.score, reply.version, reply.variant)
            note = f" ({event.note})" if event.note else ""
            placement = restore.placement("cloud", f"{opened.why}; {reply.cloud} answered on {reply.engine}{note}")
            local = None if mine is None else {"label": mine.label, "score": mine.score}
        elif mine is None:
            self._compute_after_all(opened, turn)
            return
        else:
            why = event.why if isinstance(event, Unanswered) else "its answer had no label"
            answer, local = mine, None
            placement = restore.placement("bridge", f"{opened.why}, but {why}")
        turn.changes.answered.append(window.id)
        if opened.rev and mine is not None and answer.label != mine.label:
            self._counts["results_revised"] += 1
        behind = bool(self.order.lines) and self.order.knows(window)
        self.decide(turn, window, answer, placement, local=local, durable=True, behind=behind, rev=opened.rev)

    def _compute_after_all(self, opened: Open, turn: Turn) -> None:
        """The cloud, asked instead of the bridge's own model, is silent; the journal has the window, and keeps it."""
        cut = opened.cut
        assert cut is not None  # noqa: S101 # windows without an answer are asked about with it
        self.open[cut.window.id] = Open(cut.window, None, None)
        turn.cuts.append(
            Cut(cut.window, cut.route, None, open=True, due=cut.window.arrived, asked=True, entry=cut.entry)
        )

    def decide_behind(self, turn: Turn, window: Window, answer: Answer, placement: Placement, *, whole: bool) -> None:
        """Answer a window that has a place in a line."""
        self._safe_at_commit(window, turn)
        self.decide(turn, window, answer, placement, durable=True, whole=whole, behind=True)

    def decide(
        self,
        turn: Turn,
        window: Window,
        answer: Answer,
        placement: Placement,
        *,
        local: dict[str, object] | None = None,
        durable: bool,
        whole: bool = False,
        behind: bool = False,
        rev: int = 0,
    ) -> None:
        """Give a window its final answer.

        Args:
            turn: this turn.
            window: the window.
            answer: what is said of it.
            placement: who says so, and why.
            local: what the bridge's own model said, where the cloud answers.
            durable: its Result goes to the journal until the broker has it.
            whole: it came as one message, and a copy that comes after a restart must not be answered anew.
            behind: it has a place in a line.
            rev: 1 if a provisional Result of it was, or may have been, published.
        """
        self._counts["results_bridge" if placement.tier == "bridge" else "results_cloud"] += 1
        arrived = turn.wall - (turn.now - window.arrived)
        decided = Decided(window, answer, placement, arrived, local, durable, whole)
        if rev or window.id in self._out.waiters.promised:
            decided.rev = 1
        if durable:
            turn.changes.results.append(decided.saved())
        if behind:
            self._in_line(decided, turn)
        else:
            turn.publish.append(decided)

    def _in_line(self, one: Decided, turn: Turn) -> None:
        """Publish a window and what waited for it, or hold it."""
        due = self.order.decided(one)
        if not due and not one.provisional:
            one.window = msgspec.structs.replace(one.window, values=restore.NO_ROWS)
            self.open[one.window.id] = Open(one.window, None, one.answer, one.placement.reason)
        self._publish(due, turn)

    def _publish(self, due: list[Decided], turn: Turn) -> None:
        for each in due:
            if each.provisional:
                self._promise(each.window.id)
            else:
                self.open.pop(each.window.id, None)
        turn.publish += due

    def gone(self, window: Window, turn: Turn) -> None:
        """A window gets no Result: publish what waited for it."""
        if self.order.lines and self.order.knows(window):
            self._publish(self.order.gone(window), turn)

    def keep_order(self, turn: Turn) -> None:
        """All windows of the turn are placed: bound what waits for earlier ones, and make the order outlive us."""
        while self.order.held > MOST_HELD:
            awaited = self.order.most_awaited
            if self.open[awaited].local is None:  # it waits for a lane, which will come to it
                break
            turn.cancel.append(awaited)
            self.cloud_said(Unanswered(awaited, "too many windows wait for that"), turn)
        turn.changes.results += self.order.secured(turn.publish)


def _question(window: Window, route: Route) -> Ask:
    """The question about a window, by its deadline; what is private of it is masked."""
    return Ask(window.id, window.model, window.values, window.deadline, route.private)


def in_order(route: Route | None, window: Window) -> bool:
    """Whether the window's Result has a place among others; the route may be gone since a restart."""
    return window.reply_to is None and (route is None or route.order == "strict")
