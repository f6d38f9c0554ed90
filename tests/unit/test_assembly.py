"""From settings to parts: models, routes, brokers; what does not fit together is told with its key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.assembly import (
    catalog_of,
    choose_engine,
    curve_of,
    endpoint_of,
    infer_routes,
    manifests,
    route_table,
    state_folder,
)
from bridge.config import BridgeSection, BrokerSection, Config, OverrideSection, RouteSection
from bridge.errors import ConfigError, ModelError
from bridge.wire.foreign import Decoding

if TYPE_CHECKING:
    from tests.support.brokers import TlsFiles

HERE = Path()
NOWHERE = "nowhere"
PASSWORD = {"password_file": "pw"}


def config(*routes: RouteSection, **bridge: Any) -> Config:
    return Config(BridgeSection(id="gw", **bridge), routes=routes)


def broker(url: str = "mqtt://h", **fields: Any) -> BrokerSection:
    return BrokerSection(url=url, **fields)


def test_the_shipped_models_are_found_and_verified() -> None:
    found = manifests(config(), catalog_of(config(), HERE))
    assert "activity" in found


def test_a_route_needs_its_model() -> None:
    with pytest.raises(ConfigError, match=r"routes\[0\]\.model: no model 'nowhere' in .*; there are: activity"):
        manifests(config(RouteSection(stream="x", model="nowhere")), catalog_of(config(), HERE))


def test_a_folder_without_models_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    mine = config(models="mine")
    with pytest.raises(ModelError, match="mine"):
        manifests(mine, catalog_of(mine, tmp_path))


def test_without_routes_a_stream_called_like_a_model_goes_there() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    table = route_table(config(), models)
    assert {route.stream: route.model for route in table.routes} == {name: name for name in models}


def test_routes_become_what_they_say() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    section = RouteSection(
        stream="acc",
        model="activity",
        windows="whole",
        place="cloud",
        deadline=0.5,
        below=0.2,
        filter="a/+",
        device="{1}",
    )
    (route,) = route_table(config(section), models).routes
    assert (route.windows, route.policy, route.deadline, route.below) == ("whole", "cloud", 0.5, 0.2)
    assert (route.filter, route.device, route.manifest) == ("a/+", "{1}", models["activity"])


def test_as_many_field_paths_as_channels() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    few = RouteSection(stream="acc", model="activity", filter="a/+", device="d", decode=Decoding(fields=("x", "y")))
    with pytest.raises(ConfigError, match=r"routes\[0\]\.decode\.fields: 2 paths; activity takes 6 channels: acc_x"):
        route_table(config(few), models)


def test_infer_has_a_whole_window_route_for_each_model() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    sections = [RouteSection(stream=name, model="activity", deadline=wait) for name, wait in (("a", 0.3), ("b", 9.0))]
    infer = infer_routes(route_table(config(*sections), models), models)
    assert infer.keys() == models.keys()
    assert (infer["activity"].windows, infer["activity"].deadline) == ("whole", 0.3)
    assert infer_routes(route_table(config(*sections[:0]), {}), models)["activity"].deadline == 2.0


def test_infer_is_as_patient_as_the_model_s_first_route() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    section = RouteSection(stream="a", model="activity", below=0.3, late="answer")
    route = infer_routes(route_table(config(section), models), models)["activity"]
    assert (route.below, route.late) == (0.3, "answer")
    assert infer_routes(route_table(config(), {}), models)["activity"].late == "refuse"


def test_infer_keeps_what_is_private_and_gives_one_result() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    section = RouteSection(stream="a", model="activity", private=("gyro_x",), price=0.1, provisional=True)
    everything = Config(
        BridgeSection(id="gw"), routes=(section,), overrides=(OverrideSection(deadline=0.7, provisional=True),)
    )
    table = route_table(everything, models)
    assert (table.routes[0].private, table.routes[0].provisional) == ((3,), True)
    route = infer_routes(table, models)["activity"]
    assert (route.barred, route.price) == ("private: gyro_x never leaves", 0.1)
    assert (route.deadline, route.provisional) == (0.7, False)


@pytest.mark.parametrize("turned", [False, True])
def test_infer_keeps_what_any_route_of_the_model_calls_private(turned: bool) -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    sections = [
        RouteSection(stream="a", model="activity"),
        RouteSection(stream="b", model="activity", private=("gyro_x",), private_rule="mask"),
        RouteSection(stream="c", model="activity", private=("acc_x",)),
    ]
    table = route_table(config(*(sections[::-1] if turned else sections)), models)
    assert infer_routes(table, models)["activity"].barred == "private: acc_x, gyro_x never leave"


def test_a_private_channel_that_the_model_does_not_have_is_told() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    with pytest.raises(
        ConfigError, match=r"routes\[0\]\.private: no channel 'gyro' in model activity; there are: 'acc"
    ):
        route_table(config(RouteSection(stream="a", model="activity", private=("gyro",))), models)


def test_an_override_of_no_model_is_told() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    wrong = Config(BridgeSection(id="gw"), overrides=(OverrideSection(model="actvity", price=0.1),))
    with pytest.raises(ConfigError, match=r"overrides\[0\]\.model: 'actvity' fits none of activity"):
        route_table(wrong, models)


def test_an_override_holds_without_routes_too() -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    table = route_table(
        Config(BridgeSection(id="gw"), overrides=(OverrideSection(device="w-*", place="bridge"),)), models
    )
    assert table.find("edge/v1/s/w-1/data/activity")[0].policy == "bridge"
    assert table.find("edge/v1/s/v-1/data/activity")[0].policy == "cascade"


def test_the_curve_is_that_of_the_variant_that_runs() -> None:
    manifest = catalog_of(config(), HERE)["activity"]
    bridge = manifest.for_tier("bridge")
    assert curve_of(manifest, bridge.name).points == bridge.escalation != ()
    assert curve_of(manifest, bridge.name).default == manifest.for_tier("cloud").accuracy
    assert curve_of(manifest, manifest.for_tier("cloud").name).default == 1.0


@pytest.mark.parametrize(("given", "order"), [({}, "strict"), ({"order": "free"}, "free")])
def test_results_of_a_route_come_in_order_unless_it_says_otherwise(given: dict[str, Any], order: str) -> None:
    models = manifests(config(), catalog_of(config(), HERE))
    table = route_table(config(RouteSection(stream="a", model="activity", **given)), models)
    assert table.routes[0].order == order


def test_options_for_a_provider_that_there_is_not_are_refused(tmp_path: Path) -> None:
    settings = Config(BridgeSection(id="gw"), providers={"openvinno": {"device_type": "CPU"}})
    with pytest.raises(ConfigError, match=r"providers\.openvinno: no such provider; known: tensorrt, .*openvino"):
        choose_engine(settings, catalog_of(settings, HERE)["activity"], tmp_path)


def test_an_endpoint_from_a_section(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(b"secret\r\nsecond line\n")
    found = endpoint_of(broker("mqtt://h:99", username="u", **PASSWORD), tmp_path, "mqtt")
    assert (found.host, found.port, found.tls, found.username, found.password) == ("h", 99, None, "u", b"secret")
    assert "secret" not in repr(found)
    assert "secret" not in str(found)


def test_mqtts_has_a_context(tls_files: TlsFiles) -> None:
    section = broker("mqtts://localhost", ca=str(tls_files.ca), cert=str(tls_files.cert), key=str(tls_files.key))
    found = endpoint_of(section, HERE, "mqtt")
    assert found.tls is not None
    assert (found.port, str(found)) == (8883, "mqtts://localhost:8883")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (broker("http://h"), "cloud.url: must be mqtt://"),
        (broker("h:1883"), "cloud.url: must be mqtt://"),
        (broker("mqtt://"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h/x"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h?x=1"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h#x"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h:0"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h:65536"), "cloud.url: must be mqtt://"),
        (broker("mqtt://h:hunter2"), "cloud.url: must be mqtt://"),
        (broker("mqtt://[::1"), "cloud.url: must be mqtt://"),
        (broker("mqtt://me:hunter2@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker("mqtt://me:hunter2/3@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker("mqtt://me:1/hunter2@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker("mqtt://me:1#hunter2@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker("mqtt://me:[hunter2@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker("hunter2:x@h"), "cloud.url: credentials in a URL end up in logs"),
        (broker(ca="x"), "cloud: ca, cert and key need an mqtts:// url"),
        (broker("mqtts://h", key="x"), "cloud.key: needs cert"),
        (broker("mqtts://h", ca="nowhere.pem"), "cloud: cannot use the TLS files"),
        (broker(password_file=NOWHERE, username="u"), "cloud.password_file: cannot read"),
        (broker(password_file=__file__), "cloud.password_file: needs username"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_with_its_key(section: BrokerSection, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoint_of(section, HERE, "cloud")
    assert str(caught.value).startswith(told)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="mqtt: cannot use the TLS files"):
        endpoint_of(broker("mqtts://h", ca="ca.pem"), tmp_path, "mqtt")


def test_state_lives_beside_the_file(tmp_path: Path) -> None:
    assert state_folder(config(), tmp_path) == tmp_path / "state"
    absolute = msgspec.structs.replace(config().bridge, state="/var/lib/eib")
    assert state_folder(Config(absolute), tmp_path) == Path("/var/lib/eib")
