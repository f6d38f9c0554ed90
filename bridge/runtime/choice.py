"""How a model is run here: as the tuner chose, while that holds; else as the manifest says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.errors import ConfigError
from bridge.runtime import remembered
from bridge.runtime.load import load
from bridge.runtime.machine import Machine, lanes, this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
    from bridge.messages import Tier
    from bridge.runtime.engine import OnnxEngine
    from bridge.runtime.remembered import Remembered

DEFAULT_BATCH = 64


class Chosen(NamedTuple):
    """What to load: the arguments of `bridge.runtime.load.load`.

    Attributes:
        variant: the variant.
        provider: name in the provider table, or "auto".
        threads: threads that share one operator.
        spinning: whether they burn CPU while they wait.
        max_batch: windows that run together.
        options: ONNX Runtime's options for the provider.
        tuned: whether it is a remembered choice.
        why: in words, for `check` and the log.
        lanes: calls that compute at once; together they keep the cores busy.
        outdated: there is a remembered choice, made for another machine, runtime or version of the model.
    """

    variant: Variant
    provider: str
    threads: int
    spinning: bool
    max_batch: int
    options: Mapping[str, str]
    tuned: bool
    why: str
    lanes: int
    outdated: bool = False


def choose(
    manifest: Manifest,
    tier: Tier,
    state_folder: Path,
    *,
    provider: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
    machine: Machine | None = None,
) -> Chosen:
    """What to run: the remembered choice, if it holds here and now; else what the manifest says for the tier.

    Nothing is written, and a file that cannot be read counts as none: `why` tells.

    Args:
        manifest: the model.
        tier: where it runs.
        state_folder: the folder of `tuned.json`.
        provider: what the owner's settings name; a choice for another provider is then not taken.
        threads: likewise.
        options: the owner's options, by name of provider.
        machine: this machine, when None.

    Raises:
        ModelError: the manifest gives this tier no variant.
    """
    default = manifest.for_tier(tier)
    options = options or {}
    here = machine or this_machine()
    kept, problem = remembered.read(state_folder / remembered.FILE)
    found = next((one for one in kept if (one.model, one.tier) == (manifest.name, tier)), None)
    outdated: list[str] = []
    if found is not None:
        outdated = found.outdated(manifest, here)
        owner = _overruled(found, provider=provider, threads=threads, options=options)
        if not outdated and not owner:
            return Chosen(
                variant=manifest.variant(found.variant),
                provider=found.provider,
                threads=found.threads,
                spinning=found.spinning,
                max_batch=found.max_batch,
                options=found.options,
                tuned=True,
                why=f"tuned here: {found.window_seconds * 1e6:.1f} µs a window, accuracy {found.accuracy:.1%}",
                lanes=lanes(found.threads, here.cores),
            )
        again = f"; run: inference-bridge models tune {manifest.name}" if outdated else ""
        problem = f"the tuned choice is not used: {'; '.join(outdated or owner)}{again}"
    name = provider or "cpu"
    return Chosen(
        variant=default,
        provider=name,
        threads=threads or 1,
        spinning=False,
        max_batch=DEFAULT_BATCH,
        options=options.get(name, {}),
        tuned=False,
        why=problem or f"not tuned here: the manifest's variant; run: inference-bridge models tune {manifest.name}",
        lanes=lanes(threads or 1, here.cores),
        outdated=bool(outdated),
    )


def open_engine(manifest: Manifest, chosen: Chosen) -> OnnxEngine:
    """Load what was chosen.

    Raises:
        ConfigError: the provider does not load; says so too where it was the tuner that chose it.
        ModelError: the file is not the manifest's, or is no graph that answers as the manifest says.
    """
    try:
        return load(
            manifest,
            chosen.variant,
            provider=chosen.provider,
            options=chosen.options,
            threads=chosen.threads,
            spinning=chosen.spinning,
            max_batch=chosen.max_batch,
            lanes=chosen.lanes,
        )
    except ConfigError as why:
        if not chosen.tuned:
            raise
        raise ConfigError(f"{why} (chosen by inference-bridge models tune {manifest.name}: run it again)") from why


def _overruled(
    found: Remembered, *, provider: str | None, threads: int | None, options: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Which of the owner's settings say otherwise."""
    reasons = []
    if provider is not None and provider not in {"auto", found.provider}:
        reasons.append(f"it is for provider {found.provider}, the settings say {provider}")
    if threads is not None and threads != found.threads:
        reasons.append(f"it is for {found.threads} threads, the settings say {threads}")
    if dict(options.get(found.provider, {})) != found.options:
        reasons.append(f"provider {found.provider} had other options")
    return reasons
