"""`inference-bridge check`: settings, models and accelerators, before anything listens."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from bridge import assembly
from bridge.errors import ConfigError
from bridge.offload.sending import packing_for
from bridge.runtime.choice import open_engine
from bridge.runtime.load import load
from bridge.runtime.machine import this_machine
from bridge.runtime.providers import available

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.config import CloudSection, Config
    from bridge.pipeline.routes import Route
    from bridge.runtime.engine import OnnxEngine


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
    _places(config, base)
    say(f"bridge   {config.bridge.id}, state in {assembly.state_folder(config, base)}\n")
    say(f"broker   {devices}\n")
    say(f"coap     {f'coap://{config.coap.bind}' if config.coap.enabled else 'off'}\n")
    say(f"cloud    {cloud}\n")
    if config.cloud is not None:
        _cloud(config.cloud, models)
    for manifest in models.values():
        _model(config, base, manifest)
    for folder, why in catalog.bad.items():
        say(f"model    {folder.name}: NOT USABLE: {why}\n")
    for route in table.routes:
        source = (
            f"stream {route.stream}" if route.filter is None else f"{route.filter} as {route.device}/{route.stream}"
        )
        say(f"route    {source} → {route.model}, {route.windows}, {placement(route)}\n")
    for override in config.overrides:
        said = {name: getattr(override, name) for name in ("place", "below", "price", "deadline", "provisional")}
        what = ", ".join(f"{name} = {value}" for name, value in said.items() if value is not None)
        say(f"override device {override.device}, model {override.model}: {what}\n")
    machine = this_machine()
    say(f"machine  {machine.cpu}, {machine.cores} cores; ONNX Runtime {machine.runtime}\n")
    _providers(next(iter(models.values())))
    return 0


def placement(route: Route) -> str:
    """What a route declares about where its windows are answered, in words."""
    words: list[str] = [route.policy]
    if route.below is not None and route.policy == "cascade":
        words.append(f"cloud below {route.below:g}")
    if route.price:
        words.append(f"price {route.price:g}")
    words.append(f"within {route.deadline:g} s")
    if route.provisional:
        words.append(f"provisional Results, final ones within {route.grace:g} s more")
    if route.private:
        names = ", ".join(route.manifest.input.channels[index] for index in route.private)
        words.append(f"private {names}: {'never leaves' if route.private_rule == 'refuse' else 'masked'}")
    return ", ".join(words)


def _cloud(section: CloudSection, models: dict[str, Manifest]) -> None:
    """How it is asked."""
    packings = ", ".join(f"{name} as {packing_for(one, section.encoding)}" for name, one in models.items())
    cache = f"answers used again for {section.cache:g} s" if section.cache else "no answer used again"
    sys.stdout.write(
        f"         {packings}; second agent for {section.hedge:.1%}, exploring {section.explore:.1%}, {cache}\n"
    )


def _places(config: Config, base: Path) -> None:
    """Whether what `run` would listen at and write to is there."""
    host, _ = config.coap.address()
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as why:
        raise ConfigError(f"coap.bind: {host!r} is no address of this machine: {why.strerror or why}") from why
    state = assembly.state_folder(config, base)
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"bridge.state: cannot write to {there}; the journal is to be in {state}")


def _model(config: Config, base: Path, manifest: Manifest) -> None:
    """What runs the model here, and why that."""
    chosen = assembly.choose_engine(config, manifest, assembly.state_folder(config, base))
    engine = open_engine(manifest, chosen)
    threads = f"{chosen.threads} thread{'s' if chosen.threads > 1 else ''}{', spinning' if chosen.spinning else ''}"
    sys.stdout.write(
        f"model    {manifest.name} {manifest.version}: {chosen.variant.name} on {engine.provider}{_partly(engine)}, "
        f"{threads}, {chosen.variant.bytes / 1e3:.0f} kB, accuracy {chosen.variant.accuracy:.1%}, "
        f"{engine.run_seconds(1) * 1e6:.0f} µs a window\n"
        f"         {chosen.why}\n"
    )


def _providers(manifest: Manifest) -> None:
    """Each provider that ONNX Runtime was built with, and whether it loads: only a load tells."""
    for provider in available():
        try:
            engine = load(manifest, manifest.for_tier("bridge"), provider=provider.name, max_batch=1)
        except ConfigError as why:
            sys.stdout.write(f"provider {provider.name}: DOES NOT LOAD: {why}\n")
        else:
            sys.stdout.write(f"provider {provider.name}: loads{_partly(engine)}\n")


def _partly(engine: OnnxEngine) -> str:
    """Where the graph's nodes are, unless all are where they should be."""
    mine, total = engine.nodes.get(engine.provider, 0), sum(engine.nodes.values())
    return f" ({mine} of {total} nodes)" if mine < total else ""
