"""Settings → parts: models, routes, endpoints. What `run` and `check` share."""

from __future__ import annotations

import secrets
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import settings, topics
from bridge.catalog import Catalog, Manifest, default_directory, verify
from bridge.errors import ConfigError, ModelError
from bridge.mqtt.endpoint import Endpoint, parse_url, read_password, tls_context
from bridge.mqtt.messages import Settings
from bridge.offload.client import CloudClient
from bridge.offload.privacy import private_channels
from bridge.offload.sending import sending
from bridge.pipeline.entries import Patience
from bridge.pipeline.placing import Curve
from bridge.pipeline.routes import Override, Route, RouteTable
from bridge.pipeline.window import Windower
from bridge.runtime.choice import Chosen, choose
from bridge.runtime.providers import BY_NAME
from bridge.store.kept import Kept

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

    from bridge.config import BrokerSection, Config, RouteSection
    from bridge.offload.messages import Answered, Unanswered

RESULTS = "results.db"  # in the state folder, begun after the journal


def catalog_of(config: Config, base: Path) -> Catalog:
    """The models that the settings name.

    Raises:
        ConfigError: the folder is not there.
    """
    chosen = config.bridge.models
    if chosen is None:
        return Catalog(default_directory())
    try:
        return Catalog(base / Path(chosen).expanduser())
    except ModelError as why:
        raise ConfigError(f"bridge.models: {why}") from why


def manifests(config: Config, catalog: Catalog) -> dict[str, Manifest]:
    """Every usable model, its files verified; those that routes name must be usable.

    Raises:
        ConfigError: a route names a model that there is not.
        ModelError: a model that a route names cannot be used, or there is none at all.
    """
    for i, route in enumerate(config.routes):
        if route.model not in catalog and not any(folder.name == route.model for folder in catalog.bad):
            there = ", ".join(catalog) or "none"
            where = ", ".join(map(str, catalog.directories))
            raise ConfigError(f"routes[{i}].model: no model {route.model!r} in {where}; there are: {there}")
    wanted = {route.model for route in config.routes} or set(catalog)
    if not wanted:
        where = ", ".join(map(str, catalog.directories))
        raise next(iter(catalog.bad.values()), ModelError(f"{where}: no model.toml in any folder below"))
    found = {name: catalog[name] for name in sorted(wanted)}
    for manifest in found.values():
        verify(manifest, manifest.for_tier("bridge"))
    return found


def route_table(config: Config, models: dict[str, Manifest]) -> RouteTable:
    """The routes of the settings; without any, a stream called like a model goes to that model.

    Raises:
        ConfigError: a route that its model cannot serve.
    """
    overrides = _overrides(config, models)
    if not config.routes:
        plain = [Route(model=name, manifest=manifest, stream=name) for name, manifest in models.items()]
        return RouteTable(plain, overrides)
    routes = []
    for i, section in enumerate(config.routes):
        manifest = models[section.model]
        fields = section.decode.fields if section.decode is not None else None
        if fields is not None and len(fields) != len(manifest.input.channels):
            raise ConfigError(
                f"routes[{i}].decode.fields: {len(fields)} paths; {section.model} takes {len(manifest.input.channels)} "
                f"channels: {', '.join(manifest.input.channels)}"
            )
        routes.append(
            Route(
                model=section.model,
                manifest=manifest,
                stream=section.stream,
                windows=section.windows,
                policy=section.place,
                deadline=section.deadline,
                below=section.below,
                late=section.late,
                order=section.order,
                provisional=section.provisional,
                grace=section.grace,
                price=section.price,
                private=_private(section, manifest, f"routes[{i}].private"),
                private_rule=section.private_rule,
                filter=section.filter,
                site=section.site,
                device=section.device or "",
                decoding=section.decode,
            )
        )
    return RouteTable(routes, overrides)


def _private(section: RouteSection, manifest: Manifest, key: str) -> tuple[int, ...]:
    try:
        return private_channels(manifest, section.private)
    except ConfigError as why:
        raise ConfigError(f"{key}: {why}") from why


def _overrides(config: Config, models: dict[str, Manifest]) -> list[Override]:
    found = []
    for i, section in enumerate(config.overrides):
        if not any(fnmatchcase(name, section.model) for name in models):
            raise ConfigError(f"overrides[{i}].model: {section.model!r} fits none of {', '.join(sorted(models))}")
        said = {
            "policy": section.place,
            "below": section.below,
            "price": section.price,
            "deadline": section.deadline,
            "provisional": section.provisional,
        }
        fields = {name: value for name, value in said.items() if value is not None}
        found.append(Override(section.device, section.model, fields))
    return found


def infer_routes(table: RouteTable, models: dict[str, Manifest]) -> dict[str, Route]:
    """A whole-window route for each model: what `_infer` uses."""
    return {name: table.infer(name, manifest) for name, manifest in models.items()}


def curve_of(manifest: Manifest, variant: str) -> Curve:
    """How likely the cloud is right, by the certainty of this variant."""
    mine = manifest.variant(variant)
    default = 1.0 if mine.escalates_to is None else manifest.variant(mine.escalates_to).accuracy
    return Curve(mine.escalation, default)


def cloud_client(
    config: Config,
    endpoint: Endpoint,
    models: dict[str, Manifest],
    tell: Callable[[Answered | Unanswered], None],
    counts: Counter[str],
) -> CloudClient:
    """The bridge's side of the cloud.

    Args:
        config: the settings, with a cloud.
        endpoint: its broker.
        models: the models.
        tell: takes the end of each question.
        counts: what happened so far, by name.
    """
    section = config.cloud
    assert section is not None  # noqa: S101 # the endpoint was made of it
    return CloudClient(
        endpoint,
        config.bridge.id,
        tell,
        keep_alive=section.keep_alive,
        max_open=config.limits.questions,
        hedge=section.hedge,
        explore=section.explore,
        cache=section.cache,
        models={name: sending(manifest, section.encoding) for name, manifest in models.items()},
        counts=counts,
        pin=section.pin,
        exclude=section.exclude,
    )


def endpoint_of(section: BrokerSection, base: Path, name: str) -> Endpoint:
    """The broker of a section.

    Raises:
        ConfigError: a URL or file that cannot be used.
    """
    assert section.url is not None  # noqa: S101 # Config refuses a [cloud] without, App starts its own for [mqtt]
    scheme, host, port = parse_url(section.url, key=f"{name}.url")

    def path(text: str | None) -> Path | None:
        return None if text is None else base / Path(text).expanduser()

    secure = scheme == "mqtts"
    if not secure and (section.ca or section.cert or section.key):
        raise ConfigError(f"{name}: ca, cert and key need an mqtts:// url")
    if section.key is not None and section.cert is None:
        raise ConfigError(f"{name}.key: needs cert")
    tls = (
        tls_context(ca=path(section.ca), cert=path(section.cert), key=path(section.key), section=name)
        if secure
        else None
    )
    file = path(section.password_file)
    password = None if file is None else read_password(file, key=f"{name}.password_file")
    if password is not None and section.username is None:
        raise ConfigError(f"{name}.password_file: needs username")
    return Endpoint(host, port, tls, section.username, password)


def choose_engine(config: Config, manifest: Manifest, state: Path) -> Chosen:
    """What runs a model on the bridge: what `models tune` remembered, else what the manifest says.

    Raises:
        ConfigError: options for a provider that there is not.
    """
    return choose(
        manifest,
        "bridge",
        state,
        provider=config.bridge.provider,
        threads=config.bridge.threads,
        options=provider_options(config),
    )


def provider_options(config: Config) -> dict[str, dict[str, str]]:
    """ONNX Runtime's options, by name of provider.

    Raises:
        ConfigError: a name that no provider has.
    """
    for name in config.providers:
        if name not in BY_NAME:
            raise ConfigError(f"providers.{name}: no such provider; known: {', '.join(BY_NAME)}")
    return config.providers


def kept_results(config: Config, state: Path, tell: Callable[[str], None]) -> Kept:
    """The log of published Results.

    Raises:
        StoreError: it cannot be used.
    """
    section = config.results
    return Kept(state / RESULTS, tell, age=section.keep_age, size=section.keep_bytes)


def windower(config: Config, seen: Iterable[str]) -> Windower:
    """What cuts rows, within the settings' limits.

    Args:
        config: the settings.
        seen: ids of whole windows that earlier processes answered.
    """
    limits = config.limits
    patience = Patience(
        gap=limits.gap,
        gap_receipts=limits.gap_receipts,
        gap_backlog=limits.gap_backlog,
        segments=limits.segments,
        held_rows=limits.held_rows,
        series=limits.series,
    )
    made = Windower(patience, lambda: f"b-{secrets.token_hex(6)}")
    for window in seen:
        made.remember(window)
    return made


def session(config: Config, table: RouteTable, endpoint: Endpoint, will: tuple[str, bytes]) -> Settings:
    """How the bridge speaks with the devices' broker, and what it subscribes to.

    Args:
        config: the settings.
        table: the routes.
        endpoint: the broker.
        will: topic and payload that the broker publishes when we vanish.
    """
    section, me = config.mqtt, config.bridge.id
    return Settings(
        client_id=me,
        username=endpoint.username,
        password=endpoint.password,
        keep_alive=section.keep_alive,
        session_expiry=section.session_expiry,
        receive_maximum=section.receive_maximum,
        maximum_packet=config.limits.packet,
        subscriptions=(
            *(topics.shared(section.share, text) for text in table.filters),
            topics.bridge_status(me),
            topics.replay(me),
            topics.bridge_ledger(me),
        ),
        retained_once=() if section.share else table.filters,
        will=will,
    )


def state_folder(config: Config, base: Path) -> Path:
    """Where the journal lives."""
    return settings.beside(base / "bridge.toml", config.bridge.state)
