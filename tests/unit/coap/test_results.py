from __future__ import annotations

from bridge.coap.core import links
from bridge.coap.results import Results


def test_newest_is_bounded_and_the_unread_goes_first() -> None:
    results = Results(max_results=2, max_observers=9)
    results.publish("a", b"1")
    results.publish("b", b"2")
    assert results.newest("a") == b"1"
    results.publish("c", b"3")
    assert results.newest("b") is None
    assert results.paths() == ["c", "a"]


def test_observers_get_the_newest_and_are_bounded() -> None:
    results = Results(max_results=2, max_observers=1)
    results.publish("a", b"1")
    observer = results.observe("a", b"1")
    assert observer is not None
    assert results.observe("a", b"1") is None
    results.publish("b", b"x")
    assert not observer.changed.is_set()
    results.publish("a", b"2")
    results.publish("a", b"3")
    assert observer.changed.is_set()
    assert observer.latest == b"3"
    results.leave(observer)
    results.leave(observer)
    assert results.observers == 0
    assert results.observe("b", b"x") is not None


def test_closing_wakes_observers_and_takes_no_new_ones() -> None:
    results = Results(max_results=2, max_observers=9)
    observer = results.observe("a", b"1")
    results.close()
    assert observer is not None
    assert observer.changed.is_set()
    assert results.observe("a", b"1") is None


def test_links_can_be_filtered() -> None:
    paths = ["edge/v1/p/d/result/m", "edge/v1/q/d/result/m"]
    everything = links(paths)
    assert everything.startswith('</edge/v1>;rt="edge.observation";ct="50 60"')
    assert everything.count("<") == 3
    assert links(paths, ["rt=edge.result"]).count("<") == 2
    assert links(paths, ["ct=60"]).count("<") == 1
    assert links(paths, ["href=/edge/v1/p/*"]) == '</edge/v1/p/d/result/m>;rt="edge.result";ct="50";obs'
    assert links(paths, ["title=what"]) == everything
    assert links(f"p{n}" for n in range(10_000)).count("<") == 257
