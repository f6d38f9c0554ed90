"""Where a window is answered, by the expected value of each place, and what the operator is told of it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from bridge.place.chances import Chances
from bridge.place.decide import LATE_WORTH, CloudView, Terms, at_once, decide, margin

CASCADE = Terms(below=0.7)
BRIDGE = Terms("bridge", below=0.7)
CLOUD = Terms("cloud", below=0.7)
MANY = Terms(below=0.7, provisional=True, grace=10.0)
CURVE = Chances([(0.5, 0.7), (0.7, 0.8)])
THERE = CloudView(there=True, expected=0.084, in_time=0.97, in_grace=0.99)
NEW = CloudView(there=True, in_time=0.9, in_grace=0.9)
SLOW = CloudView(there=True, expected=3.1, in_time=0.02, in_grace=0.93)
DOUBTFUL = CloudView(there=True, expected=2.2, in_time=0.4, in_grace=0.9)
HOPELESS = CloudView(there=True, expected=20.0, in_time=0.02, in_grace=0.03)
AWAY = CloudView(there=False, why="no cloud agent serves activity")


def changed(terms: Terms, **fields: Any) -> Terms:
    return msgspec.structs.replace(terms, **fields)


@pytest.mark.parametrize(
    ("terms", "certainty", "reason"),
    [
        (BRIDGE, 0.1, "the route computes on the bridge"),
        (changed(BRIDGE, below=None), 0.1, "the route computes on the bridge"),
        (changed(CASCADE, below=None), 0.1, "the model escalates nothing"),
        (CASCADE, 0.7, "confident: 0.700 ≥ 0.700"),
        (CASCADE, 0.7123, "confident: 0.712 ≥ 0.700"),
    ],
)
def test_what_the_bridge_answers_whatever_the_cloud_does_is_known_at_once(
    terms: Terms, certainty: float, reason: str
) -> None:
    choice = at_once(certainty, terms)
    assert choice is not None
    assert (choice.where, choice.reason, choice.firm, choice.explore) == ("bridge", reason, True, False)
    assert decide(certainty, CURVE, terms, AWAY, left=-9.0) == choice


@pytest.mark.parametrize("terms", [CASCADE, CLOUD, changed(CLOUD, below=None)])
def test_what_is_wished_for_from_the_cloud_is_not_known_at_once(terms: Terms) -> None:
    assert at_once(0.6, terms) is None


@pytest.mark.parametrize(
    ("terms", "certainty", "cloud", "left", "where", "reason"),
    [
        (CASCADE, 0.5, THERE, 1.9, "cloud", "unsure: 0.500 < 0.700; cloud 0.70 right, 0.97 in time, expected 0.084 s"),
        (CASCADE, 0.6, NEW, 1.9, "cloud", "unsure: 0.600 < 0.700; cloud 0.75 right, 0.90 in time"),
        (CASCADE, 0.6, AWAY, 1.9, "bridge", "unsure: 0.600 < 0.700, but no cloud agent serves activity"),
        (CASCADE, 0.6, THERE, 0.0, "bridge", "unsure: 0.600 < 0.700, but 0.000 s are left"),
        (CASCADE, 0.6, THERE, -0.5, "bridge", "unsure: 0.600 < 0.700, but -0.500 s are left"),
        (CLOUD, 0.99, THERE, 1.9, "cloud", "the route computes in the cloud; 0.97 in time, expected 0.084 s"),
        (CLOUD, 0.99, AWAY, 1.9, "bridge", "the route computes in the cloud, but no cloud agent serves activity"),
        (MANY, 0.5, THERE, 1.9, "cloud", "unsure: 0.500 < 0.700; cloud 0.70 right, 0.97 in time, expected 0.084 s"),
        (
            MANY,
            0.5,
            SLOW,
            1.9,
            "both",
            "unsure: 0.500 < 0.700; cloud 0.70 right, 0.02 in time, 0.93 within 10 s after, expected 3.100 s",
        ),
        (
            MANY,
            0.5,
            THERE,
            -0.1,
            "both",
            "unsure: 0.500 < 0.700; cloud 0.70 right, 0.00 in time, 0.99 within 10 s after, expected 0.084 s",
        ),
        (
            changed(CLOUD, provisional=True, grace=2.5),
            0.5,
            SLOW,
            1.9,
            "both",
            "the route computes in the cloud; 0.02 in time, 0.93 within 2.5 s after, expected 3.100 s",
        ),
    ],
)
def test_the_greatest_expected_value_wins_and_says_why(
    terms: Terms, certainty: float, cloud: CloudView, left: float, where: str, reason: str
) -> None:
    choice = decide(certainty, CURVE, terms, cloud, left=left)
    assert (choice.where, choice.reason, choice.firm, choice.explore) == (where, reason, False, False)


@pytest.mark.parametrize(
    ("terms", "cloud", "reason"),
    [
        (CASCADE, HOPELESS, "unsure: 0.500 < 0.700, but cloud 0.70 right, 0.02 in time (1.900 s, expected 20.000 s)"),
        (CASCADE, SLOW, "unsure: 0.500 < 0.700, but cloud 0.70 right, 0.02 in time (1.900 s, expected 3.100 s)"),
        (MANY, HOPELESS, "unsure: 0.500 < 0.700, but cloud 0.70 right, 0.02 in time (1.900 s, expected 20.000 s)"),
        (CLOUD, HOPELESS, "the route computes in the cloud, but 0.02 in time (1.900 s, expected 20.000 s)"),
        (
            changed(CASCADE, price=0.1),
            DOUBTFUL,
            "unsure: 0.500 < 0.700, but cloud 0.70 right, 0.40 in time (1.900 s, expected 2.200 s) and costs 0.100",
        ),
        (
            changed(CASCADE, price=0.1),
            CloudView(there=True),
            "unsure: 0.500 < 0.700, but cloud 0.70 right, 0.00 in time (1.900 s)",
        ),
    ],
)
def test_a_cloud_passed_over_only_because_it_would_be_late_is_worth_a_shadow_question(
    terms: Terms, cloud: CloudView, reason: str
) -> None:
    choice = decide(0.5, CURVE, terms, cloud, left=1.9)
    assert (choice.where, choice.reason, choice.firm, choice.explore) == ("bridge", reason, False, True)


@pytest.mark.parametrize(
    ("curve", "price", "reason"),
    [
        (Chances([(0.5, 0.48)]), 0.0, "unsure: 0.500 < 0.700, but the cloud is right with 0.480"),
        (Chances([(0.5, 0.5)]), 0.0, "unsure: 0.500 < 0.700, but the cloud is right with 0.500"),
        (CURVE, 0.25, "unsure: 0.500 < 0.700, but the cloud is right with 0.700 at a price of 0.250"),
    ],
)
def test_a_cloud_that_gains_nothing_is_not_asked_however_quick_it_is(curve: Chances, price: float, reason: str) -> None:
    for cloud in (THERE, HOPELESS, AWAY):
        choice = decide(0.5, curve, changed(CASCADE, price=price), cloud, left=1.9)
        assert (choice.where, choice.reason, choice.firm, choice.explore) == ("bridge", reason, True, False)


def test_the_price_is_paid_only_for_what_the_cloud_is_expected_to_gain() -> None:
    gain = 0.7 - 0.5
    worth = DOUBTFUL.in_time * gain
    assert decide(0.5, CURVE, changed(CASCADE, price=worth - 1e-6), DOUBTFUL, left=1.9).where == "cloud"
    assert decide(0.5, CURVE, changed(CASCADE, price=worth + 1e-6), DOUBTFUL, left=1.9).where == "bridge"
    later = LATE_WORTH * DOUBTFUL.in_grace * gain
    assert decide(0.5, CURVE, changed(MANY, price=later - 1e-6), DOUBTFUL, left=1.9).where == "both"
    assert decide(0.5, CURVE, changed(MANY, price=later + 1e-6), DOUBTFUL, left=1.9).where == "bridge"


def test_a_certainty_that_is_no_number_is_answered_by_the_bridge() -> None:
    assert decide(math.nan, CURVE, CASCADE, THERE, left=1.9).where == "bridge"


def test_the_margin_is_a_tenth_of_a_short_deadline() -> None:
    assert [margin(whole) for whole in (10.0, 2.0, 0.5, 0.1, 0.0, -1.0)] == pytest.approx(
        [0.05, 0.05, 0.05, 0.01, 0, 0]
    )
