"""`inference-bridge check`: settings, models and accelerators, before anything listens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.runtime import ort
from bridge.runtime.load import load
from bridge.runtime.providers import available

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.config import Config


def check(config: Config, base: Path) -> int:
    """Print what would be used.

    Returns:
        0.

    Raises:
        ConfigError: naming file, key and why.
        ModelError: a model cannot be used.
    """
    say = sys.stdout.write
    catalog = assembly.catalog_of(config, base)
    models = assembly.manifests(config, catalog)
    table = assembly.route_table(config, models)
    devices = "embedded" if config.mqtt.url is None else str(assembly.endpoint_of(config.mqtt, base, "mqtt"))
    cloud = "none" if config.cloud is None else str(assembly.endpoint_of(config.cloud, base, "cloud"))
    say(f"bridge   {config.bridge.id}, state in {assembly.state_folder(config, base)}\n")
    say(f"broker   {devices}\n")
    say(f"coap     {f'coap://{config.coap.bind}' if config.coap.enabled else 'off'}\n")
    say(f"cloud    {cloud}\n")
    for name, manifest in models.items():
        variant = manifest.for_tier("bridge")
        engine = load(manifest, variant, threads=config.bridge.threads)
        say(
            f"model    {name} {manifest.version}: {variant.name} on {engine.provider}, {variant.bytes / 1e3:.0f} kB, "
            f"accuracy {variant.accuracy:.1%}, {engine.run_seconds(1) * 1e6:.0f} µs a window\n"
        )
    for folder, why in catalog.bad.items():
        say(f"model    {folder.name}: NOT USABLE: {why}\n")
    for route in table.routes:
        source = (
            f"stream {route.stream}" if route.filter is None else f"{route.filter} as {route.device}/{route.stream}"
        )
        say(f"route    {source} → {route.model}, {route.windows}, {route.policy}, within {route.deadline:g} s\n")
    say(f"runtime  ONNX Runtime {ort.version()}: {', '.join(p.name for p in available())}\n")
    return 0
