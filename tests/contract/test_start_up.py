"""What cannot be used is refused before anything listens: exit code 2, and a message with file, key and why."""

from __future__ import annotations

import re
import shutil
import socket
import tomllib
from pathlib import Path

import pytest

from bridge import config as configuration
from bridge.wire.foreign import Decoding
from tests.support.brokers import HOST, RunningBroker, TlsFiles, free_port, start_mosquitto
from tests.support.peers import wait_for
from tests.support.programs import prepare_bridge, run_command, start_bridge

ROOT = Path(__file__).parents[2]
COAP = '[coap]\nbind = "127.0.0.1:0"\n'
BRIDGE = '[bridge]\nid = "gw-1"\n'
EMBEDDED = "[mqtt]\nport = 0\nport5 = 0\n"
SECRET = "correct-horse-battery"  # noqa: S105 - a password to look for in logs


def route(text: str) -> str:
    return f'{BRIDGE}{EMBEDDED}{COAP}[[routes]]\nstream = "a"\nmodel = "activity"\n{text}'


def loops(text: str) -> str:
    return route(f'device = "d"\nfilter = "{text}"\n')


REFUSED = [
    ("a route into results loops", loops("edge/v1/+/+/result/+"), ["routes[0].filter", "would loop"]),
    ("a route over everything loops", loops("#"), ["routes[0].filter", "would loop"]),
    ("a route of many wildcards loops", loops("+/+/+/+/result/+"), ["routes[0].filter", "would loop"]),
    ("a route into replies loops", loops("edge/v1/_reply/#"), ["routes[0].filter", "would loop"]),
    ("a route into errors loops", loops("edge/+/lab/+/error"), ["routes[0].filter", "would loop"]),
    ("a foreign route into our data", loops("edge/v1/lab/a/data/b"), ["routes[0].filter", "itself uses"]),
    (
        "two foreign routes for one topic",
        loops("a/+") + '[[routes]]\nstream = "b"\nmodel = "activity"\ndevice = "d"\nfilter = "+/b"\n',
        ["routes[1].filter", "routes[0]"],
    ),
    ("a filter that is none", loops("a/b#"), ["routes[0].filter", "not a topic filter"]),
    ("a foreign route without a device", route('filter = "a/+"\n'), ["routes[0].device", "missing"]),
    ("a wildcard there is not", route('filter = "a/+"\ndevice = "{2}"\n'), ["routes[0].device", "1 wildcards"]),
    (
        "as many fields as channels",
        loops("a/+") + 'decode = { fields = ["x", "y"] }\n',
        ["routes[0].decode.fields", "2 paths", "6"],
    ),
    ("one stream twice", route('[[routes]]\nstream = "a"\nmodel = "activity"\n'), ["routes[1].stream", "routes[0]"]),
    ("a model there is not", route("").replace('"activity"', '"activty"'), ["routes[0].model", "activty", "activity"]),
    ("an unknown key", f"{BRIDGE}[mqtt]\nkeep_alife = 9\n", ["mqtt.keep_alife", "unknown key", "`keep_alive`"]),
    ("an unknown section", f"{BRIDGE}[coup]\n", ["coup", "unknown key", "`coap`"]),
    ("a number for a text", "[bridge]\nid = 1\n", ["bridge.id", "`str`", "`int`"]),
    ("no id", "[bridge]\n", ["bridge.id", "missing"]),
    ("an id that is no name", '[bridge]\nid = "gw 1"\n', ["bridge.id", "not a name"]),
    ("not TOML", "[bridge\n", ["not TOML", "line 1"]),
    ("not UTF-8", "\udcff", ["not UTF-8"]),
    ("an address without a port", f'{BRIDGE}[coap]\nbind = "127.0.0.1"\n', ["coap.bind", "address:port"]),
    (
        "credentials in the broker's URL",
        f'{BRIDGE}[mqtt]\nurl = "mqtt://me:{SECRET}@127.0.0.1"\n',
        ["mqtt.url", "username and password_file"],
    ),
    (
        "credentials in the cloud's URL",
        f'{BRIDGE}[cloud]\nurl = "mqtts://me:{SECRET}@127.0.0.1"\n',
        ["cloud.url", "username and password_file"],
    ),
    (
        "credentials that are none to a parser of URLs",
        f'{BRIDGE}[mqtt]\nurl = "mqtt://me:{SECRET}/more@127.0.0.1"\n',
        ["mqtt.url", "username and password_file"],
    ),
    ("a URL of something else", f'{BRIDGE}[mqtt]\nurl = "http://127.0.0.1"\n', ["mqtt.url", "mqtt://host"]),
    ("a cloud without a URL", f"{BRIDGE}[cloud]\n", ["cloud.url", "missing"]),
    (
        "a password file there is not",
        f'{BRIDGE}[mqtt]\nurl = "mqtt://127.0.0.1"\nusername = "me"\npassword_file = "nope"\n',
        ["mqtt.password_file", "nope", "No such file"],
    ),
    (
        "a CA file there is not",
        f'{BRIDGE}[mqtt]\nurl = "mqtts://127.0.0.1"\nca = "nope.pem"\n',
        ["mqtt", "ca=", "nope.pem", "No such file"],
    ),
    ("TLS files without TLS", f'{BRIDGE}[mqtt]\nurl = "mqtt://127.0.0.1"\nca = "ca.pem"\n', ["mqtt", "ca", "mqtts://"]),
    ("a models folder there is not", '[bridge]\nid = "gw-1"\nmodels = "nope"\n', ["bridge.models", "nope"]),
]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("text", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_setting_that_cannot_be_used(tmp_path: Path, command: str, text: str, told: list[str]) -> None:
    config = tmp_path / "bridge.toml"
    config.write_bytes(text.encode(errors="surrogateescape"))
    ended = run_command("inference-bridge", command, "--config", str(config))
    assert ended.returncode == 2, ended.stderr
    for words in (str(config), *told):
        assert words in ended.stderr
    assert ended.stderr.count("\n") == 1, "one line says it"
    assert not ended.stdout
    assert SECRET not in ended.stderr
    assert not (tmp_path / "state").exists(), "nothing was begun"


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("name", "why"), [("nope.toml", "no such file"), (".", "is a folder")])
def test_a_config_file_that_is_none(tmp_path: Path, command: str, name: str, why: str) -> None:
    ended = run_command("inference-bridge", command, "--config", str(tmp_path / name))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{tmp_path / name}: {why}" in ended.stderr


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("damage", ["a byte flipped", "cut short", "gone"])
def test_a_model_file_that_is_not_the_manifest_s(tmp_path: Path, command: str, damage: str) -> None:
    shutil.copytree(
        ROOT / "models/activity", tmp_path / "models/activity", ignore=shutil.ignore_patterns("sample", "*.py", "*.png")
    )
    manifest = tomllib.loads((tmp_path / "models/activity/model.toml").read_text())
    used = next(found for found in manifest["variants"] if found["name"] == manifest["tiers"]["bridge"])
    file = tmp_path / "models/activity" / used["file"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data if damage == "a byte flipped" else data[:-1])
    config = tmp_path / "bridge.toml"
    config.write_text(f'[bridge]\nid = "gw-1"\nmodels = "models"\n{EMBEDDED}{COAP}')
    ended = run_command("inference-bridge", command, "--config", str(config))
    assert ended.returncode == 2
    expected = {"a byte flipped": ["sha256", used["sha256"]], "cut short": ["bytes"], "gone": ["No such file"]}
    for words in (str(file), *expected[damage]):
        assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_check_says_what_would_be_used(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(route(""))
    ended = run_command("inference-bridge", "check", "--config", str(config))
    assert (ended.returncode, ended.stderr) == (0, "")
    for words in ("gw-1", "embedded", "coap://127.0.0.1:0", "activity", "CPUExecutionProvider", "stream a → activity"):
        assert words in ended.stdout
    assert not (tmp_path / "state").exists(), "check leaves nothing behind"


def test_check_says_where_windows_are_answered(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(
        route(
            'below = 0.8\nprice = 0.05\nprovisional = true\ngrace = 4.0\nprivate = ["gyro_x", "acc_y"]\n'
            'private_rule = "mask"\n[[overrides]]\ndevice = "wrist-*"\nplace = "bridge"\ndeadline = 0.5\n'
            '[cloud]\nurl = "mqtt://127.0.0.1:1"\ncache = 2.0\nencoding = "float16"\n'
        )
    )
    ended = run_command("inference-bridge", "check", "--config", str(config))
    assert (ended.returncode, ended.stderr) == (0, "")
    for words in (
        "cascade, cloud below 0.8, price 0.05, within 2 s, provisional Results, final ones within 4 s more",
        "private acc_y, gyro_x: masked",
        "device wrist-*, model *: place = bridge, deadline = 0.5",
        "activity as float16; second agent for 5.0%, exploring 2.0%, answers used again for 2 s",
    ):
        assert words in ended.stdout


def test_the_example_config_passes_and_shows_every_key_with_its_default() -> None:
    example = ROOT / "config/bridge.toml"
    ended = run_command("inference-bridge", "check", "--config", str(example))
    assert (ended.returncode, ended.stderr) == (0, "")
    text = example.read_text()
    for section in (
        configuration.BridgeSection,
        configuration.MqttSection,
        configuration.CoapSection,
        configuration.LimitsSection,
        configuration.CloudSection,
        configuration.RouteSection,
        configuration.OverrideSection,
        Decoding,
    ):
        for key in section.__struct_fields__:
            assert re.search(rf"^(# )?({key} = |\[routes\.{key}\]$)", text, re.MULTILINE), f"{section.__name__}.{key}"
    limits = text.partition("# [limits]\n")[2]
    shown = tomllib.loads(re.sub("^# ", "", limits, flags=re.MULTILINE))
    assert configuration.LimitsSection(**shown) == configuration.LimitsSection()


def test_coap_port_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        config = tmp_path / "bridge.toml"
        config.write_text(f'{BRIDGE}{EMBEDDED}[coap]\nbind = "{HOST}:{port}"\n')
        ended = run_command("inference-bridge", "run", "--config", str(config))
    assert (ended.returncode, ended.stdout) == (2, "")
    for words in (str(config), "[coap] bind", f"{HOST}:{port}", "in use"):
        assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_embedded_broker_s_port_in_use(tmp_path: Path) -> None:
    pytest.importorskip("iotcore")
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "bridge.toml"
        config.write_text(f"{BRIDGE}[mqtt]\nport = {port}\nport5 = 0\n{COAP}")
        ended = run_command("inference-bridge", "run", "--config", str(config))
    assert (ended.returncode, ended.stdout) == (2, "")
    for words in (str(config), "mqtt.", "port", f"{HOST}:{port}", "in use", "url"):
        assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.real
def test_two_bridges_on_one_state_folder(mosquitto: RunningBroker, tmp_path: Path) -> None:
    mqtt = f'[mqtt]\nurl = "{mosquitto.url}"\n'
    second = tmp_path / "second.toml"
    second.write_text(f'[bridge]\nid = "gw-2"\n{mqtt}{COAP}')
    with start_bridge(tmp_path, BRIDGE + mqtt + COAP) as first:
        ended = run_command("inference-bridge", "run", "--config", str(second))
        assert (ended.returncode, ended.stdout) == (1, "")
        assert str(tmp_path / "state") in ended.stderr
        assert "in use by another process; give each its own state folder" in ended.stderr
        assert first.terminate() == 0


@pytest.mark.real
def test_a_wrong_password_is_told_tried_again_and_not_logged(tmp_path: Path) -> None:
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "password").write_text(f"{SECRET}\n")
    with start_mosquitto(tmp_path / "m", password=("gw-1", "right")) as broker:
        mqtt = f'[mqtt]\nurl = "{broker.url}"\nusername = "gw-1"\npassword_file = "password"\n'
        with prepare_bridge(tmp_path, f'[bridge]\nid = "gw-1"\nlog_level = "debug"\n{mqtt}{COAP}').launch() as bridge:
            said = bridge.says(lambda text: text.count("trying again in") >= 2)
            assert "the broker refused us: 0x87 not authorized" in said
            assert broker.url in said
            assert SECRET not in said
            assert bridge.terminate() == 0
            assert "Traceback" not in bridge.stderr


@pytest.mark.real
def test_a_broker_of_another_ca_is_told_and_tried_again(tmp_path: Path, tls_files: TlsFiles) -> None:
    other = TlsFiles.make(tmp_path / "other")
    with start_mosquitto(tmp_path / "m", tls=tls_files) as broker:
        mqtt = f'[mqtt]\nurl = "{broker.url}"\nca = "{other.ca}"\n'
        with prepare_bridge(tmp_path, BRIDGE + mqtt + COAP).launch() as bridge:
            said = bridge.says(lambda text: text.count("trying again in") >= 2)
            assert f"{broker.url}: TLS failed" in said
            assert "CERTIFICATE_VERIFY_FAILED" in said
            assert bridge.terminate() == 0
            assert "Traceback" not in bridge.stderr


@pytest.mark.real
def test_a_broker_absent_at_start_is_told_and_the_bridge_is_ready_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://{HOST}:{port}"
    with prepare_bridge(tmp_path, f'{BRIDGE}[mqtt]\nurl = "{url}"\n{COAP}').launch() as bridge:
        said = bridge.says(lambda text: text.count("trying again in") >= 2)
        assert f"{url}: cannot connect" in said
        assert bridge.running
        with start_mosquitto(tmp_path / "m", port=port):
            assert bridge.wait_ready().ready["mqtt"] == url
            wait_for(lambda: "connected" in bridge.stderr, "it says so")
            assert bridge.terminate() == 0
