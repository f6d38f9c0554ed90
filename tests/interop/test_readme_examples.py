"""Every block of README's "Your own device" that is marked `<!-- tested -->`, run as it stands, each twice.

What is changed before a block runs, and nothing else, is in `Places.literal`: ports, because tests share a machine;
the CoAP client's name, which Debian builds three of; `broker.example`; and our own commands, which are in the virtual
environment of the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.brokers import HOST, TlsFiles, make_passwords, run_mosquitto, start_mosquitto
from tests.support.peers import Peer
from tests.support.programs import RunningProgram, command, start_bridge
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TOPICS = ("edge/v1/+/+/result/+", "edge/v1/+/+/error")
_BLOCK = re.compile(r"^<!-- tested -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_UNMARKED = re.compile(r"(?<!<!-- tested -->\n)^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A tested block: its language, its text, whether it goes on until it is stopped, whether it needs TLS."""

    language: str
    text: str

    @property
    def watches(self) -> bool:
        return self.text.startswith(("inference-bridge watch", "mosquitto_sub"))

    @property
    def secure(self) -> bool:
        return "broker.example" in self.text


def blocks() -> list[Block]:
    section = re.search(
        r"^## Your own device\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert section is not None, "README.md has no section `## Your own device`"
    return [Block(found["language"], found["text"]) for found in _BLOCK.finditer(section[1])]


@dataclass(frozen=True)
class Places:
    """Where things are in this test."""

    folder: Path
    mqtt: int
    mqtt5: int
    coap: int

    def literal(self, text: str) -> str:
        """The block with README's places replaced by the test's."""
        for before, after in (
            ("1883", str(self.mqtt)),
            ("1884", str(self.mqtt5)),
            ("5683", str(self.coap)),
            ("8883", str(self.mqtt)),
            ("broker.example", HOST),
            ("coap-client-notls", require_tool("coap-client")),
            ("inference-bridge", command("inference-bridge")),
        ):
            text = re.sub(rf"(?<![\w.]){re.escape(before)}(?!\w)", after.replace("\\", r"\\"), text)
        return text

    def start(self, block: Block) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "-ec", self.literal(block.text)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def run(self, block: Block) -> str:
        """The block's output; it has to succeed."""
        with self.start(block) as process:
            said, _ = process.communicate(timeout=15)
        assert process.returncode == 0, f"{block.text}\nexit code {process.returncode}\n{said}"
        return said


def shipped_config(url: str | None) -> str:
    """config/bridge.toml with free ports, and the broker's URL if it is not the embedded one."""
    text = (ROOT / "config/bridge.toml").read_text()
    broker = "port = 0\nport5 = 0" if url is None else f'url = "{url}"'
    for before, after in (("\n[mqtt]\n", f"\n[mqtt]\n{broker}\n"), ('bind = "127.0.0.1:5683"', 'bind = "127.0.0.1:0"')):
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def places(folder: Path, bridge: RunningProgram) -> Places:
    folder.mkdir(exist_ok=True)
    ready = bridge.ready
    return Places(folder, port(ready["mqtt"]), port(ready["mqtt5"]), port(ready["coap"]))


@pytest.fixture(params=["mosquitto", "embedded"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """A bridge with the shipped configuration, on Mosquitto or on the broker it brings."""
    require_tool("mosquitto_pub")
    if request.param == "mosquitto":
        with start_mosquitto(tmp_path / "m") as broker, start_bridge(tmp_path, shipped_config(broker.url)) as bridge:
            yield places(tmp_path / "here", bridge)
    else:
        pytest.importorskip("iotcore")
        with start_bridge(tmp_path, shipped_config(None)) as bridge:
            yield places(tmp_path / "here", bridge)


@pytest.fixture
def secure_world(tmp_path: Path, tls_files: TlsFiles) -> Iterator[Places]:
    """A bridge with README's [mqtt] section on a Mosquitto with TLS, passwords and the shipped ACL."""
    (section,) = [block for block in blocks() if block.language == "toml"]
    secrets = {"gw-1": "one", "watch-1": "two", "operator": "three"}
    start_mosquitto(tmp_path / "m", tls=tls_files).stop()  # for its configuration, to which users and ACL are added
    config = tmp_path / "m" / "mosquitto.conf"
    users = make_passwords(tmp_path / "m" / "passwords", *secrets.items())
    acl = ROOT / "config/mosquitto/acl.conf"
    text = config.read_text().replace("allow_anonymous true", "allow_anonymous false")
    config.write_text(f"{text}\npassword_file {users}\nacl_file {acl}\n")
    listen = int(text.split("listener ")[1].split()[0])
    shutil.copy(tls_files.ca, tmp_path / "ca.pem")
    for user, password in secrets.items():
        (tmp_path / f"{user}.password").write_text(f"{password}\n")
    here = Places(tmp_path, listen, listen, 0)
    shipped = re.sub(
        r"\n\[mqtt\]\n(#.*\n)*",
        "\n" + here.literal(section.text),
        shipped_config(None).replace("port = 0\nport5 = 0\n", ""),
    )
    with run_mosquitto(config, port=listen, tls=tls_files), start_bridge(tmp_path, shipped):
        yield here


def results(peer: Peer) -> list[dict[str, Any]]:
    """Every Result a peer has had, on a result topic or as an answer."""
    found = [message.json for message in list(peer.messages)]
    refused = [message for message in found if "reason" in message and "label" not in message]
    assert not refused
    return found


def expect_more(peer: Peer, before: int, block: Block) -> None:
    deadline = time.monotonic() + 10
    while len(results(peer)) <= before:
        assert time.monotonic() < deadline, f"no Result after:\n{block.text}"
        time.sleep(0.01)


def watch(where: Places, block: Block, publish: Block) -> None:
    """Starts what shows Results, then publishes until one is shown: who subscribes late has missed the first."""
    with where.start(block) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        shown, deadline = "", time.monotonic() + 15
        try:
            while "watch-1" not in shown:
                assert process.poll() is None, f"{block.text}\nended with {process.returncode}: {shown}"
                assert time.monotonic() < deadline, f"{block.text}\nshowed no Result: {shown}"
                where.run(publish)
                time.sleep(0.1)
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(process.stdout.fileno(), 65_536).decode()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
    assert "activity" in shown or "bridge" in shown


def test_there_are_blocks_of_every_kind_and_none_is_left_out() -> None:
    text = "\n".join(block.text for block in blocks())
    for tool in (
        "mosquitto_pub -h",
        "mosquitto_pub -V 5",
        "coap-client",
        "mosquitto_rr",
        "inference-bridge watch",
        "acme/",
        "mqtts:",
    ):
        assert tool in text, tool
    section = (ROOT / "README.md").read_text().partition("## Your own device\n")[2].partition("\n## ")[0]
    untested = [found["text"] for found in _UNMARKED.finditer(section)]
    assert untested == ["inference-bridge run --config config/bridge.toml\n"]


def test_the_route_shown_is_the_shipped_one() -> None:
    shown = re.search(r"^```toml\n(\[\[routes\]\].*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    (route,) = tomllib.loads(shown[1])["routes"]
    assert route in tomllib.loads((ROOT / "config/bridge.toml").read_text())["routes"]


def test_each_block_gives_its_result_each_time(world: Places) -> None:
    plain = [block for block in blocks() if block.language == "sh" and not block.secure]
    first = next(block for block in plain if not block.watches)
    with Peer(f"mqtt://{HOST}:{world.mqtt}", *TOPICS, version=4) as peer:
        for block in plain:
            for _ in range(2):
                before = len(results(peer))
                if block.watches:
                    watch(world, block, first)
                    continue
                said = world.run(block)
                asks = block.text.startswith("mosquitto_rr")
                if asks:
                    asked, _, said = said.partition(" ")
                    assert asked == "question-1"
                if asks or "coap-client" in block.text:
                    assert json.loads(said)["label"]
                if not asks and "-m get" not in block.text:
                    expect_more(peer, before, block)


def test_tls_and_password_as_shown(secure_world: Places) -> None:
    publish, operator = [block for block in blocks() if block.secure and block.language == "sh"]
    make = next(block for block in blocks() if "> window.json" in block.text)
    subprocess.run(
        ["sh", "-ec", make.text.partition("\nmosquitto_pub")[0]], cwd=secure_world.folder, check=True, timeout=10
    )
    with Peer(
        f"mqtts://{HOST}:{secure_world.mqtt}",
        *TOPICS,
        user=("operator", "three"),
        ca=str(secure_world.folder / "ca.pem"),
    ) as peer:
        for _ in range(2):
            before = len(results(peer))
            secure_world.run(publish)
            expect_more(peer, before, publish)
            watch(secure_world, operator, publish)
