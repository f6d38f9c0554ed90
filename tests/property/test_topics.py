"""Building and parsing are inverse; overlaps is what trying every topic says."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import topics

NAMES = st.from_regex(topics.NAME, fullmatch=True)
LEVELS = ("", "a", "b", "$", "$a")
WORDS = st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=3)
FILTERS = st.builds(lambda levels, tail: "/".join(levels + tail), WORDS, st.sampled_from([[], ["#"]])) | st.just("#")
FILTERS = FILTERS.filter(topics.is_filter)
EVERY_TOPIC = ["/".join(levels) for depth in range(1, 6) for levels in product(("", "a", "b", "$", "$a"), repeat=depth)]
# The empty topic counts: no broker passes it on, and `overlaps` refuses a filter rather than think of that.
steady = settings(deadline=None)


@steady
@given(NAMES, NAMES, NAMES)
def test_what_is_built_is_parsed(site: str, device: str, last: str) -> None:
    assert topics.parse_data(topics.data(site, device, last)) == (site, device, last)
    assert topics.parse_result(topics.result(site, device, last)) == (site, device, last)
    assert topics.parse_infer(topics.infer(last)) == last
    assert topics.parse_escalate(topics.escalate(last)) == (last, None)
    assert topics.parse_escalate(topics.escalate(last, device)) == (last, device)
    assert topics.parse_cloud_status(topics.cloud_status(last)) == last


@steady
@given(
    st.lists(
        st.sampled_from(["edge", "v1", "data", "result", "_infer", "_cloud", "_escalate", "status", "x", ""]),
        max_size=7,
    )
)
def test_what_is_parsed_is_what_was_built(levels: list[str]) -> None:
    topic = "/".join(levels)
    data, result = topics.parse_data(topic), topics.parse_result(topic)
    assert data is None or topics.data(*data) == topic
    assert result is None or topics.result(*result) == topic
    model, agent = topics.parse_infer(topic), topics.parse_cloud_status(topic)
    assert model is None or topics.infer(model) == topic
    assert agent is None or topics.cloud_status(agent) == topic
    asked = topics.parse_escalate(topic)
    assert asked is None or topics.escalate(*asked) == topic


@steady
@given(st.text())
def test_any_text_is_parsed_or_is_none(text: str) -> None:
    for parse in (topics.parse_data, topics.parse_result, topics.parse_infer, topics.parse_escalate):
        assert parse(text) is None
    assert isinstance(topics.safe_reply(text), bool)


@settings(deadline=None, max_examples=200)
@given(FILTERS, FILTERS)
def test_filters_overlap_where_some_topic_matches_both(one: str, other: str) -> None:
    both = any(topics.matches(one, topic) and topics.matches(other, topic) for topic in EVERY_TOPIC)
    assert topics.overlaps(one, other) is topics.overlaps(other, one) is both


@steady
@given(FILTERS, st.sampled_from(EVERY_TOPIC))
def test_what_wildcards_stand_for_makes_the_topic_again(pattern: str, topic: str) -> None:
    found = topics.wildcards(pattern, topic)
    if found is None:
        return
    stands = iter(found)
    again = "/".join(next(stands) if level in {"+", "#"} else level for level in pattern.split("/"))
    assert again == topic or again == f"{topic}/"  # `a/#` matches `a`: nothing below it
