"""infer → place: windows become Results, or questions to the cloud."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import Refused
from bridge.messages import Answer, Result
from bridge.offload.client import Answered, Unanswered
from bridge.pipeline import restore
from bridge.pipeline.turn import Cut, Refusal, Ticket, Turn
from bridge.place.confidence import CloudView, place
from bridge.store.records import SavedResult, SavedWindow
from bridge.topics import result as result_topic

if TYPE_CHECKING:
    from collections import Counter

    from bridge.messages import Placement, Window
    from bridge.offload.client import CloudClient
    from bridge.pipeline.outbound import Outbound
    from bridge.pipeline.routes import Route
    from bridge.pipeline.window import Windower
    from bridge.runtime.port import Engine

AT_ONCE = 256  # windows copied together for one call of the engine; a turn of big messages has thousands
INLINE = 0.002  # seconds of computing that the event loop may do itself; a thread costs 0.1 ms
NO_CLOUD = CloudView(there=False, why="no cloud is configured")


class Decider:
    """The middle of a turn.

    Args:
        engines: the bridge's engine of each model.
        cloud: the cloud, if one is configured.
        windower: to forget windows that cannot be answered.
        outbound: to tell tickets of Results.
        counts: where to count.

    Attributes:
        open: windows that wait for the cloud, by id: as journalled, as cut, and the arrival that completed them.
    """

    def __init__(
        self,
        engines: dict[str, Engine],
        cloud: CloudClient | None,
        windower: Windower,
        outbound: Outbound,
        counts: Counter[str],
    ) -> None:
        self._engines = engines
        self._cloud = cloud
        self._windower = windower
        self._out = outbound
        self._counts = counts
        self.open: dict[str, tuple[SavedWindow, Window, Ticket | None]] = {}

    async def infer(self, turn: Turn) -> None:
        """Run the bridge's models on all windows of the turn."""
        by_model: dict[str, list[Cut]] = {}
        for cut in turn.cuts:
            by_model.setdefault(cut.window.model, []).append(cut)
        for model, cuts in by_model.items():
            for start in range(0, len(cuts), AT_ONCE):
                await self._infer_part(model, cuts[start : start + AT_ONCE], turn)

    async def _infer_part(self, model: str, cuts: list[Cut], turn: Turn) -> None:
        engine = self._engines[model]
        batch = np.stack([cut.window.values for cut in cuts])
        if engine.run_seconds(len(cuts)) <= INLINE:
            outcomes = engine.answers(batch)
        else:
            outcomes = await asyncio.to_thread(engine.answers, batch)
        for cut, outcome in zip(cuts, outcomes, strict=True):
            if isinstance(outcome, Answer):
                cut.answer = outcome
            else:
                self._unanswerable(cut, outcome, turn)

    def _unanswerable(self, cut: Cut, why: Refused, turn: Turn) -> None:
        window = cut.window
        self._counts[f"refused_{why.reason}"] += 1
        told = Refused(why.reason, why.detail, seq=window.seq)
        source = restore.source(window.key)
        turn.refusals.append(Refusal(told, source, None, window.reply_to, window.correlation))
        self._windower.forget(window.id)
        self._out.forget(window.id)
        for ticket in turn.tickets:  # also those of its copies
            ticket.windows.discard(window.id)

    def place(self, cut: Cut, turn: Turn) -> None:
        """Answer a window, or ask the cloud about it."""
        window, answer, route = cut.window, cut.answer, cut.route
        if answer is None:
            return
        below = self._below(route) if route.below is None else route.below
        cloud = NO_CLOUD if self._cloud is None else self._cloud.view(window.model, turn.now, planned=len(turn.ask))
        placement = place(answer, policy=route.policy, below=below, cloud=cloud, left=window.deadline - turn.now)
        if route.windows == "whole" and not placement.firm and window.reply_to is None:
            turn.changes.decided.append(window.id)
        if placement.tier == "cloud":
            saved = restore.save_window(window, answer, placement.reason, now=turn.now, wall=turn.wall)
            turn.changes.asked.append(saved)
            turn.ask.append(window)
            self.open[window.id] = (saved, window, cut.ticket)
            if cut.ticket is not None:
                cut.ticket.durable = True
            return
        durable = not placement.firm or cut.ticket is None or cut.ticket.durable
        self._decide(turn, window, answer, placement, local=None, ticket=cut.ticket, durable=durable)

    def _below(self, route: Route) -> float | None:
        """The threshold of the variant that runs: each has its own; a foreign engine gets the tier's."""
        manifest, runs = route.manifest, self._engines[route.model].variant
        variant = next((one for one in manifest.variants if one.name == runs), None) or manifest.for_tier("bridge")
        return variant.below

    def cloud_said(self, event: Answered | Unanswered, turn: Turn) -> None:
        """Answer a window that the cloud was asked about."""
        opened = self.open.pop(event.id, None)
        if opened is None:
            return
        saved, window, ticket = opened
        turn.changes.answered.append(window.id)
        if isinstance(event, Answered) and event.reply.label is not None and event.reply.score is not None:
            reply = event.reply
            answer = Answer(event.reply.label, event.reply.score, reply.version, reply.variant)
            placement = restore.placement("cloud", f"{saved.why}; {reply.cloud} answered on {reply.engine}")
            local = {"label": saved.local.label, "score": saved.local.score}
        else:
            why = event.why if isinstance(event, Unanswered) else "its answer had no label"
            answer, local = saved.local, None
            placement = restore.placement("bridge", f"{saved.why}, but {why}")
        self._decide(turn, window, answer, placement, local=local, ticket=ticket, durable=True)

    def _decide(
        self,
        turn: Turn,
        window: Window,
        answer: Answer,
        placement: Placement,
        *,
        local: dict[str, object] | None,
        ticket: Ticket | None,
        durable: bool,
    ) -> None:
        self._counts[f"results_{placement.tier}"] += 1
        decided = Result(
            id=window.id,
            device=window.key.device,
            stream=window.key.stream,
            seq=window.seq,
            epoch=window.key.epoch,
            t=window.t,
            model=window.model,
            version=answer.version,
            label=answer.label,
            score=answer.score,
            tier=placement.tier,
            provisional=False,
            rev=0,
            latency_ms=0.0,
            reason=placement.reason,
            lane=window.lane,
            t_source=window.t_source,
            local=local,
        )
        topic = window.reply_to or result_topic(window.key.site, window.key.device, window.model)
        saved = SavedResult(decided, turn.wall - (turn.now - window.arrived), topic, window.correlation)
        turn.publish.append(saved)
        if durable:
            turn.changes.results.append(saved)
        if ticket is not None:
            self._out.wait(window.id, ticket)
