"""One seed, from the first row to the verdict."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from tests.faults.campaign import ledger, supervisor
from tests.faults.campaign.agent import make_agent, rows_of
from tests.faults.campaign.evidence import Evidence, Truth
from tests.faults.campaign.faults import Inflictor
from tests.faults.campaign.judge import Verdict, excused, expected, judge, unfinished
from tests.faults.campaign.plan import WINDOW, Plan
from tests.support import fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.campaign.agent import Agent
    from tests.faults.campaign.rig import Rig

PATIENCE = 15.0  # seconds without a new Result after which no more is waited for: a bridge takes 8 to see a dead path
LITTLE = 2.0  # the same where all that is missing may be lost, and was told
LOOK = 1.0  # seconds between two looks whether the bridges still run
RECEIPTS = 45.0  # seconds for the agent to get the last receipt; it may pause for 30 between two attempts
ASK_AGAIN = 1.5  # seconds without a new Result after which an operator asks for a replay once more

FAILURES = (AssertionError, RuntimeError, OSError, subprocess.SubprocessError)  # of a seed, not of the campaign

_engine = threading.Lock()


class Outcome(msgspec.Struct):
    """A seed that was run.

    Attributes:
        plan: what it did.
        verdict: what came of it.
        seconds: of wall time, without the set-up's.
        timeline: when it did what, seconds since the first row.
        logs: the end of the programs' logs, where it fell short.
    """

    plan: Plan
    verdict: Verdict
    seconds: float
    timeline: list[str]
    logs: str = ""

    def __str__(self) -> str:
        kinds = ("lost", "told", "doubled", "disorder", "wrong", "ledger", "stuck")
        found = [f"  {kind}: {text}" for kind in kinds for text in getattr(self.verdict, kind)[:8]]
        head = f"{self.plan}; {self.verdict.windows} windows, {self.seconds:.1f} s"
        alone = [] if self.verdict.passed else [f"  alone: make chaos SEEDS=1 FIRST={self.plan.seed}"]
        return "\n".join([head, *(f"  {line}" for line in self.timeline), *found, *alone, *filter(None, [self.logs])])


class Seed:
    """A seed being run on a set-up.

    Args:
        rig: the set-up.
        plan: what to do.
        directory: for the agent's files; must not exist.
    """

    def __init__(self, rig: Rig, plan: Plan, directory: Path) -> None:
        url = rig.agent_path.url if plan.transport == "mqtt" else f"coap://127.0.0.1:{rig.coap_path.port}"
        self._rig, self._plan = rig, plan
        self._agent: Agent = make_agent(plan, directory, url)
        self._evidence = Evidence(plan.stream, shared=plan.shared, provisional=plan.provisional)
        self._timeline: list[str] = []
        self._begun = time.monotonic()
        self._since = time.time() - 1.0
        self._session = rig.ear.session

    def run(self) -> Outcome:
        """Run it; whatever happens, it ends with a verdict."""
        began = time.monotonic()
        try:
            self._rig.make_ready(self._plan)
            self._session = self._rig.ear.session
            inflictor = Inflictor(self._rig, self._plan, self._agent, self._note)
            self._agent.start()
            self._begun, self._since = time.monotonic(), time.time() - 1.0
            self._do_deeds(inflictor)
            inflictor.settle()
            self._wait_for_receipts()
            self._evidence.excuses = inflictor.excuses()
            self._wait_for_results()
            self._evidence.ledger = ledger.check(self._rig, self._plan, self._agent.accepted(), self._evidence.excuses)
        except FAILURES as why:
            self._evidence.stuck.append(f"{type(why).__name__}: {why}"[:2_000])
        finally:
            self._agent.stop(kill=True)
        verdict = self._judge()
        logs = "" if verdict.passed else f"--- agent\n{self._agent.program.stderr[-1_500:]}\n{self._rig.said()}"
        return Outcome(self._plan, verdict, time.monotonic() - began, self._timeline, logs)

    def _do_deeds(self, inflictor: Inflictor) -> None:
        """Begins and undoes each deed at its time."""
        steps: list[tuple[float, Callable[[], None]]] = []
        for deed in self._plan.deeds:
            steps.append((deed.at, lambda deed=deed: inflictor.do(deed)))  # type: ignore[misc] # mypy cannot type a default
            steps.append((deed.at + deed.hold, lambda deed=deed: inflictor.undo(deed)))  # type: ignore[misc] # as above
        for at, step in sorted(steps, key=lambda one: one[0]):
            time.sleep(max(0.0, self._begun + at - time.monotonic()))  # the moment is the seed's input
            step()

    def _wait_for_receipts(self) -> None:
        """Until the agent has receipts for everything, and the subscriber is back."""
        deadline = time.monotonic() + RECEIPTS
        again = 0
        while (why := self._agent.finish(LOOK)) and time.monotonic() < deadline and again < supervisor.ATTEMPTS:
            for bridge in self._rig.supervise():
                again += 1
                self._note(f"bridge {bridge} had ended by itself, and was started again")
        self._note(why or "the agent has receipts for everything")
        ear = self._rig.ear
        fleet.until(lambda: ear.subscribed, 10, "the subscriber is not back")
        evidence = self._evidence
        evidence.stuck += [why] if why else []
        evidence.attended = ear.back if ear.session != self._session else 0.0
        evidence.accepted = self._agent.accepted()

    def _wait_for_results(self) -> None:
        """Until every window has its Result, or nothing moves any more; an operator who was away asks for a replay."""
        ear, device, evidence = self._rig.ear, self._plan.device, self._evidence
        wanted = set(expected(evidence))
        hopeless = {window for window in wanted if excused(evidence, *window)}
        moved, count, asked = time.monotonic(), -1, float("-inf")
        while missing := unfinished(wanted, ear.heard(device)):
            now = time.monotonic()
            if len(missing) != count:
                moved, count = now, len(missing)
            if now - moved > (PATIENCE if missing - hopeless else LITTLE):
                self._note(f"{len(missing)} windows have no Result, and nothing moves")
                return
            if evidence.attended and now - max(moved if asked > 0 else 0.0, asked) > ASK_AGAIN:
                asked = now
                for bridge in self._rig.bridges:
                    said = ear.ask_for_replay(bridge, self._plan, self._since)
                    self._note(f"{len(missing)} windows missing, replay asked of {bridge}: {said}")
            time.sleep(0.01)
        ear.fence()
        self._note("every window has its Result")

    def _judge(self) -> Verdict:
        evidence, device = self._evidence, self._plan.device
        evidence.accepted = self._agent.accepted()
        evidence.heard = self._rig.ear.heard(device)
        evidence.truth = self._truth()
        for error in self._rig.ear.errors(device)[:3]:
            self._note(f"an Error: {error}")
        return judge(evidence)

    def _truth(self) -> dict[tuple[str, int], Truth]:
        """What the engine says of the rows that were accepted under these numbers."""
        rows, known = rows_of(self._plan), self._agent.values()
        cut = {
            (epoch, seq): [known.get((epoch, row), -1) for row in range(seq, seq + WINDOW)]
            for epoch, seq in expected(self._evidence)
        }
        sure = {window: which for window, which in cut.items() if min(which) >= 0}
        with _engine:
            found = fleet.answers(rows[which] for which in sure.values())
        return {window: Truth(said.label, said.score) for window, said in zip(sure, found, strict=True)}

    def _note(self, text: str) -> None:
        self._timeline.append(f"{time.monotonic() - self._begun:6.2f} s  {text}")
