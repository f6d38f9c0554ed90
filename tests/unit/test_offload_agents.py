"""Which agents are there, and which is the best to ask."""

from __future__ import annotations

from typing import Any

from bridge.offload.agents import MAX_NAMES, SHARED, Agent, Agents

LEFT, SIZE = 1.0, 3_000


def status(*models: str, direct: bool = True, **facts: Any) -> dict[str, Any]:
    return {"online": True, "models": dict.fromkeys(models, "1"), "direct": direct, **facts}


def agents_of(*names: str, most: int = 256) -> Agents:
    agents = Agents(most)
    agents.connected(1, 0.0)
    for name in names:
        agents.told(name, status("m"))
    return agents


def names(agents: Agents, model: str = "m") -> set[str]:
    return {agent.name for agent in agents.serving(model)}


def best(agents: Agents, **options: Any) -> str | None:
    found = agents.best("m", 100.0, LEFT, SIZE, **options)
    return None if found is None else found.agent.name


def takes(agent: Agent, seconds: float, times: int = 20) -> None:
    """The agent has answered so often, each time after so many seconds."""
    for n in range(times):
        now = 90.0 + n / 4
        agent.cost.asked(now)
        agent.cost.answered(now + seconds, took=seconds, wait=0.0, run=0.0, batch=1, queue=0, size=SIZE)


def falls_silent(agent: Agent, now: float = 100.0) -> None:
    while not agent.breaker.open:
        agent.breaker.silent(now)


def one(agents: Agents, name: str) -> Agent:
    return next(agent for agent in agents.serving("m") if agent.name == name)


def test_frames_are_for_models_of_which_every_agent_takes_them() -> None:
    agents = agents_of()
    assert not agents.frames("m")
    agents.told("new", status("m", "n", zstd=[1, 2]))
    assert agents.frames("m")
    assert agents.frames("n")
    agents.told("old", status("m"))
    assert not agents.frames("m")
    assert agents.frames("n")
    agents.gone("old")
    assert agents.frames("m")
    for odd in ([2], [], 1, "1", None, {"1": 1}):
        agents.told("odd", status("m", zstd=odd))
        assert not agents.frames("m")
    agents.connected(2, 0.0)
    assert not agents.frames("m")


def test_the_one_that_answers_in_time_goes_before_the_faster_one() -> None:
    agents = agents_of("sure", "quick")
    takes(one(agents, "sure"), 0.2)
    takes(one(agents, "quick"), 0.01)
    assert best(agents) == "quick"
    for n in range(12):
        one(agents, "quick").cost.silent(95.0 + n / 4, LEFT, size=SIZE)
    assert best(agents) == "sure"


def test_of_those_of_whom_nothing_is_known_the_one_with_less_to_do_is_asked() -> None:
    agents = agents_of("a", "b")
    one(agents, "a").takes("w1", 100.0)
    assert best(agents) == "b"
    one(agents, "b").takes("w2", 100.0)
    one(agents, "b").takes("w3", 100.0)
    assert best(agents) == "a"


def test_nobody_is_asked_whose_breaker_is_open_but_that_he_was_wished_for_is_noted() -> None:
    agents = agents_of("a", "b")
    falls_silent(one(agents, "a"))
    assert best(agents) == "b"
    assert one(agents, "a").wanted
    assert best(agents, avoid={"b"}) is None
    falls_silent(one(agents, "b"))
    assert best(agents) is None
    assert agents.why_not("m") == "the cloud did not answer lately"
    assert agents.least_known("m") is None


def test_a_view_tells_what_is_expected_of_the_best_with_what_goes_before() -> None:
    agents = agents_of("a")
    takes(one(agents, "a"), 0.2)
    view = agents.view("m", 100.0, left=0.1, grace=1.0, size=SIZE, planned=0)
    assert (view.there, view.agent) == (True, "a")
    assert view.in_time < 0.1 < 0.9 < view.in_grace
    assert 0.15 < view.expected < 0.25
    assert agents.view("m", 100.0, left=0.1, grace=0.0, size=SIZE, planned=0).in_grace == view.in_time


def test_a_view_of_one_turn_does_not_outlive_what_it_rests_on() -> None:
    agents = agents_of("a", "b")
    takes(one(agents, "a"), 0.01)
    takes(one(agents, "b"), 0.2)

    def seen() -> str:
        view = agents.view("m", 100.0, left=LEFT, grace=0.0, size=SIZE, planned=0)
        return view.agent if view.there else view.why

    assert seen() == "a"
    falls_silent(one(agents, "a"))
    assert seen() == "b"
    agents.gone("b")
    assert seen() == "the cloud did not answer lately"
    agents.gone("a")
    assert seen() == "no cloud agent serves m"


def test_those_without_a_topic_of_their_own_are_asked_as_one() -> None:
    agents = agents_of("own")
    agents.told("x", status("m", direct=False))
    agents.told("y", status("m", "n", direct=False))
    assert names(agents) == {"own", SHARED}
    assert names(agents, "n") == {SHARED}
    assert (agents.members("m"), agents.members("n")) == (2, 1)
    agents.gone("y")
    assert (names(agents, "n"), agents.members("m")) == (set(), 1)


def test_after_a_reconnect_only_those_told_again_are_there_with_what_was_known_of_them() -> None:
    agents = agents_of("a", "b")
    known = one(agents, "a")
    agents.connected(2, 50.0)
    assert names(agents) == set()
    assert agents.may_be_told("m", 50.5)
    assert not agents.may_be_told("m", 51.0)
    assert not agents.there(known)
    assert agents.remembered(known)
    agents.told("a", status("m"))
    assert agents.there(known)
    assert agents.serving("m") == [known]
    assert not agents.may_be_told("m", 50.5)
    agents.connected(3, 60.0)
    agents.connected(4, 70.0)
    assert not agents.remembered(known)


def test_another_process_of_the_same_name_is_another_agent() -> None:
    agents = agents_of()
    first = agents.told("a", status("m", instance="1"))
    again = agents.told("a", status("m", instance="1"))
    assert first is not None
    assert again is not None
    assert (first.fresh, again.fresh) == (True, False)
    assert again.agent is first.agent
    other = agents.told("a", status("m", instance="2"))
    assert other is not None
    assert other.replaced is first.agent
    assert other.agent is not first.agent
    newer = agents.told("a", {**status(), "models": {"m": "2"}, "instance": "2"})
    assert newer is not None
    assert newer.changed == ["m"]


def test_agents_are_bounded() -> None:
    agents = agents_of("a", "b", most=2)
    assert agents.told("c", status("m")) is None
    assert names(agents) == {"a", "b"}
    assert agents.told("b", status("m")) is not None
    assert agents.gone("nobody") is None


def test_a_status_that_tells_nonsense_for_models_serves_none() -> None:
    agents = agents_of()
    news = agents.told("a", {"online": True, "models": ["m"], "direct": True})
    assert news is not None
    assert news.agent.models == {}
    assert not agents.there(news.agent)


def test_the_versions_in_use_are_those_last_answered_with_and_before_that_those_told() -> None:
    agents = agents_of()
    a = agents.told("a", status("m"))
    agents.told("b", status("m"))
    assert a is not None
    assert (agents.versions("m"), agents.versions("n")) == ({"1"}, set())
    agents.answered("a", a.agent, "m", "2")
    agents.answered("a", a.agent, "n", "9")
    agents.answered("nobody", a.agent, "m", "9")
    agents.answered("b", a.agent, "m", "9")
    assert (agents.versions("m"), agents.versions("n")) == ({"1", "2"}, set())
    agents.told("a", status("m"))  # nothing new: it said so before it answered
    agents.gone("b")
    assert agents.versions("m") == {"2"}
    agents.connected(2, 60.0)
    assert agents.versions("m") == set()
    agents.told("a", {**status(), "models": {"m": "3"}})
    assert agents.versions("m") == {"3"}
    agents.answered("a", a.agent, "m", "2")  # asked of the process before
    assert agents.versions("m") == {"3"}


def test_names_of_agents_that_were_there_are_known_and_bounded() -> None:
    agents = agents_of("a")
    agents.gone("a")
    assert agents.known("a")
    for n in range(MAX_NAMES):
        agents.told(f"other-{n}", status("m"))
    assert not agents.known("a")
    assert not agents.known(SHARED)
