"""`inference-bridge watch`, the operators' window."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import HOST, free_port, start_mosquitto
from tests.support.payloads import as_json, rows
from tests.support.peers import Peer, wait_for
from tests.support.programs import command, run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.conftest import Device

GOOD = as_json(rows())


def start(folder: Path, url: str, *more: str, into: str = "") -> subprocess.Popen[bytes]:
    """`watch`, its output in `out` and `err`, through a pipe into another program if one is given."""
    line = shlex.join([command("inference-bridge"), "watch", "--url", url, *more])
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(["sh", "-c", f"{line} | {into}" if into else f"exec {line}"], stdout=out, stderr=err)


def publish_until(device: Device, true: Callable[[], bool]) -> None:
    """Window after window: who subscribes late has missed the first."""
    deadline = time.monotonic() + 10
    with Peer(device.world.url5) as sender:
        while not true():
            assert time.monotonic() < deadline, "watch shows nothing"
            sender.publish(device.data(), GOOD)
            time.sleep(0.05)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_it_shows_results_in_json_and_ends_at_sigterm(device: Device, tmp_path: Path, protocol: str) -> None:
    url = device.world.url(5 if protocol == "5" else 4)
    with start(tmp_path, url, "--json", "--protocol", protocol) as watching:
        publish_until(device, lambda: device.name in (tmp_path / "out").read_text())
        watching.terminate()
        assert watching.wait(10) == 0
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    mine = [line for line in lines if line["device"] == device.name]
    assert mine[0]["label"]
    assert len({line["id"] for line in lines}) == len(lines)
    assert not (tmp_path / "err").read_text()


def test_it_shows_results_to_people(device: Device, tmp_path: Path) -> None:
    with start(tmp_path, device.world.url311) as watching:
        publish_until(device, lambda: device.name in (tmp_path / "out").read_text())
        watching.terminate()
        assert watching.wait(10) == 0
    assert f"lab/{device.name}/window" in (tmp_path / "out").read_text()


def test_a_reader_who_has_enough_is_no_error(device: Device, tmp_path: Path) -> None:
    with start(tmp_path, device.world.url311, into="head -1") as watching:
        publish_until(device, lambda: watching.poll() is not None)
    assert device.name in (tmp_path / "out").read_text()
    assert not (tmp_path / "err").read_text()


@pytest.mark.real
def test_it_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://{HOST}:{port}"
    with start(tmp_path, url) as watching:
        wait_for(lambda: "trying again in" in (tmp_path / "err").read_text(), "it says so")
        assert url in (tmp_path / "err").read_text()
        with start_mosquitto(tmp_path / "m", port=port) as broker:
            wait_for(lambda: "New client connected" in broker.log.read_text().split("_ready")[-1], "it comes")
        watching.terminate()
        assert watching.wait(10) == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1", "mqtt://host[:port]"),
        ("mqtt://me:secret@127.0.0.1", "username and password_file"),
        ("mqtt://127.0.0.1:70000", "the port 1 to 65535"),
    ],
)
def test_a_url_it_cannot_use(url: str, why: str) -> None:
    ended = run_command("inference-bridge", "watch", "--url", url)
    assert ended.returncode == 2
    assert "--url" in ended.stderr
    assert why in ended.stderr
    assert "secret" not in ended.stderr
