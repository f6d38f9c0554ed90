"""infer → place: windows become Results, or questions to the cloud."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from bridge.errors import Refused
from bridge.messages import Answer, Placement
from bridge.offload.messages import Unanswered
from bridge.pipeline import restore
from bridge.pipeline.answering import Answering, Open, in_order
from bridge.pipeline.lanes import HELD, Computed, Lanes
from bridge.pipeline.order import name_of
from bridge.pipeline.placing import NO_CLOUD, Curve, placing_of
from bridge.pipeline.turn import Cut, Refusal, Turn
from bridge.place.decide import at_once, decide
from bridge.store.records import SavedResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.messages import Window
    from bridge.offload.client import CloudClient
    from bridge.pipeline.order import Name
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.placing import Placing
    from bridge.pipeline.routes import Route, RouteTable
    from bridge.pipeline.window import Windower
    from bridge.place.decide import Choice, CloudView
    from bridge.runtime.port import Engine, Outcome
    from bridge.store.records import Saved, SavedWindow

LIKELY = 0.5  # chance of an answer in time from which on a busy bridge leaves a window to the cloud
LEAST = 0.005  # seconds: less is over before the commit that precedes the question
INLINE = 0.005  # seconds of computing that a turn does itself; as much as the Python around a thousand small windows


class Decider:
    """The middle of a turn.

    Args:
        engines: the bridge's engine of each model.
        cloud: the cloud, if one is configured.
        windower: to forget windows that cannot be answered.
        outbound: knows who waits for which Result.
        tell: takes what lanes computed.
        counts: where to count.
        curves: how likely the cloud is right, by model.

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
        curves: Mapping[str, Curve],
    ) -> None:
        self._engines = engines
        self._cloud = cloud
        self._windower = windower
        self._out = outbound
        self._tell = tell
        self._counts = counts
        self._curves = dict(curves)
        self._placings: dict[Route, Placing] = {}
        self._lanes: dict[str, Lanes] = {}
        self._in_lanes: Counter[Name] = Counter()
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

    def swap(self, engine: Engine, curve: Curve) -> None:
        """Use another engine for its model from now on; what runs is finished by the old one."""
        self._engines[engine.model] = engine
        self._curves[engine.model] = curve
        self._placings.clear()
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
            for ask in turn.ask:
                self.answering.cloud_said(Unanswered(ask.id, "no cloud is configured any more"), turn)

    def _take_up_window(self, kept: SavedWindow, table: RouteTable, turn: Turn) -> None:
        window = restore.load_window(kept, now=turn.now, wall=turn.wall)
        self._windower.remember(window.id)
        try:
            known = restore.route_of(window, kept.via, table)
        except Refused as why:
            if kept.local is not None:
                self.answering.take_up_question(kept, window, kept.local, turn, route=None, barred=why.detail)
                return
            turn.refusals.append(Refusal(why, restore.source(window.key), None, window.reply_to, window.correlation))
            turn.changes.answered.append(window.id)
            self._out.book.refused(window.id, why.reason)
            return
        if kept.local is not None:
            self.answering.take_up_question(kept, window, kept.local, turn, route=known, barred=known.barred)
            return
        if kept.why and in_order(known, window):  # the cloud was asked instead, so later ones may be answered already
            self._order.asked(window)
        self.open[window.id] = Open(window, None, None)
        turn.cuts.append(Cut(window, known, None, open=True, due=window.arrived))

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
        for cut in event.cuts:
            name = name_of(cut.window)
            self._in_lanes[name] -= 1
            if not self._in_lanes[name]:
                del self._in_lanes[name]
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
        own: list[Cut] = []
        for cut in cuts:
            if self._send_up(cut, lanes.wait, len(own), turn):
                continue
            own.append(cut)
            self._in_lanes[name_of(cut.window)] += 1
            if not cut.open and (cut.ticket is None or cut.ticket.durable):
                cut.open = True
                self.open[cut.window.id] = Open(cut.window, cut.ticket, None)
                saved = restore.save_window(cut.window, None, "", now=turn.now, wall=turn.wall, via=cut.route.via)
                turn.changes.asked.append(saved)
        lanes.add(own, turn.now)

    def _send_up(self, cut: Cut, wait: Callable[[int], float], ahead: int, turn: Turn) -> bool:
        """Ask the cloud about a window that the bridge itself would answer too late; whether it is asked.

        Not behind windows of its stream that wait for a lane: it would overtake them. Nor a whole one, which an earlier
        process may have been sure of and published, so that its copy must be answered like that.
        """
        window, route = cut.window, cut.route
        if self._cloud is None or cut.asked or route.policy == "bridge":
            return False
        if route.windows == "whole" and window.reply_to is None:
            return False
        placing = self._placings.get(route) or self._placing(route)
        terms = placing.terms
        if placing.barred is not None or (terms.policy == "cascade" and terms.below is None):
            return False
        left = window.deadline - turn.now - placing.margin
        seconds = wait(ahead)
        if left < LEAST or seconds <= window.deadline - turn.now:
            return False
        if in_order(route, window) and self._behind_others(window, turn):
            return False
        cloud = self._view(window, left, 0.0, turn)
        if not cloud.there or cloud.in_time < LIKELY or cloud.in_time <= terms.price:
            return False
        why = f"busy: the bridge would take {seconds:.3f} s of {left:.3f} s; cloud {cloud.in_time:.2f} in time"
        self.answering.ask(cut, None, why, turn, deadline=turn.now + left)
        return True

    def _behind_others(self, window: Window, turn: Turn) -> bool:
        """Whether windows of its stream wait for a lane, or have just been computed."""
        name = name_of(window)
        return name in self._in_lanes or any(name_of(cut.window) == name for cut in turn.computed)

    def _unanswerable(self, cut: Cut, why: Refused, turn: Turn) -> None:
        window = cut.window
        self._counts[f"refused_{why.reason}"] += 1
        told = Refused(why.reason, why.detail, seq=window.seq)
        source = restore.source(window.key)
        self._windower.forget(window.id)
        tickets = self._out.waiters.forget(window.id)
        self._out.book.refused(window.id, why.reason)
        for ticket in tickets:
            if cut.sheddable:  # a copy that came meanwhile may be one whose sender insists on an answer
                ticket.receipt = False
                ticket.refused = Refused("overload", told.detail)
        turn.refusals.append(Refusal(told, source, None, window.reply_to, window.correlation, tickets))
        if cut.open:
            self._close(cut, turn)
        self.answering.gone(window, turn)

    def _close(self, cut: Cut, turn: Turn) -> None:
        """The window is out of the journal's care."""
        self.open.pop(cut.window.id, None)
        turn.changes.answered.append(cut.window.id)

    def place(self, cut: Cut, turn: Turn) -> None:
        """Answer a computed window, or ask the cloud about it."""
        window, answer, route, ticket = cut.window, cut.answer, cut.route, cut.ticket
        assert answer is not None  # noqa: S101 # it is in turn.computed
        placing = self._placings.get(route) or self._placing(route)
        placement = placing.always
        if placement is None:
            choice = at_once(answer.score, placing.terms) or self._weigh(cut, answer, placing, turn)
            if choice is None:
                return
            placement = Placement("bridge", choice.reason, choice.firm)
        durable = not placement.firm or ticket is None or ticket.durable
        whole = route.windows == "whole" and window.reply_to is None
        if cut.open:
            self._close(cut, turn)
        if self._order.lines and in_order(route, window) and self._order.blocks(window):
            self.answering.decide_behind(turn, window, answer, placement, whole=whole)
        else:
            self.answering.decide(turn, window, answer, placement, durable=durable, whole=whole)

    def _placing(self, route: Route) -> Placing:
        curve = self._curves.get(route.model, Curve())
        found = self._placings[route] = placing_of(route, self._engines[route.model].below, curve)
        return found

    def _weigh(self, cut: Cut, answer: Answer, placing: Placing, turn: Turn) -> Choice | None:
        """Where a window that the bridge is unsure of is answered; None: the cloud is asked."""
        window, route = cut.window, cut.route
        left = window.deadline - turn.now - placing.margin
        if left < LEAST:
            left = min(left, 0.0)
        terms = placing.terms
        cloud = placing.barred or self._view(window, left, terms.grace, turn)
        choice = decide(answer.score, placing.chances, terms, cloud, left=left)
        if placing.barred is not None:
            return msgspec.structs.replace(choice, firm=True)
        if not choice.firm and route.windows == "whole" and window.reply_to is None:
            turn.changes.decided.append(window.id)
            if route.order == "strict":
                self._order.journals(window)
        if choice.where == "bridge":
            if choice.explore and (not route.private or route.private_rule == "mask"):
                turn.explore.append((window, route.private))
            return choice
        both = choice.where == "both"
        deadline = window.deadline + placing.patience if both else turn.now + left
        self.answering.ask(cut, answer, choice.reason, turn, deadline=deadline, provisional=both)
        return None

    def _view(self, window: Window, left: float, grace: float, turn: Turn) -> CloudView:
        if self._cloud is None:
            return NO_CLOUD
        size, planned = window.values.nbytes, len(turn.ask)
        return self._cloud.view(window.model, turn.now, left=left, grace=grace, size=size, planned=planned)
