"""The default engine: the cloud variants of the model repository on ONNX Runtime in this process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.catalog import Catalog, default_directory
from bridge.errors import ModelError
from bridge.runtime.load import load as load_variant
from bridge.runtime.machine import cores, lanes
from cloud_agent.engines.inprocess import InProcess

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from cloud_agent.config import Engine

log = logging.getLogger(__name__)


def load(settings: Engine) -> InProcess:
    """Load and warm up every model asked for; blocks for seconds.

    Args:
        settings: the section `[engine]`.

    Raises:
        ConfigError: no execution provider that may be used loads; says what was found and what to install.
        ModelError: a model asked for cannot be used, or there is none for the cloud.
    """
    catalog = Catalog(Path(settings.directory) if settings.directory else default_directory())
    engines = []
    for manifest in _chosen(catalog, settings):
        engine = load_variant(
            manifest,
            manifest.for_tier("cloud"),
            provider=settings.provider,
            options=settings.options,
            require_accelerator=settings.require_accelerator,
            threads=settings.threads,
            spinning=settings.spinning,
            max_batch=settings.max_batch,
            lanes=lanes(settings.threads, cores()),
        )
        log.info("%s %s: %s on %s", engine.model, engine.version, engine.variant, engine.provider)
        engines.append(engine)
    return InProcess(engines)


def _chosen(catalog: Catalog, settings: Engine) -> list[Manifest]:
    if settings.models:
        return [catalog[name] for name in settings.models]
    for error in catalog.bad.values():
        log.warning("passed over: %s", error)
    found = [catalog[name] for name in catalog if catalog[name].tiers.cloud is not None]
    if not found:
        raise ModelError(
            f"no model for the cloud in {', '.join(map(str, catalog.directories))}: each needs a model.toml with "
            "tiers.cloud; name another folder with `directory` in [engine]"
        )
    return found
