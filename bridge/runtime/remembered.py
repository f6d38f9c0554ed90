"""What the tuner chose, kept in the state folder with everything that it holds for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from bridge.errors import StoreError
from bridge.messages import Tier
from bridge.runtime.machine import Machine, this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.runtime.tune import Tuning

FILE = "tuned.json"

Count = Annotated[int, msgspec.Meta(ge=1)]


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tuner's choice, with everything that it holds for.

    Attributes:
        model: name of the model.
        version: its version.
        tier: the tier that it was made for.
        files: SHA-256 of each variant that was tried, by name.
        budget: accuracy that speed was allowed to cost, 0…1.
        machine: where it was measured.
        variant: the choice: name of the variant.
        provider: name in the provider table.
        options: the owner's options for it.
        threads: threads that share one operator.
        spinning: whether they burn CPU while they wait.
        max_batch: windows that run together.
        accuracy: measured, 0…1.
        window_seconds: median seconds a window.
        t: when it was measured, seconds since 1970.
    """

    model: str
    version: str
    tier: Tier
    files: dict[str, str]
    budget: float
    machine: Machine
    variant: str
    provider: str
    options: dict[str, str]
    threads: Count
    spinning: bool
    max_batch: Count
    accuracy: float
    window_seconds: float
    t: float

    def __post_init__(self) -> None:
        if self.variant not in self.files:
            raise ValueError(f"variant {self.variant!r} is not among the files")

    def outdated(self, manifest: Manifest, machine: Machine) -> list[str]:
        """What has changed since it was measured, in words; nothing while it holds.

        Args:
            manifest: the model as it is now.
            machine: the machine as it is now.
        """
        changes = self.machine.differences(machine)
        if self.version != manifest.version:
            changes.append(f"the model was version {self.version}, is {manifest.version}")
        if self.budget != manifest.budget.accuracy:
            changes.append(f"the budget was {self.budget:g}, is {manifest.budget.accuracy:g}")
        now = {one.name: one.sha256 for one in manifest.variants}
        tier = {one.name for one in manifest.variants if one.tier == self.tier}
        for name in sorted(self.files.keys() | tier):
            if self.files.get(name) != now.get(name):
                word = "is gone" if name not in now else "is another file" if name in self.files else "is new"
                changes.append(f"variant {name} {word}")
        return changes


def remember(
    tuning: Tuning,
    manifest: Manifest,
    state_folder: Path,
    *,
    t: float,
    options: Mapping[str, Mapping[str, str]] | None = None,
    machine: Machine | None = None,
) -> Path:
    """Keep a tuner's choice, in place of an earlier one for the same model and tier.

    Args:
        tuning: what was found.
        manifest: the model.
        state_folder: made where missing.
        t: now, seconds since 1970.
        options: the owner's options, by name of provider, that it was measured with.
        machine: this machine, when None.

    Returns:
        The file.

    Raises:
        StoreError: it cannot be written.
    """
    point, setup = tuning.chosen, tuning.chosen.setup
    tried = {name for name, _ in tuning.accuracies}
    new = Remembered(
        model=manifest.name,
        version=manifest.version,
        tier=tuning.tier,
        files={one.name: one.sha256 for one in manifest.variants if one.name in tried},
        budget=tuning.budget,
        machine=machine or this_machine(),
        variant=setup.variant,
        provider=setup.provider,
        options=dict((options or {}).get(setup.provider, {})),
        threads=setup.threads,
        spinning=setup.spinning,
        max_batch=point.batch,
        accuracy=tuning.accuracies[setup.variant, setup.provider],
        window_seconds=tuning.seconds[point],
        t=t,
    )
    file = state_folder / FILE
    others, _ = read(file)
    kept = [one for one in others if (one.model, one.tier) != (new.model, new.tier)]
    part = file.with_suffix(".part")
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, new])))
        part.replace(file)
    except OSError as why:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise StoreError(f"{file}: the choice cannot be kept: {why.strerror or why}") from why
    return file


def read(file: Path) -> tuple[list[Remembered], str]:
    """The choices of a file, or why there are none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Remembered]), ""
    except FileNotFoundError:
        return [], ""
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as why:
        return [], f"{file} cannot be read ({why}): delete it, or run inference-bridge models tune"
