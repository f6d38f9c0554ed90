"""The cloud agents that are there, what is known of each, and which is the best to ask."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bridge.offload.breaker import Breaker
from bridge.offload.told import Told, models_of, takes_frames
from bridge.place.cost import RemoteCost
from bridge.place.decide import CloudView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bridge.wire.offload import Reply

MAX_AGENTS: Final = 256  # remembered
MAX_NAMES: Final = 1_024  # of agents there are or were
SHARED: Final = ""  # the agents that are asked by the topic they share, seen as one
SETTLE: Final = 1.0  # seconds after connecting within which the broker tells what it retained
SAME: Final = 0.05  # shares of answers in time that differ by less are as good as each other


class Agent:
    """One that can be asked: a cloud agent with a topic of its own, or all that share one.

    Attributes:
        name: its id; `SHARED` for those that share a topic.
        models: versions of the models it serves, by name.
        breaker: whether it is left alone.
        cost: what asking it costs.
        under_way: ids of the questions it has.
        asked_at: monotonic seconds of the last question.
        wanted: somebody wished to ask it while its breaker was open.
        blamed_for: monotonic seconds of the last question that another agent answered while its own answer was late.
    """

    def __init__(self, name: str, models: dict[str, str] | None = None) -> None:
        self.name = name
        self.models = {} if models is None else models
        self.breaker = Breaker()
        self.cost = RemoteCost()
        self.under_way: set[str] = set()
        self.asked_at = 0.0
        self.wanted = False
        self.blamed_for = -math.inf

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or "the cloud"

    def takes(self, window: str, now: float) -> None:
        """A question leaves for it."""
        self.under_way.add(window)
        self.asked_at = now
        self.cost.asked(now)
        self.breaker.asked(now)

    def replied(self, reply: Reply, now: float, *, took: float, size: int) -> None:
        """Learn from its answer.

        Args:
            reply: the answer.
            now: monotonic seconds.
            took: seconds since it was asked.
            size: bytes of the question.
        """
        self.cost.answered(
            now,
            took=took,
            wait=reply.wait_ms / 1_000,
            run=reply.run_ms / 1_000,
            batch=reply.batch,
            queue=reply.queue,
            size=size,
        )


class News(NamedTuple):
    """What an agent's status changes.

    Attributes:
        agent: the one to ask.
        replaced: the one that was asked for it before, if another.
        changed: models of which it serves another version than before.
        fresh: it told nothing like this before.
    """

    agent: Agent
    replaced: Agent | None
    changed: list[str]
    fresh: bool


class Best(NamedTuple):
    """The agent to ask, and the chance that it answers in time."""

    agent: Agent
    in_time: float


_NOBODY: Final = (0.0, None)


class Agents:
    """All agents at the broker, as their retained statuses tell.

    A retained status is told again on each connection: an agent that is not is gone, or its broker forgot it.

    Args:
        most: agents remembered.

    Attributes:
        all_told_at: monotonic seconds by which all who are there have told; infinity before the first connection.
    """

    def __init__(self, most: int = MAX_AGENTS) -> None:
        self.all_told_at = math.inf
        self._most = most
        self._connection = 0
        self._told: dict[str, Told] = {}
        self._names: OrderedDict[str, None] = OrderedDict()  # last told last
        self._shared = Agent(SHARED)
        self._serving: dict[str, list[Agent]] = {}
        self._frames: dict[str, bool] = {}
        self._viewed: dict[str, tuple[float, Agent | None]] = {}  # when, and who was the best then

    def connected(self, connection: int, now: float) -> None:
        """A new connection: everybody is gone until told again; those not told on the last one are forgotten."""
        self.all_told_at = now + SETTLE
        self._told = {name: told for name, told in self._told.items() if told.connection == self._connection}
        self._connection = connection
        self._changed()

    def may_be_told(self, model: str, now: float) -> bool:
        """Whether an agent that serves the model may be there and is only not known yet."""
        return now < self.all_told_at and not self.serving(model)

    def told(self, name: str, status: dict[str, Any]) -> News | None:
        """An agent says that it is there.

        Args:
            name: its id.
            status: `online` is true in it.

        Returns:
            What is new; None if too many are known.
        """
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        before = self._told.get(name)
        if before is None and len(self._told) >= self._most:
            return None
        models, instance = models_of(status), status.get("instance")
        same = before is not None and before.instance == instance and before.models == models
        if not status.get("direct", False):
            agent = self._shared
        elif before is not None and same and before.agent is not self._shared:
            agent = before.agent
        else:
            agent = Agent(name, models)  # another process, or other models: nothing is known of it
        answered = before.answered if before is not None and same else {}
        self._told[name] = Told(self._connection, instance, models, agent, answered, takes_frames(status))
        self._changed()
        replaced = before.agent if before is not None and before.agent is not agent else None
        versions = {} if before is None else before.models
        changed = [model for model, version in versions.items() if models.get(model, version) != version]
        return News(agent, replaced, changed, fresh=not same)

    def gone(self, name: str) -> Agent | None:
        """An agent says, or its broker for it, that it is not there any more.

        Returns:
            The one that was asked for it; None if it was not known.
        """
        told = self._told.pop(name, None)
        self._changed()
        return None if told is None else told.agent

    def answered(self, name: str, asked: Agent, model: str, version: str) -> None:
        """An agent answered with this version of a model.

        Args:
            name: its id.
            asked: who was asked for it then: a process that is no more tells nothing of the one of now.
            model: the model.
            version: of the model, as the answer says.
        """
        told = self._told.get(name)
        if told is not None and model in told.models and asked in (told.agent, self._shared):
            told.answered[model] = version

    def versions(self, model: str) -> set[str]:
        """The versions of a model that agents answer with: of each its last answer's, and until then what it tells."""
        return {told.answered.get(model, told.models[model]) for told in self._here() if model in told.models}

    def frames(self, model: str) -> bool:
        """Whether every agent that serves a model takes zstd frames."""
        known = self._frames.get(model)
        if known is None:
            every = [told.frames for told in self._here() if model in told.models]
            known = bool(every) and all(every)
            if every:  # else anybody's names would fill it
                self._frames[model] = known
        return known

    def known(self, name: str) -> bool:
        """Whether a cloud agent of this id is or was there."""
        return name in self._names

    def there(self, agent: Agent) -> bool:
        """Whether it has told of itself on this connection."""
        return bool(agent.models) and any(told.agent is agent for told in self._here())

    def remembered(self, agent: Agent) -> bool:
        """Whether it is there, or may be told again."""
        return any(told.agent is agent for told in self._told.values())

    def members(self, model: str) -> int:
        """How many share the topic of a model."""
        return sum(told.agent is self._shared and model in told.models for told in self._here())

    def _here(self) -> Iterable[Told]:
        return (told for told in self._told.values() if told.connection == self._connection)

    def _changed(self) -> None:
        self._serving.clear()
        self._frames.clear()
        self._viewed.clear()
        self._shared.models = {
            model: version
            for told in self._here()
            if told.agent is self._shared
            for model, version in told.models.items()
        }

    def serving(self, model: str) -> list[Agent]:
        """The agents that serve a model."""
        known = self._serving.get(model)
        if known is not None:
            return known
        found = [told.agent for told in self._here() if told.agent is not self._shared and model in told.models]
        if model in self._shared.models:
            found.append(self._shared)
        if found:  # else anybody's names would fill it
            self._serving[model] = found
        return found

    def best(
        self, model: str, now: float, left: float, size: int, *, planned: int = 0, avoid: Collection[str] = ()
    ) -> Best | None:
        """The agent most likely to answer in time, of equals the one expected first; none with an open breaker.

        Args:
            model: the model.
            now: monotonic seconds.
            left: seconds until the answer is needed.
            size: bytes of the question.
            planned: windows that will be asked about before it.
            avoid: names of agents that are out of the question.

        Returns:
            None if nobody can be asked.
        """
        usable = []
        for agent in self.serving(model):
            if agent.breaker.open:
                agent.wanted = True
            elif agent.name not in avoid:
                usable.append(agent)
        if not usable:
            return None
        each = planned // len(usable)
        found = [Best(one, one.cost.in_time(now, left, size=size, planned=each)) for one in usable]
        if len(found) == 1:
            return found[0]

        def rank(one: Best) -> tuple[float, float, int]:
            expected = one.agent.cost.predict(now, size=size, planned=each).seconds
            return -round(one.in_time / SAME), expected, len(one.agent.under_way)

        return min(found, key=rank)

    def view(self, model: str, now: float, *, left: float, grace: float, size: int, planned: int) -> CloudView:
        """What is known for one window of a model.

        The agent is chosen once for all windows of a turn, which have the same `now`; each is asked about at the agent
        that is best by then.

        Args:
            model: the model.
            now: monotonic seconds.
            left: seconds until the answer is needed.
            grace: seconds for which a late answer helps too.
            size: bytes of the question.
            planned: windows that will be asked about before it.
        """
        at, agent = self._viewed.get(model, _NOBODY)
        if agent is None or at != now or agent.breaker.open:
            found = self.best(model, now, left, size, planned=planned)
            if found is None:
                return CloudView(there=False, why=self.why_not(model))
            agent = found.agent
            self._viewed[model] = (now, agent)
        planned //= len(self.serving(model))
        cost = agent.cost
        in_time = cost.in_time(now, left, size=size, planned=planned)
        later = cost.in_time(now, left + grace, size=size, planned=planned) if grace > 0 else in_time
        expected = cost.predict(now, size=size, planned=planned).seconds
        return CloudView(True, "", agent.name, expected, in_time, later)

    def why_not(self, model: str) -> str:
        """Why nobody can be asked, in words."""
        return "the cloud did not answer lately" if self.serving(model) else f"no cloud agent serves {model}"

    def least_known(self, model: str) -> Agent | None:
        """The agent whose last question is the longest ago; none with an open breaker."""
        usable = (agent for agent in self.serving(model) if not agent.breaker.open)
        return min(usable, key=lambda agent: agent.asked_at, default=None)
