"""infer → place: windows become Results, or questions to the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import Refused
from bridge.messages import Answer
from bridge.offload.client import Unanswered
from bridge.pipeline import restore
from bridge.pipeline.answering import Answering, Open, in_order
from bridge.pipeline.lanes import HELD, Computed, Lanes
from bridge.pipeline.turn import Cut, Refusal, Turn
from bridge.place.confidence import CloudView, at_once, place
from bridge.store.records import SavedResult

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bridge.offload.client import CloudClient
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import RouteTable
    from bridge.pipeline.window import Windower
    from bridge.runtime.port import Engine, Outcome
    from bridge.store.records import Saved, SavedWindow

INLINE = 0.005  # seconds of computing that a turn does itself; as much as the Python around a thousand small windows
NO_CLOUD = CloudView(there=False, why="no cloud is configured")


class Decider:
    """The middle of a turn.

    Args:
        engines: the bridge's engine of each model.
        cloud: the cloud, if one is configured.
        windower: to forget windows that cannot be answered.
        outbound: knows who waits for which Result.
        tell: takes what lanes computed.
        counts: where to count.

    Attributes:
        answering: what becomes of windows that are decided.
        open: windows that the journal keeps until they are answered, by id.
    """

    def __init__(
        self,
        engines: dict[str, Engine],
        cloud: CloudClient | None,
        windower: Windower,
        outbound: Outbound,
        tell: Callable[[Computed], None],
        counts: Counter[str],
    ) -> None:
        self._engines = engines
        self._cloud = cloud
        self._windower = windower
        self._out = outbound
        self._tell = tell
        self._counts = counts
        self._lanes: dict[str, Lanes] = {}
        self.answering = Answering(windower, outbound, counts)
        self.open = self.answering.open
        self._order = self.answering.order

    @property
    def idle(self) -> bool:
        """No window waits for a lane or the cloud."""
        return not self.open and all(lanes.idle for lanes in self._lanes.values())

    @property
    def crowded(self) -> set[str]:
        """Models for which so much waits that nothing more is to be handed over."""
        return {model for model, lanes in self._lanes.items() if lanes.held >= HELD}

    def swap(self, engine: Engine) -> None:
        """Use another engine for its model from now on; what runs is finished by the old one."""
        self._engines[engine.model] = engine
        if engine.model in self._lanes:
            self._lanes[engine.model].swap(engine)

    def close(self) -> None:
        """Start no more runs."""
        for lanes in self._lanes.values():
            lanes.close()

    def take_up(self, saved: Saved, table: RouteTable, turn: Turn) -> None:
        """Go on with questions and Results of an earlier life."""
        turn.changes.results.extend(saved.results)
        for kept in restore.in_order(saved):
            if isinstance(kept, SavedResult):
                self.answering.take_up_result(kept, turn)
            else:
                self._take_up_window(kept, table, turn)
        if self._cloud is None:
            for window in turn.ask:
                self.answering.cloud_said(Unanswered(window.id, "no cloud is configured any more"), turn)

    def _take_up_window(self, kept: SavedWindow, table: RouteTable, turn: Turn) -> None:
        window = restore.load_window(kept, now=turn.now, wall=turn.wall)
        self._windower.remember(window.id)
        if kept.local is not None:
            ordered = in_order(table.for_window(window.key, window.model), window)
            self.answering.take_up_question(kept, window, kept.local, turn, ordered=ordered)
            return
        try:
            route = restore.route_of(window, table)
        except Refused as why:
            turn.refusals.append(Refusal(why, restore.source(window.key), None, window.reply_to, window.correlation))
            turn.changes.answered.append(window.id)
            self._out.book.refused(window.id, why.reason)
            return
        self.open[window.id] = Open(window, None, None)
        turn.cuts.append(Cut(window, route, None, open=True, due=window.arrived))

    def infer(self, turn: Turn) -> None:
        """Run the bridge's models on the windows of the turn, or hand them to lanes where that would take long."""
        by_model: dict[str, list[Cut]] = {}
        for cut in turn.cuts:
            by_model.setdefault(cut.window.model, []).append(cut)
        for model, cuts in by_model.items():
            engine, lanes = self._engines[model], self._lanes.get(model)
            if (lanes is None or lanes.idle) and engine.run_seconds(len(cuts)) <= INLINE:
                self._answered(cuts, engine.answers([cut.window.values for cut in cuts]), turn)
            else:
                self._hand_over(engine, cuts, turn)

    def computed(self, event: Computed, turn: Turn) -> None:
        """Take what a lane computed.

        Raises:
            ModelError: the engine failed.
        """
        if event.failure is not None:
            raise event.failure
        self._answered(event.cuts, event.outcomes, turn)

    def _answered(self, cuts: list[Cut], outcomes: list[Outcome], turn: Turn) -> None:
        for cut, outcome in zip(cuts, outcomes, strict=True):
            if isinstance(outcome, Answer):
                cut.answer = outcome
                turn.computed.append(cut)
            else:
                self._unanswerable(cut, outcome, turn)

    def _hand_over(self, engine: Engine, cuts: list[Cut], turn: Turn) -> None:
        lanes = self._lanes.get(engine.model)
        if lanes is None:
            lanes = self._lanes[engine.model] = Lanes(engine, self._tell)
        for cut in cuts:
            if not cut.open and (cut.ticket is None or cut.ticket.durable):
                cut.open = True
                self.open[cut.window.id] = Open(cut.window, cut.ticket, None)
                turn.changes.asked.append(restore.save_window(cut.window, None, "", now=turn.now, wall=turn.wall))
        lanes.add(cuts, turn.now)

    def _unanswerable(self, cut: Cut, why: Refused, turn: Turn) -> None:
        window = cut.window
        self._counts[f"refused_{why.reason}"] += 1
        told = Refused(why.reason, why.detail, seq=window.seq)
        source = restore.source(window.key)
        self._windower.forget(window.id)
        tickets = self._out.forget(window.id)
        self._out.book.refused(window.id, why.reason)
        for ticket in tickets:
            if cut.sheddable:  # a copy that came meanwhile may be one whose sender insists on an answer
                ticket.receipt = False
                ticket.refused = Refused("overload", told.detail)
        turn.refusals.append(Refusal(told, source, None, window.reply_to, window.correlation, tickets))
        self._close(cut, turn)

    def _close(self, cut: Cut, turn: Turn) -> None:
        """The window is out of the journal's care."""
        if cut.open:
            self.open.pop(cut.window.id, None)
            turn.changes.answered.append(cut.window.id)

    def place(self, cut: Cut, turn: Turn) -> None:
        """Answer a computed window, or ask the cloud about it."""
        window, answer, route, ticket = cut.window, cut.answer, cut.route, cut.ticket
        assert answer is not None  # noqa: S101 # it is in turn.computed
        below = route.below if route.below is not None else self._engines[window.model].below
        placement = at_once(answer, policy=route.policy, below=below)
        if placement is None:
            cloud = NO_CLOUD if self._cloud is None else self._cloud.view(window.model, turn.now, planned=len(turn.ask))
            left = window.deadline - turn.now
            placement = place(answer, policy=route.policy, below=below, cloud=cloud, left=left)
            if route.windows == "whole" and window.reply_to is None:
                turn.changes.decided.append(window.id)
                if route.order == "strict":
                    self._order.journals(window)
        if placement.tier == "cloud":
            provisional = route.provisional and route.policy == "cascade" and window.reply_to is None
            self.answering.ask(cut, answer, placement.reason, turn, provisional=provisional)
            return
        durable = not placement.firm or ticket is None or ticket.durable
        whole = route.windows == "whole" and window.reply_to is None
        self._close(cut, turn)
        if self._order.lines and in_order(route, window) and self._order.blocks(window):
            self.answering.decide_behind(turn, window, answer, placement, whole=whole)
        else:
            self.answering.decide(turn, window, answer, placement, durable=durable, whole=whole)
