"""A route that is missing, or a topic that a broker forbids, costs time and no row: real programs, real brokers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.wire.formats import Format
from tests.integration.test_edge_mqtt import uplink
from tests.support.brokers import start_mosquitto
from tests.support.fleet import free_udp_port
from tests.support.programs import command, start_bridge

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.brokers import RunningBroker

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


def bridge_toml(url: str, port: int, stream: str) -> str:
    return (
        f'[bridge]\nid = "gw-1"\n[mqtt]\nurl = "{url}"\n[coap]\nbind = "127.0.0.1:{port}"\n'
        f'[[routes]]\nstream = "{stream}"\nmodel = "activity"\n'
    )


@pytest.mark.parametrize("way", ["coap", "mqtt"])
def test_rows_of_a_stream_whose_route_is_misspelled_wait_until_it_is_mended(
    tmp_path: Path, mosquitto: RunningBroker, way: str
) -> None:
    port = free_udp_port()
    url = f"coap://127.0.0.1:{port}" if way == "coap" else mosquitto.url
    np.savez(tmp_path / "a.npz", values=np.zeros((3_000, 6), np.float32), rate=50.0)
    arguments = ["--device", "d1", "--stream", "wrist", "--url", url, "--speed", "0", "--receipt-timeout", "1"]
    log = tmp_path / "agent.log"
    told = "is not taken: no_route" if way == "coap" else "refused something of this device's: no_route"
    with start_bridge(tmp_path / "bridge", bridge_toml(mosquitto.url, port, "wirst")) as bridge, log.open("wb") as err:
        agent = subprocess.Popen([command("edge-agent"), "replay", "a.npz", *arguments], cwd=tmp_path, stderr=err)
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                agent.wait(5)
            assert log.read_text().count(told) == 1, log.read_text()
            assert bridge.terminate() == 0
            (tmp_path / "bridge" / "bridge.toml").write_text(bridge_toml(mosquitto.url, port, "wrist"))
            bridge.start()
            assert agent.wait(60) == 0, log.read_text()
        finally:
            agent.kill()
            agent.wait()
    assert log.read_text().count(told) == 1, log.read_text()


async def test_a_topic_that_the_broker_forbids_is_told_from_one_that_it_allows(tmp_path: Path) -> None:
    acl = "topic deny edge/v1/s/d/data/b\ntopic readwrite edge/v1/s/d/#\n"
    with start_mosquitto(tmp_path, acl=acl) as broker:
        async with uplink(broker.url) as (made, heard):
            assert (await made.send("b", b"{}", Format.JSON)).kind == "barred"
            assert (await made.send("a", b"{}", Format.JSON)).kind == "taken"
            assert heard.ends == []
