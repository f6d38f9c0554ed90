"""Every row falls short where it should, and what was not measured does not pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.netlab import rows
from tests.netlab.costs import Measured
from tests.netlab.entrants import enters
from tests.netlab.lab import Look, Outcome, Switch
from tests.netlab.memory import Memory
from tests.netlab.outcomes import outcome, told
from tests.netlab.record import Return
from tests.netlab.results import Results, Unjudged, Verdict
from tests.netlab.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.rows import Row

GOOD = Measured({"lan": 12.0, "thin": 42.0}, {"float16": 0.0, "int8+zstd": 0.004})


def judge(*outcomes: Outcome, measured: Measured = GOOD) -> dict[str, Verdict]:
    return {one.name: one for one in rows.judge(Results(outcomes), measured)}


def row(name: str, *outcomes: Outcome, measured: Measured = GOOD) -> Row:
    found = judge(*outcomes, measured=measured)[name]
    assert not isinstance(found, Unjudged), found.why
    return found


def missing(name: str, *outcomes: Outcome, measured: Measured = GOOD) -> Unjudged:
    found = judge(*outcomes, measured=measured)[name]
    assert isinstance(found, Unjudged)
    return found


def three(scenario: str, contestant: str, latencies: Sequence[float | None], **others: Any) -> list[Outcome]:
    return [outcome(scenario, contestant, seed=n, latency=ms, **others) for n, ms in enumerate(latencies)]


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("loss-10-p98", 0.35), ("loss-10-p99.9", 0.6), ("loss-20-p98", 0.35), ("loss-20-p99.9", 0.6),
        ("fades-p95", 0.5), ("fades-p98", 0.6),
    ],
)  # fmt: skip
def test_tails_are_judged_against_mqtt_of_the_same_seed(name: str, bound: float) -> None:
    scenario, _, quantile = name.rpartition("-")
    rival: dict[str, float | None] = {"p95": 400.0, "p98": 400.0, "p99.9": 400.0}

    def ours(of: float) -> Outcome:
        slow: dict[str, float | None] = {**dict.fromkeys(rival, 1e4), quantile: of}
        return outcome(scenario, latency=slow)

    mqtt = outcome(scenario, "mqtt", latency=dict(rival))
    assert row(name, ours(400 * bound), mqtt).passed
    assert not row(name, ours(400 * bound + 1), mqtt).passed
    assert not row(name, ours(math.inf), mqtt).passed


def test_a_ratio_is_the_median_of_the_seeds() -> None:
    mqtt = three("loss-10", "mqtt", [100.0, 1_000.0, 100.0])
    found = row("loss-10-p98", *three("loss-10", "ours", [30.0, 900.0, 34.0]), *mqtt)
    assert (found.figure, found.low, found.high, found.passed) == (0.34, 0.3, 0.9, True)
    assert not row("loss-10-p98", *three("loss-10", "ours", [30.0, 900.0, 36.0]), *mqtt).passed


@pytest.mark.parametrize(("name", "most"), [("loss-10", 1.4), ("loss-20", 1.7), ("fades", 1.4)])
def test_transmissions(name: str, most: float) -> None:
    assert row(f"{name}-transmissions", outcome(name, transmissions=most)).passed
    assert not row(f"{name}-transmissions", outcome(name, transmissions=most + 0.01)).passed


@pytest.mark.parametrize("name", rows.FRESHEST)
def test_constant_links_against_the_better_of_both(name: str) -> None:
    both = enters("coap", SCENARIOS[name])
    rivals = [outcome(name, "mqtt", latency=400.0 if both else 100.0), outcome(name, "coap", latency=100.0)]
    assert row(f"{name}-p95-constant", outcome(name, latency=109.0), *rivals).passed
    assert not row(f"{name}-p95-constant", outcome(name, latency=111.0), *rivals).passed
    last = "coap" if both else "mqtt"
    others = [one for one in rivals if one.contestant != last]
    assert missing(f"{name}-p95-constant", outcome(name), *others).why == f"{last} was not run in {name}"


@pytest.mark.parametrize("name", rows.CHANGING)
def test_utility_against_the_best_of_all(name: str) -> None:
    def found(ours: float, oracle: float, mqtt: float) -> bool:
        by = {"ours": ours, "oracle": oracle, "mqtt": mqtt}
        return row(f"{name}-utility", *(outcome(name, who, utility=value) for who, value in by.items())).passed

    assert found(0.78, 0.8, 0.5)
    assert not found(0.75, 0.8, 0.5)
    assert not found(0.78, 0.8, 0.9)
    assert found(0.0, -0.1, -0.2)
    assert not found(-0.2, -0.1, -0.2)
    few = outcome(name, "coap", utility=0.9, rate=1.0)
    assert row(f"{name}-utility", outcome(name, utility=0.8), outcome(name, "oracle", utility=0.8), few).passed
    assert not missing(f"{name}-utility", outcome(name), outcome(name, "mqtt")).run


def test_bytes_on_a_thin_link() -> None:
    mqtt = outcome("thin-patient", "mqtt", size=440.0)
    assert row("thin-bytes", outcome("thin-patient", size=110.0), mqtt).passed
    assert not row("thin-bytes", outcome("thin-patient", size=111.0), mqtt).passed


def test_accuracy_of_what_is_in_use_on_a_thin_link() -> None:
    of = outcome("thin-patient", switches=[Switch(0, "coap-con/float16/1"), Switch(1, "mqtt-0/int8+zstd/2")])
    assert rows.encodings([of]) == {"float16": {1}, "int8+zstd": {2}}
    found = row("thin-accuracy", of)
    assert (found.figure, found.passed) == (0.004, True)
    bad = row("thin-accuracy", of, measured=Measured(accuracy_cost={"float16": 0.0, "int8+zstd": 0.011}))
    assert (bad.note, bad.passed) == ("beyond it: int8+zstd", False)
    assert missing("thin-accuracy", outcome("thin-patient")).why == "thin-patient was run, but no profile was told"
    assert missing("thin-accuracy", of, measured=Measured()).why == "accuracy of float16, int8+zstd was not measured"


def test_a_constant_link_is_no_reason_to_switch() -> None:
    first = [Switch(0.1, "a/b/1"), Switch(1.9, "c/b/1")]
    late = [*first, Switch(2.1, "a/b/1")]
    satellite = [*first, Switch(2.9, "a/b/1")]
    assert row("constant-switches", outcome("lan", switches=first), outcome("satellite", switches=satellite)).passed
    found = row("constant-switches", outcome("lan", switches=late), outcome("lan", seed=2, switches=first))
    assert (found.figure, found.note, found.passed) == (1, "beyond it: lan", False)
    assert row("noise-switches", outcome("noise", switches=first)).passed
    assert not row("noise-switches", outcome("noise", switches=late)).passed


def test_one_switch_a_change_and_soon() -> None:
    def found(*times: float) -> tuple[float, bool]:
        of = row("step-switches", outcome("step", switches=[Switch(t, "a/b/1") for t in (0.1, *times)]))
        return of.figure, of.passed

    assert found() == (0, True)
    assert found(31.9, 61.5, 91.0, 121.9) == (0, True)
    assert found(1.0, 1.9) == (0, True)
    assert found(29.9) == (1, False)
    assert found(32.1) == (1, False)
    assert found(30.5, 31.5) == (1, False)


@pytest.mark.parametrize("name", rows.OUTAGES)
def test_taking_up_after_an_outage(name: str) -> None:
    def of(first: float | None, fresh: float | None) -> list[bool]:
        run = outcome(name, returns=[Return(24.0, 0.1, 0.1), Return(24.0, first, fresh)])
        return [row(f"{name}-first", run).passed, row(f"{name}-fresh", run).passed]

    assert of(1.5, 2.0) == [True, True]
    assert of(1.6, 2.0) == [False, True]
    assert of(1.5, 2.1) == [True, False]
    assert of(None, None) == [False, False]
    assert missing(f"{name}-first", outcome(name)).run


def test_what_is_known_after_a_step() -> None:
    def looks(at: float, rtt: float, goodput: float | None) -> list[Look]:
        wrong = Look(at + 2.9, 9.0, 0.0, 1.0, outage=False)
        return [wrong, *(Look(at + 3 + n / 5, rtt, 0.0, goodput, outage=False) for n in range(5))]

    def passed(name: str, at: float, rtt: float, goodput: float | None, sent: int = 4_000) -> bool:
        return row(name, outcome("step", looks=looks(at, rtt, goodput), bytes_by_second=[sent] * 120)).passed

    of_step = ["rtt-30s", "rate-60s", "rtt-90s", "rate-90s"]
    names = [*(f"step-estimate-{name}" for name in of_step), "squeeze-estimate-rate-20s", "squeeze-estimate-rate-50s"]
    assert [name for name in judge() if "-estimate-" in name] == names
    assert passed("step-estimate-rtt-30s", 30.0, 0.239, None)
    assert not passed("step-estimate-rtt-30s", 30.0, 0.241, None)
    assert passed("step-estimate-rate-60s", 60.0, 0.2, 6_500.0)
    assert not passed("step-estimate-rate-60s", 60.0, 0.2, 6_300.0)
    assert passed("step-estimate-rate-60s", 60.0, 0.2, None, 7_999)
    assert not passed("step-estimate-rate-60s", 60.0, 0.2, None, 8_000)
    assert passed("step-estimate-rate-90s", 90.0, 0.2, None)
    assert not passed("step-estimate-rate-90s", 90.0, 0.2, 8_000.0)
    assert missing("step-estimate-rtt-30s", outcome("step")).run


def test_nothing_lost_and_nothing_twice_in_any_run() -> None:
    good = outcome("lan"), outcome("lte", seed=2), outcome("lte", "mqtt", lost=9, twice=9)
    assert row("lost", *good).passed
    assert row("twice", *good).passed
    bad = row("lost", *good, outcome("lte", lost=1))
    assert (bad.figure, bad.note, bad.passed) == (1, "beyond it: lte", False)
    assert not row("twice", *good, outcome("lan", seed=3, twice=1)).passed


@pytest.mark.parametrize("program", ["agent", "bridge"])
def test_memory_does_not_grow(program: str) -> None:
    def found(end: int) -> bool:
        of = {"agent": Memory(50_000, 50_000, 60_000), "bridge": Memory(50_000, 50_000, 60_000)}
        of[program] = Memory(50_000, end, 99_999)
        return row(f"memory-{program}", outcome("lan", memory=of)).passed

    assert found(64_096)
    assert not found(64_200)
    assert missing(f"memory-{program}", outcome("lan")).run


def test_the_first_delivery_after_the_start() -> None:
    assert row("first", outcome("udp-never", first=2.0)).passed
    assert row("first", outcome("lan"), outcome("udp-never", first=2.1)).note == "beyond it: udp-never"
    assert not row("first", outcome("lan"), outcome("udp-never", first=None)).passed


def test_probes_are_one_per_cent_of_the_bytes() -> None:
    def found(probes: int) -> bool:
        return row("probes", outcome("lan", link=told(size=100_000, probes=probes))).passed

    assert found(1_000)
    assert not found(1_001)


def test_what_a_choice_costs() -> None:
    assert row("decision").passed
    assert row("decision", measured=Measured({"lan": 51.0, "thin": 12.0})).note == "beyond it: lan"
    assert not row("decision", measured=Measured({"lan": 51.0, "thin": 12.0})).passed


def test_the_instrument_is_judged_in_every_run() -> None:
    assert row("instrument", outcome("lan", late=0.0019)).passed
    assert not row("instrument", outcome("lan"), outcome("lte", "mqtt", late=0.0021)).passed


def test_what_was_not_run_says_so_and_does_not_pass() -> None:
    found = rows.judge(Results([outcome("lan")]), GOOD)
    names = {one.name for one in found if isinstance(one, Unjudged) and not one.run}
    assert {"loss-10-p98", "lte-utility", "thin-bytes", "outage-4-first", "noise-switches"} <= names
    assert "loss-10-p98" not in rows.short(found)
    assert [one.name for one in rows.unjudged(found)] == ["memory-agent", "memory-bridge"]
    assert {one.name for one in rows.figures(found)} == {
        "constant-switches", "first", "lost", "twice", "probes", "decision", "instrument"
    }  # fmt: skip


def test_too_few_messages_or_other_seeds_are_no_pass() -> None:
    few = {"p95": 10.0, "p98": 10.0, "p99.9": None}
    ours = outcome("loss-10", latency=dict(few), messages=600)
    mqtt = outcome("loss-10", "mqtt", latency=dict(few), messages=600)
    found = missing("loss-10-p99.9", ours, mqtt)
    assert (found.why, found.run) == ("600 messages of ours in loss-10, p99.9 needs 1000", True)
    other = outcome("loss-10", "mqtt", seed=2)
    assert missing("loss-10-p98", ours, other).why == "seeds of ours and mqtt differ in loss-10"
    lost = outcome("loss-10", latency=dict(few), messages=3_000)
    assert not row("loss-10-p99.9", lost, outcome("loss-10", "mqtt")).passed


def test_every_scenario_belongs_to_some_row() -> None:
    assert set(rows.CONSTANT) | set(rows.CHANGING) == set(SCENARIOS)
    assert rows.OUTAGES == ("outage-4", "outage-15", "outage-60")
