"""What the report says of given figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.onnx_extra import with_onnx

if TYPE_CHECKING:
    from types import ModuleType

    from bridge.runtime.split import Sent, Splitting


@pytest.fixture
def split() -> ModuleType:
    return with_onnx("bridge.runtime.split")


@pytest.fixture
def report() -> ModuleType:
    from bridge.runtime import split_report

    return split_report


def sent(split: ModuleType, name: str, size: int, head: float, tail: float, **other: Any) -> Sent:
    made: Sent = split.Sent(
        name=name,
        operator="Relu",
        kind="float32",
        values=size,
        packing="int8",
        size=size,
        float_size=4 * size,
        int8_agreement=1.0,
        accuracy=0.9,
        difference=0.0,
        head=head,
        tail=tail,
    )
    return msgspec.structs.replace(made, **other)


def splitting(split: ModuleType, *cuts: Sent, **other: Any) -> Splitting:
    """A model of 10 ms and 100 kB."""
    whole = sent(split, "input", 100_000, 0.0, 0.010, operator="")
    made: Splitting = split.Splitting(
        model="image",
        variant="big",
        windows=100,
        budget=0.01,
        accuracy=0.9,
        whole=0.010,
        input=whole,
        cuts=cuts,
        failures=(),
    )
    return msgspec.structs.replace(made, **other)


def assumed(report: ModuleType, *links: tuple[float, float], **other: float) -> Any:
    return report.Assumed(tuple(report.Link(rate, trip) for rate, trip in links), **other)


def test_a_cut_that_pays_is_told_with_figures(split: ModuleType, report: ModuleType) -> None:
    found = splitting(split, sent(split, "half", 10_000, 0.004, 0.006))
    near, far = (1e8, 0.001), (1e8, 0.050)
    text = report.render(found, assumed(report, near, far))
    # 4 + 0.8 + 1 + 0.6 ms, against 10 here and 8 + 1 + 1 there
    assert "100 Mbit/s        1 ms     10.000    10.000        6.400  cut 1  cut\n" in text
    assert "100 Mbit/s       50 ms     10.000    59.000       55.400  cut 1  bridge\n" in text
    assert "beats both whole placements on 1 of these 2 links:\n" in text
    assert "  100 Mbit/s, 1 ms: cut 1, 6.400 ms, 36% less than the better whole\n" in text
    # at 72e4 bits fewer for 3.6 ms longer, 200 Mbit/s: 10 − 4.6 − 0.4 ms
    assert text.endswith("a cut (cut 1) is first only where the round trip is under 5.000 ms.\n")


def test_a_gain_within_what_a_measurement_repeats_by_is_none(split: ModuleType, report: ModuleType) -> None:
    for round_trip, first in ((0.0041, "bridge"), (0.0039, "cut")):
        found = splitting(split, sent(split, "half", 10_000, 0.004, 0.006))
        (line,) = report.compare(found, assumed(report, (1e8, round_trip)))
        assert line.cut < line.bridge < line.cloud
        assert (line.first, line.pays) == (first, first == "cut")


def test_none_pays_and_none_could(split: ModuleType, report: ModuleType) -> None:
    found = splitting(split, sent(split, "late", 10_000, 0.0101, 0.001))
    text = report.render(found, assumed(report, (64e3, 0.6), (300.0, 0.0)))
    assert "A cut beats both whole placements on none of these 2 links.\n" in text
    assert text.endswith("Nor would one on any other link, however fast and near.\n")
    assert "300 bit/s" in text


def test_a_slower_gateway_is_slower_in_all_and_the_cloud_with_it(split: ModuleType, report: ModuleType) -> None:
    found = splitting(split, sent(split, "half", 10_000, 0.004, 0.006, write=0.001, read=0.002))
    settings = assumed(report, (1e9, 0.0), gateway_slower=3.0, cloud_speed=6.0)
    (line,) = report.compare(found, settings)
    assert line.bridge == pytest.approx(0.030)
    assert line.cloud == pytest.approx(0.0008 + 0.005)
    assert line.cut == pytest.approx(0.012 + 0.003 + 0.00008 + 0.003 + 0.001)
    assert "the gateway is 3 times slower than this machine, the cloud computes 6 times as fast" in report.render(
        found, settings
    )


def test_what_cannot_be_used_is_marked_and_not_compared(split: ModuleType, report: ModuleType) -> None:
    good, wrong = sent(split, "good", 10_000, 0.004, 0.006), sent(split, "wrong", 1, 0.0, 0.0, packing=None)
    found = splitting(split, wrong, good, failures=("odd: cannot be cut here",))
    text = report.render(found, assumed(report, (1e8, 0.001)))
    assert "\ncut 1  ✗ " in text
    assert "✗ answers otherwise than the whole, or costs more accuracy than the budget, 1.00%\n" in text
    assert "left out: odd: cannot be cut here\n" in text
    (line,) = report.compare(found, assumed(report, (1e8, 0.001)))
    assert line.name == "cut 2"


def test_without_cuts_or_input_there_is_nothing_to_compare(split: ModuleType, report: ModuleType) -> None:
    none = splitting(split)
    (line,) = report.compare(none, assumed(report, (1e9, 0.0)))
    assert (line.cut, line.name, line.first) == (math.inf, "", "cloud")
    assert "–" in report.render(none, assumed(report, (1e9, 0.0)))
    half = sent(split, "half", 10_000, 0.004, 0.006)
    unsent = splitting(split, half, input=sent(split, "input", 1, 0.0, 0.010, packing=None))
    (line,) = report.compare(unsent, assumed(report, (1e9, 0.0)))
    assert line.cloud == math.inf
    for each in (none, unsent):
        assert report.render(each, assumed(report, (1e9, 0.0))).endswith("There is nothing to compare.\n")


@pytest.mark.parametrize(("whole", "share"), [(0.010, None), (0.0114, None), (0.0125, 0.25), (0.008, None)])
def test_a_whole_slower_than_its_halves_tells_of_a_busy_machine(
    whole: float, share: float | None, split: ModuleType, report: ModuleType
) -> None:
    halves = sent(split, "half", 10_000, 0.004, 0.006), sent(split, "other", 10_000, 0.004, 0.009)
    found = splitting(split, *halves, whole=whole)
    assert report.disturbed(found) == (None if share is None else pytest.approx(share))
    assert ("25% longer than two halves of it" in report.render(found, assumed(report, (1e8, 0.0)))) == (share == 0.25)
