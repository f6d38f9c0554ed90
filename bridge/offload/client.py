"""Asks cloud agents about hard windows over MQTT 5, with Response Topic; what each question's life is like: `desk.py`.

Every question ends in exactly one event: `Answered`, or `Unanswered` at its deadline at the latest.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.mqtt.connection import Connection
from bridge.mqtt.messages import Settings
from bridge.offload import privacy
from bridge.offload.agents import MAX_AGENTS, Agents
from bridge.offload.cache import Cache
from bridge.offload.choosing import Choices
from bridge.offload.desk import AWAY, Desk
from bridge.offload.hedging import Budget
from bridge.offload.judge import Judge, shown
from bridge.offload.link import GIVE_UP, Link
from bridge.offload.messages import Answered, Ask, Unanswered
from bridge.offload.outgoing import Outgoing
from bridge.offload.questions import Open
from bridge.offload.sending import PLAIN
from bridge.place.decide import CloudView
from bridge.place.explore import Explore
from bridge.seldom import Seldom
from bridge.wire.answers import decode_status
from bridge.wire.offload import decode_replies

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from bridge.messages import Rows
    from bridge.mqtt.endpoint import Endpoint
    from bridge.mqtt.messages import Delivery
    from bridge.mqtt.session import Session
    from bridge.offload.sending import Sending

__all__ = ["Answered", "Ask", "CloudClient", "Unanswered"]

log = logging.getLogger("bridge.offload")

SHADOW_PATIENCE = 5.0  # seconds for which the answer to a shadow is waited for: also how late is worth knowing
UNREADABLE, NEWS = 4, 16  # lines in the log each 10 s: of what cannot be read; of agents that come and go
NOT_THERE = CloudView(there=False, why=AWAY)
SILENT = CloudView(there=False, why="the cloud's broker is silent")


class CloudClient:
    """The bridge's side of the cloud.

    Attributes:
        connection: its own MQTT session.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bridge: str,
        on_event: Callable[[Answered | Unanswered], None],
        *,
        keep_alive: int = 30,
        max_open: int = 1_024,
        hedge: float = 0.05,
        explore: float = 0.02,
        cache: float = 0.0,
        models: Mapping[str, Sending] | None = None,
        counts: Counter[str] | None = None,
        pin: str = "*",
        exclude: Sequence[str] = (),
    ) -> None:
        """Prepare; `connection.run()` connects.

        Args:
            endpoint: the broker that cloud agents use.
            bridge: this bridge's id.
            on_event: takes the end of each question, sometimes while it is being asked.
            keep_alive: seconds of silence after which the connection is tested.
            max_open: questions under way, above which the bridge answers itself.
            hedge: share of questions that may be put to a second agent, 0…1.
            explore: share of windows the cloud was passed over for that it is asked about all the same, 0…1.
            cache: seconds for which the answer for a window is used again for one of the same values; 0: never.
            models: how the windows of each model are sent; float32 for one that is not there.
            counts: where answers that are refused are counted.
            pin: shell pattern over the names of profiles, as `mqtt-1/int8/1`; only these are used.
            exclude: patterns; none of these is.
        """
        self._on_event = on_event
        self._max_open = max_open
        self._models = dict(models or {})
        self._explore = Explore(explore)
        self._cache = Cache(cache)
        self._agents = Agents()
        self._crowded = False  # and that was said
        self._unreadable, self._news = Seldom(log, most=UNREADABLE), Seldom(log, most=NEWS)
        settings = Settings(
            client_id=f"{bridge}-cloud",
            username=endpoint.username,
            password=endpoint.password,
            subscriptions=(topics.reply(bridge), topics.CLOUD_STATUS_FILTER),
            keep_alive=keep_alive,
            session_expiry=0,
            clean_start=True,
            pong_within=GIVE_UP,
        )
        self.connection = Connection(endpoint, settings, self._received, on_connected=self._connected)
        self._choices = Choices(self._models, pin=pin, exclude=exclude, frames=self._agents.frames)
        self._link = Link(self.connection, self._choices)
        self._outgoing = Outgoing(bridge, self.connection, self._models, self._choices, self._link, self._not_taken)
        judge = Judge(self._agents, self._models, counts)
        self._desk = Desk(self._agents, self._outgoing, Budget(hedge), self._cache, judge, on_event, self._reachable)

    @property
    def open(self) -> int:
        """Questions under way, shadows among them."""
        return len(self._desk.open)

    def facts(self) -> dict[str, Any]:
        """For the bridge's status: what is chosen for each model and why, the link, and the last switches."""
        return self._link.facts()

    def on_switch(self, told: Callable[[], None]) -> None:
        """Whom to tell of each choice that is another one than before."""
        self._choices.on_switch = told

    def swap(self, model: str, sending: Sending) -> None:
        """Send a model's windows like this from now on; answers of another version of it are forgotten."""
        self._models[model] = sending
        self._cache.forget(model)
        self._desk.forget(model)

    def view(self, model: str, now: float, *, left: float, grace: float, size: int, planned: int) -> CloudView:
        """What is known of the cloud now, for one window.

        Args:
            model: the model.
            now: monotonic seconds.
            left: seconds until the answer is needed.
            grace: seconds after that for which it helps too.
            size: bytes of its values as float32.
            planned: questions decided on and not asked yet.
        """
        if not self._reachable():
            return SILENT if self._link.silent else NOT_THERE
        under_way = len(self._desk.open) + planned
        if under_way >= self._max_open:
            return CloudView(there=False, why=f"{under_way} questions are under way")
        size = self._models.get(model, PLAIN).size(size)
        return self._agents.view(model, now, left=left, grace=grace, size=size, planned=planned)

    def ask(self, window: str, model: str, values: Rows, deadline: float, private: tuple[int, ...] = ()) -> None:
        """Ask about one window; see `ask_all`."""
        self.ask_all([Ask(window, model, values, deadline, private)])

    def ask_all(self, asks: Iterable[Ask]) -> None:
        """Ask about the windows of a turn; they leave together. One that is under way already is not asked again."""
        now = time.monotonic()
        for ask in asks:
            if ask.id not in self._desk.open:
                self._begin(ask, now)
        self._outgoing.flush()

    def _begin(self, ask: Ask, now: float) -> None:
        if len(self._desk.open) >= self._max_open:
            self._on_event(Unanswered(ask.id, f"{len(self._desk.open)} questions are under way"))
            return
        values, size = self._leaving(ask.model, ask.values, ask.private)
        key = self._cache.key(ask.model, values)
        found = self._cache.find(key, now)
        if found is not None and found[0].version in self._agents.versions(ask.model):
            reply, age = found
            note = f"its answer of {age:.1f} s ago"
            self._on_event(Answered(ask.id, msgspec.structs.replace(reply, id=ask.id), note))
            return
        self._desk.begin(Open(ask.id, ask.model, values, size, now, ask.deadline, key=key), now)

    def explore(self, model: str, values: Rows, now: float, private: tuple[int, ...] = ()) -> None:
        """Ask as a shadow, within the share for it: nobody is told of the end, it is only learned from.

        Args:
            model: the model.
            values: float32, shape (rows, channels), of a window that may leave.
            now: monotonic seconds.
            private: indexes of the channels to mask before it does.
        """
        if not self._reachable() or len(self._desk.open) >= self._max_open or not self._explore.due(now):
            return
        agent = self._agents.least_known(model)
        if agent is None:
            return
        self._explore.counted(now)
        values, size = self._leaving(model, values, private)
        self._desk.shadow(Open("", model, values, size, now, now + SHADOW_PATIENCE, "explore"), agent, now)

    def _leaving(self, model: str, values: Rows, private: tuple[int, ...]) -> tuple[Rows, int]:
        """What of a window may leave, and the bytes of a question with it, about."""
        sending = self._models.get(model, PLAIN)
        if private:
            values = privacy.mask(values, private, sending.mean)
        return values, sending.size(values.nbytes)

    def cancel(self, window: str) -> None:
        """Nobody wants to know of a window any more: no event comes, and whoever has the question is told."""
        self._desk.cancel(window)

    def _reachable(self) -> bool:
        return self.connection.connected and not self.connection.full and not self._link.silent

    def _connected(self, session: Session) -> None:
        now = time.monotonic()
        self._link.connected(now)
        self._agents.connected(session.connects, now)
        self._desk.connected(now)

    def _not_taken(self, agent: str, ids: Iterable[str], code: int) -> None:
        self._desk.not_taken(agent, ids, code)

    def _received(self, deliveries: list[Delivery]) -> None:
        self.connection.acknowledge(deliveries)
        for delivery in deliveries:
            agent = topics.parse_cloud_status(delivery.topic)
            try:
                if agent is not None:
                    self._status(agent, delivery.payload)
                else:
                    now = time.monotonic()
                    for reply in decode_replies(delivery.payload):
                        self._desk.replied(reply, now)
            except Refused as why:
                text = f"cloud: {shown(delivery.topic)}: {shown(str(why))}"
                self._unreadable.warn(text, now=time.monotonic())

    def _status(self, name: str, payload: bytes) -> None:
        status = decode_status(payload) if payload else {"online": False}
        now = time.monotonic()
        if status["online"]:
            news = self._agents.told(name, status)
            if news is None:
                if not self._crowded:
                    log.warning("cloud agent %s is not asked, nor are further ones: %d are known", name, MAX_AGENTS)
                self._crowded = True
                return
            for model in news.changed:
                self._cache.forget(model)
            if news.fresh:
                models = ", ".join(news.agent.models) or "nothing"
                engine = shown(str(status.get("engine")))
                self._news.say(f"cloud agent {name} serves {shown(models)} on {engine}", now=now)
            if news.replaced is not None:
                self._desk.gone(news.replaced, name, now)
            self._desk.told(news.agent, now)
            return
        agent = self._agents.gone(name)
        if agent is not None:
            self._news.say(f"cloud agent {name} is gone", now=now, level=logging.WARNING)
            self._desk.gone(agent, name, now)
