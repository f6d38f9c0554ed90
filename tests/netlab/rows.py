"""The rows of the table: what is asked of a run of the laboratory, as figure and bound.

A row is a function of all outcomes. What was not run, or has too few messages, is `Unjudged`, which is no pass.
Figures of speed and bytes are medians of the seeds, each paired with the rival of the same seed; what must never happen
(loss, a second effective Result, a switch without a reason, memory that grows) is the worst of all seeds.
Add a row to `ROWS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab import changes
from tests.netlab.entrants import enters
from tests.netlab.everywhere import beginning, instrument, memory, probes, safe, some
from tests.netlab.ours import BUDGET
from tests.netlab.results import (
    FIXED,
    ORACLE,
    OURS,
    Gap,
    Results,
    Unjudged,
    Verdict,
    judged,
    latency,
    ratio,
    share_of_best,
)
from tests.netlab.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.rows import Row
    from tests.netlab.costs import Measured
    from tests.netlab.lab import Outcome

LOSSY = {"loss-10": 1.4, "loss-20": 1.7}  # most transmissions a message
ALIKE = 1.1  # p95, of the better fixed choice
NEAR_ORACLE = 0.95
LEAN = 4.0  # times fewer bytes
FIRST, FRESH = 1.5, 2.0  # s after an outage
ERROR = 0.2
DECISION_US = 50.0
CONSTANT = tuple(one.name for one in SCENARIOS.values() if one.constant)
FRESHEST = tuple(name for name in CONSTANT if SCENARIOS[name].wish is None)  # streams that cannot wait
PATIENT = "thin-patient"
CHANGING = tuple(one.name for one in SCENARIOS.values() if not one.constant)
OUTAGES = tuple(name for name in CHANGING if name.startswith("outage"))
NOISE = "noise"
STEPS = ("step", "squeeze")


def against(results: Results, scenario: str, rival: str, quantile: str, bound: float) -> Verdict:
    """A quantile of ours as a share of the rival's, at most `bound`, paired by seed."""

    def figures() -> list[float]:
        pairs = results.pairs(scenario, rival)
        return [ratio(latency(ours, quantile), latency(theirs, quantile)) for ours, theirs in pairs]

    return judged(f"{scenario}-{quantile}", f"{quantile} of {OURS} / {rival}", figures, "at most", bound)


def transmissions(results: Results, scenario: str, bound: float) -> Verdict:
    """Packets with payload a message."""

    def figures() -> list[float]:
        return [one.figures.transmissions for one in results.runs(scenario)]

    return judged(f"{scenario}-transmissions", "packets with payload a message", figures, "at most", bound, unit="")


def lossy(results: Results, _: Measured) -> list[Verdict]:
    """10 and 20 % random loss."""
    found = []
    for name, most in LOSSY.items():
        found += [against(results, name, "mqtt", "p98", 0.35), against(results, name, "mqtt", "p99.9", 0.6)]
        found.append(transmissions(results, name, most))
    return found


def fades(results: Results, _: Measured) -> list[Verdict]:
    """5 % loss in fades of 250 ms."""
    return [
        against(results, "fades", "mqtt", "p95", 0.5),
        against(results, "fades", "mqtt", "p98", 0.6),
        transmissions(results, "fades", 1.4),
    ]


def constant(results: Results, _: Measured) -> list[Verdict]:
    """P95 of every constant scenario whose stream cannot wait, against the better fixed choice of the same seed."""

    def figures(scenario: str) -> Callable[[], list[float]]:
        def of() -> list[float]:
            fixed = [name for name in FIXED if enters(name, SCENARIOS[scenario])]
            rivals = [[latency(theirs, "p95") for _, theirs in results.pairs(scenario, name)] for name in fixed]
            ours = [latency(one, "p95") for one in results.runs(scenario)]
            return [ratio(mine, min(best)) for mine, best in zip(ours, zip(*rivals, strict=True), strict=True)]

        return of

    measure = f"p95 of {OURS} / the better of {' and '.join(FIXED)}"
    return [judged(f"{name}-p95-constant", measure, figures(name), "at most", ALIKE) for name in FRESHEST]


def utility(results: Results, _: Measured) -> list[Verdict]:
    """Of changing traces: ours as a share of the best of oracle and rivals, by seed.

    A rival that does not carry all messages is no measure: fewer messages are fewer bytes, and the p95 of one message a
    second is as often late as its median.
    """

    def figures(scenario: str) -> Callable[[], list[float]]:
        def of() -> list[float]:
            pairs = results.pairs(scenario, ORACLE)
            best = {ours.seed: oracle.utility for ours, oracle in pairs}
            for rival in FIXED:
                for one in (one for one in results.of(scenario, rival) if one.rate >= SCENARIOS[scenario].rate):
                    best[one.seed] = max(best.get(one.seed, one.utility), one.utility)
            return [share_of_best(ours.utility, best[ours.seed]) for ours, _ in pairs]

        return of

    measure = f"utility of {OURS} / the best of {ORACLE}, {', '.join(FIXED)}"
    return [judged(f"{name}-utility", measure, figures(name), "at least", NEAR_ORACLE) for name in CHANGING]


def thin(results: Results, measured: Measured) -> list[Verdict]:
    """Bytes a window at 64 kbit/s of a stream that can wait, and what its encodings cost, by the shipped model."""

    def lean() -> list[float]:
        return [theirs.figures.bytes / ours.figures.bytes for ours, theirs in results.pairs(PATIENT, "mqtt")]

    def accuracy() -> dict[str, float]:
        used = encodings(results.runs(PATIENT))
        if not used:
            raise Gap(f"{PATIENT} was run, but no profile was told")
        if unknown := sorted(used.keys() - measured.accuracy_cost.keys()):
            raise Gap(f"accuracy of {', '.join(unknown)} was not measured")
        return {name: measured.accuracy_cost[name] for name in used}

    return [
        judged("thin-bytes", "IP bytes a window, JSON over MQTT / ours", lean, "at least", LEAN),
        judged("thin-accuracy", "accuracy that the encodings in use cost", accuracy, "at most", BUDGET, unit=""),
    ]


def encodings(runs: Sequence[Outcome]) -> dict[str, set[int]]:
    """Those that were in use, and with how many rows (units of the workload) a message: `coap-con/int8/4` says both."""
    found: dict[str, set[int]] = {}
    for switch in (switch for one in runs for switch in one.switches):
        _, name, rows = switch.profile.split("/")
        found.setdefault(name, set()).add(int(rows))
    return found


def switches(results: Results, _: Measured) -> list[Verdict]:
    """None without a change, one a change, and soon."""

    def needless(scenarios: Sequence[str]) -> Callable[[], dict[str, float]]:
        def of() -> dict[str, float]:
            return some({
                name: float(max(len(changes.settled(one.switches, SCENARIOS[name])) for one in results.of(name, OURS)))
                for name in scenarios
                if results.of(name, OURS)
            })  # fmt: skip

        return of

    def beyond(scenario: str) -> Callable[[], list[float]]:
        def of() -> list[float]:
            every = [changes.unexplained(one.switches, SCENARIOS[scenario]) for one in results.runs(scenario)]
            return [float(max(map(len, every)))]

        return of

    none = "switches after the first 2 s or 5 round trips"
    many = "switches beyond one a change, or over 2 s and 5 round trips after it"
    return [
        judged("constant-switches", none, needless(CONSTANT), "at most", 0, unit=""),
        judged("noise-switches", none, needless([NOISE]), "at most", 0, unit=""),
        *(
            judged(f"{name}-switches", many, beyond(name), "at most", 0, unit="")
            for name in CHANGING
            if name != NOISE
        ),
    ]  # fmt: skip


def outages(results: Results, _: Measured) -> list[Verdict]:
    """First delivery and first live reading after the link's return."""

    def waits(scenario: str, what: str) -> Callable[[], list[float]]:
        def of() -> list[float]:
            found = []
            for one in results.runs(scenario):
                if not one.returns:
                    raise Gap(f"the workload of {scenario} ended before the outage did")
                every = [getattr(end, what) for end in one.returns]
                found.append(max(float("inf") if wait is None else wait for wait in every))
            return found

        return of

    found = []
    for name in OUTAGES:
        found += [
            judged(f"{name}-first", "first delivery after it", waits(name, "first"), "at most", FIRST, unit="s"),
            judged(f"{name}-fresh", "live readings fresh after it", waits(name, "fresh"), "at most", FRESH, unit="s"),
        ]
    return found


def estimate(results: Results, _: Measured) -> list[Verdict]:
    """After each step of round trip or rate in `STEPS`: how wrong the estimate is 3 s later."""

    def errors(scenario: str, step: changes.Step) -> Callable[[], list[float]]:
        def of() -> list[float]:
            found = [changes.error(step, one.looks, one.bytes_by_second) for one in results.runs(scenario)]
            known = [one for one in found if one is not None]
            if len(known) < len(found):
                raise Gap(f"no estimate was told {changes.KNOWN_AFTER:g} s after {step.at:g} s")
            return known

        return of

    measure = "error of the estimate 3 s after the step"
    return [
        judged(f"{name}-estimate-{step.name}", measure, errors(name, step), "at most", ERROR, unit="")
        for name in STEPS
        for step in changes.steps(SCENARIOS[name])
    ]


def decision(_: Results, measured: Measured) -> list[Verdict]:
    """What one choice costs, on each path it was measured on."""

    def cost() -> dict[str, float]:
        return some(measured.decision_us)

    return [judged("decision", "a choice, median on the dearest path", cost, "at most", DECISION_US, unit="µs")]


ROWS: Sequence[Callable[[Results, Measured], list[Verdict]]] = (
    lossy, fades, constant, utility, thin, switches, outages, beginning, estimate, safe, probes, memory, decision,
    instrument,
)  # fmt: skip


def judge(results: Results, measured: Measured) -> list[Verdict]:
    """Every row."""
    return [one for asked in ROWS for one in asked(results, measured)]


def short(verdicts: Sequence[Verdict]) -> list[str]:
    """Names of those that were judged and fall short."""
    return [one.name for one in verdicts if not isinstance(one, Unjudged) and not one.passed]


def unjudged(verdicts: Sequence[Verdict]) -> list[Unjudged]:
    """Those that should have a figure and have none."""
    return [one for one in verdicts if isinstance(one, Unjudged) and one.run]


def figures(verdicts: Sequence[Verdict]) -> list[Row]:
    """Those with a figure."""
    return [one for one in verdicts if not isinstance(one, Unjudged)]
