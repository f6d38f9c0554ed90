"""Loads a variant on the best provider that really works."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bridge.errors import ConfigError
from bridge.runtime.engine import OnnxEngine
from bridge.runtime.providers import candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.catalog import Manifest, Variant

log = logging.getLogger(__name__)


def load(
    manifest: Manifest,
    variant: Variant,
    *,
    provider: str = "cpu",
    options: Mapping[str, str] | None = None,
    require_accelerator: bool = False,
    threads: int = 1,
    spinning: bool = False,
    max_batch: int = 64,
    lanes: int = 1,
) -> OnnxEngine:
    """Load a variant on a provider, or with "auto" on the first that loads; what was passed over is logged and kept.

    Args:
        manifest: the model.
        variant: the variant of it.
        provider: a name of the provider table, or "auto".
        options: ONNX Runtime's options for the provider named.
        require_accelerator: fail rather than compute on the CPU.
        threads: as in `OnnxEngine`.
        spinning: as in `OnnxEngine`.
        max_batch: as in `OnnxEngine`.
        lanes: as in `OnnxEngine`.

    Raises:
        ConfigError: no provider that may be used loads; says why for each and what to install.
        ModelError: the file is not the manifest's, or is no graph that answers as the manifest says.
    """
    skipped: list[str] = []
    for choice in candidates(provider, options=options or {}, require_accelerator=require_accelerator):
        try:
            return OnnxEngine(
                manifest,
                variant,
                choice=choice,
                threads=threads,
                spinning=spinning,
                max_batch=max_batch,
                lanes=lanes,
                skipped=tuple(skipped),
            )
        except ConfigError as error:
            if provider != "auto":
                raise
            skipped.append(str(error))
            log.warning("%s/%s: passed over: %s", manifest.name, variant.name, error)
    needed = " (require_accelerator is set)" if require_accelerator else ""
    raise ConfigError(f"{manifest.name}/{variant.name}: no provider loads{needed}: {'; '.join(skipped)}")
