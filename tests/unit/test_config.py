"""`bridge.toml`: what it may say, and which file and key a mistake is told with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.config import Config, load
from bridge.errors import ConfigError
from bridge.topics import RESERVED_FILTERS

if TYPE_CHECKING:
    from pathlib import Path

ROUTE = '[[routes]]\nstream = "acc"\nmodel = "m"\n'
CLOUD = '[cloud]\nurl = "mqtt://h"\n'
FOREIGN = ROUTE + 'filter = "shelly/+/acc"\n'


def read(folder: Path, text: str) -> Config:
    file = folder / "bridge.toml"
    file.write_text('[bridge]\nid = "gw-1"\n' + text)
    return load(file)[0]


def test_the_smallest_file_is_enough(tmp_path: Path) -> None:
    config = read(tmp_path, "")
    assert (config.bridge.id, config.mqtt.url, config.cloud, config.routes) == ("gw-1", None, None, ())
    assert config.coap.address() == ("127.0.0.1", 5683)


def test_the_contract_s_example_is_taken(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        '[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n[coap]\nbind = "127.0.0.1:5683"\n[cloud]\nurl = "mqtt://127.0.0.1:1883"\n'
        '[[routes]]\nstream = "wrist"\nmodel = "activity"\nwindows = "rows"\n',
    )
    assert [(route.stream, route.model, route.windows) for route in config.routes] == [("wrist", "activity", "rows")]


def test_without_a_file_the_defaults_hold() -> None:
    config, _ = load(None)
    assert config.mqtt.url is None


def test_relative_paths_start_from_the_file_s_folder(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text('[bridge]\nid = "a"\n')
    assert load(tmp_path / "bridge.toml")[1] == tmp_path


@pytest.mark.parametrize(
    ("bind", "address"), [("[::1]:5683", ("::1", 5683)), ("host:0", ("host", 0)), ("10.0.0.1:1", ("10.0.0.1", 1))]
)
def test_coap_addresses(tmp_path: Path, bind: str, address: tuple[str, int]) -> None:
    assert read(tmp_path, f'[coap]\nbind = "{bind}"\n').coap.address() == address


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("colour = 1\n", "bridge.colour", "unknown key"),
        ("thread = 1\n", "bridge.thread", "did you mean `threads`?"),
        ('[mqtt]\nurll = "x"\n', "mqtt.urll", "did you mean `url`?"),
        ("[mqt]\n", "mqt", "did you mean `mqtt`?"),
        ("[limits]\nrow = 1\n", "limits.row", "did you mean `rows`?"),
        (ROUTE + 'window = "rows"\n', "routes[0].window", "did you mean `windows`?"),
        (FOREIGN + 'device = "{1}"\n[routes.decode]\npath = "x"\n', "routes[0].decode.path", "unknown key"),
        ("threads = 0\n", "bridge.threads", "1"),
        ('log_level = "loud"\n', "bridge.log_level", "loud"),
        ('[[routes]]\nstream = "acc"\n', "routes[0].model", "missing"),
        (ROUTE + 'windows = "some"\n', "routes[0].windows", "some"),
        (ROUTE + "deadline = 0\n", "routes[0].deadline", "0"),
        (ROUTE + "below = 1.5\n", "routes[0].below", "1"),
        (ROUTE + "price = -0.1\n", "routes[0].price", "0"),
        (ROUTE + "grace = 0\n", "routes[0].grace", "0"),
        (ROUTE + 'place = "cloud"\nprovisional = true\n', "routes[0].provisional", "one tier answer"),
        (ROUTE + 'place = "cloud"\nprivate = ["x"]\n', "routes[0].private", 'give private_rule = "mask"'),
        (ROUTE + 'private_rule = "hide"\n', "routes[0].private_rule", "hide"),
        (CLOUD + "hedge = 1.1\n", "cloud.hedge", "1"),
        (CLOUD + "explore = -1\n", "cloud.explore", "0"),
        (CLOUD + "cache = -1\n", "cloud.cache", "0"),
        (CLOUD + 'encoding = "int4"\n', "cloud.encoding", "int4"),
        (CLOUD + 'pin = "coap-con/*"\n', "cloud.pin", "no profile matches 'coap-con/*'"),
        (CLOUD + 'pin = "mqtt-0/*"\nexclude = ["*"]\n', "cloud.exclude", "without ['*']"),
        (CLOUD + 'encoding = "float32"\npin = "*/int8/*"\n', "cloud.encoding", "'*/int8/*' leaves without []: int8"),
        (CLOUD + 'encoding = "int8"\npin = "*+zstd/*"\n', "cloud.encoding", "'int8' is not among"),
        (CLOUD + 'encoding = "int8"\nexclude = ["*/int8*"]\n', "cloud.encoding", "['*/int8*']: float16, "),
        (CLOUD + 'exclude = [""]\n', "cloud.exclude[0]", "length >= 1"),
        (CLOUD + "hegde = 0.1\n", "cloud.hegde", "did you mean `hedge`?"),
        ("[[overrides]]\nprize = 1\n", "overrides[0].prize", "did you mean `price`?"),
        ('[[overrides]]\ndevice = "a"\n', "overrides[0].device", "changes nothing"),
        ('[[overrides]]\ndevice = ""\nprice = 0.1\n', "overrides[0].device", "empty"),
        ('[[overrides]]\nmodel = ""\nprice = 0.1\n', "overrides[0].model", "empty"),
        ('[[overrides]]\nplace = "bridge"\nprovisional = true\n', "overrides[0].provisional", "one tier answer"),
        ('[mqtt]\nkeep_alive = 1\n', "mqtt.keep_alive", "5"),
        ("[mqtt]\nsession_expiry = 4294967296\n", "mqtt.session_expiry", "4294967295"),
        ("[limits]\npacket = 268435461\n", "limits.packet", "268435460"),
        ("[mqtt]\nport = 65536\n", "mqtt.port", "65535"),
        ('[mqtt]\nurl = "mqtt://h"\nshare = "a/b"\n', "mqtt.share", "is not a name"),
        ('[mqtt]\nshare = "g"\n', "mqtt.share", "give mqtt.url"),
        ('[mqtt]\nurl = "mqtt://h"\nshare = "g"\n', "mqtt.share", "needs routes"),
        ('[mqtt]\nurl = "mqtt://h"\nshare = "g"\n' + ROUTE, "routes[0].windows", 'must be "whole"'),
        ('[coap]\nbind = "127.0.0.1"\n', "coap.bind", "not address:port"),
        ('[coap]\nbind = "::1:5683"\n', "coap.bind", "not address:port"),
        ('[coap]\nbind = "a:65536"\n', "coap.bind", "not address:port"),
        ("[cloud]\n", "cloud.url", "leave out the whole section"),
        (ROUTE.replace("acc", "a/b"), "routes[0].stream", "not a name, nor *"),
        (ROUTE + 'device = "x"\n', "routes[0].device", "needs `filter`"),
        (ROUTE + '[routes.decode]\nformat = "csv"\n', "routes[0].decode", "needs `filter`"),
        (ROUTE + ROUTE, "routes[1].stream", "routes[0]'s already"),
        (FOREIGN, "routes[0].device", "missing"),
        (FOREIGN + 'device = "{2}"\n', "routes[0].device", "the filter has 1 wildcards"),
        (FOREIGN + 'device = "{0}"\n', "routes[0].device", "counted from {1}"),
        (FOREIGN + 'device = "{1}"\n[routes.decode]\nscale = nan\n', "routes[0].decode.scale", "not a finite number"),
        (FOREIGN + 'device = "a/{1}"\n', "routes[0].device", "does not make a name"),
        (FOREIGN + 'device = "{1}"\nsite = "{7}"\n', "routes[0].site", "wildcards"),
        (FOREIGN.replace('"acc"', '"*"') + 'device = "{1}"\n', "routes[0].stream", "does not make a name"),
        (FOREIGN.replace("shelly/+/acc", "shelly/a+") + 'device = "d"\n', "routes[0].filter", "not a topic filter"),
        (FOREIGN.replace("shelly/+/acc", "$share/g/a") + 'device = "d"\n', "routes[0].filter", "not a topic filter"),
        (FOREIGN.replace("shelly/+/acc", "#") + 'device = "d"\n', "routes[0].filter", "overlaps"),
        (
            FOREIGN + 'device = "{1}"\n' + FOREIGN.replace("shelly/+", "+/x") + 'device = "{1}"\n',
            "routes[1].filter",
            "overlaps routes[0]'s",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, text: str, key: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'bridge.toml'}: {key}: ")
    assert why in told


@pytest.mark.parametrize("name", ["", "_gw", "a b", "a/b", "x" * 65])
def test_the_bridge_s_id_is_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "bridge.toml").write_text(f'[bridge]\nid = "{name}"\n')
    with pytest.raises(ConfigError, match=r"bridge\.toml: bridge\.id: .* is not a name"):
        load(tmp_path / "bridge.toml")


@pytest.mark.parametrize("reserved", RESERVED_FILTERS)
def test_a_foreign_filter_that_the_bridge_itself_uses_is_refused(tmp_path: Path, reserved: str) -> None:
    with pytest.raises(ConfigError, match=r"routes\[0\]\.filter: .* overlaps"):
        read(tmp_path, FOREIGN.replace("shelly/+/acc", reserved) + 'device = "d"\n')


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[bridge", "not TOML"),
        (b"\xff", "not UTF-8"),
        (b"", "bridge: missing"),
        (b"a = " + 5_000 * b"[", "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "bridge.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        load(file)
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load(tmp_path / "none.toml")
