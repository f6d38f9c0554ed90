"""The bridge's own account beside what was seen from outside: the one place that knows what the command prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.programs import run_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.faults.campaign.evidence import Accepted, Excuse
    from tests.faults.campaign.plan import Plan
    from tests.faults.campaign.rig import Rig

NO_SUCH_COMMAND = 2


def check(rig: Rig, plan: Plan, accepted: Sequence[Accepted], excuses: Sequence[Excuse]) -> list[str] | None:
    """Asks `inference-bridge ledger` for the seed's device.

    Returns:
        What does not add up, a sentence each; None where the bridge keeps no ledger.
    """
    config = rig.directory / next(iter(rig.bridges)) / "bridge.toml"
    asked = run_command("inference-bridge", "ledger", "--json", "--device", plan.device, "--config", str(config))
    if asked.returncode == NO_SUCH_COMMAND and "invalid choice" in asked.stderr:
        return None
    if not asked.stdout.startswith("{"):
        return [f"the command said nothing, exit code {asked.returncode}: {asked.stderr[-500:]}"]
    said = json.loads(asked.stdout)
    found = list(problems(said, excuses))
    if not plan.shared:
        found += differences(said, accepted, excuses, told=plan.transport == "mqtt")
    if asked.returncode != (said["adds_up"] is False):
        found.append(f"adds_up is {said['adds_up']}, but the exit code {asked.returncode}")
    return found


def problems(said: dict[str, Any], excuses: Sequence[Excuse]) -> Iterator[str]:
    """Checks of the ledger itself that fail, or that nobody could make; and bridges that are silent.

    A spoilt store may leave rows that nobody accounts for, if they are named and it alone held them; and checks that
    cannot be made.
    """
    for bridge in said["silent"]:
        yield f"bridge {bridge} did not answer"
    told = [one for one in excuses if one.told]
    for line in [*said["series"], *said["streams"]]:
        for one in line["checks"]:
            rows = one.get("rows", [])
            if one["holds"] is True or (told and _within(rows, line.get("epoch", ""), told)):
                continue
            verdict = "does not add up" if one["holds"] is False else "could not be checked"
            yield f"{one['name']} of epoch {line.get('epoch', '–')} {verdict}: rows {rows}: {one.get('says', '')}"


def _within(rows: Iterable[tuple[int, int]], epoch: str, told: Iterable[Excuse]) -> bool:
    """Whether all these rows may be missing; none is fewer than any."""
    spans = [span for one in told if one.epoch == epoch for span in one.rows]
    return all(any(low <= first and last <= high for low, high in spans) for first, last in rows)


def differences(
    said: dict[str, Any], accepted: Sequence[Accepted], excuses: Sequence[Excuse], *, told: bool
) -> Iterator[str]:
    """Where the ledger knows less than the source was told.

    Args:
        said: what the command printed.
        accepted: what the source was told.
        excuses: numberings whose store was spoilt and told of need not be known any more.
        told: the agent tells the broker what it accepted (not over CoAP).
    """
    lines = {line["epoch"]: line for line in said["series"]}
    ends: dict[str, int] = {}
    for one in accepted:
        ends[one.epoch] = max(ends.get(one.epoch, 0), one.last + 1)
    for epoch in {one.epoch for one in excuses if one.told}:
        ends.pop(epoch, None)
    for epoch, end in ends.items():
        line = lines.get(epoch)
        if line is None:
            yield f"says nothing of epoch {epoch}, of which {end} rows were accepted"
            continue
        known = line["accepted"] if told else line["safe"]
        if known is None or known < end:
            yield f"says that {known} rows of epoch {epoch} were accepted; the source was told of {end}"
