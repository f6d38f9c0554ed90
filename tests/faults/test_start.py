"""Starting when things are not well: a full disk, a damaged journal. `ready` comes when the bridge can be relied on."""

from __future__ import annotations

import contextlib
import resource
import select
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import start_mosquitto
from tests.support.fleet import KEPT, Listener, bridge_toml, mixed_fleet, stop_all
from tests.support.programs import prepare_bridge, start_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import RunningProgram

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Programs begun in the block may let no file grow beyond 6 kB: room for their log, none for a database."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_144, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_room(bridge: RunningProgram) -> None:
    _, hard = resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_bridge_that_starts_on_a_full_disk_waits_for_room(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        prepare_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
    ):
        with full_disk():
            bridge.launch()
        bridge.says("waiting until it can be written, tried again every second")
        stdout = bridge.process.stdout
        assert stdout is not None
        assert select.select([stdout], [], [], 0)[0] == []
        make_room(bridge)
        bridge.wait_ready()
        bridge.says("the disk takes writes again")


def test_sigterm_ends_the_wait_for_room(tmp_path: Path) -> None:
    with prepare_bridge(tmp_path, bridge_toml("mqtt://127.0.0.1:1")) as bridge:
        with full_disk():
            bridge.launch()
        bridge.says("waiting until it can be written")
        assert bridge.terminate() == 0
        assert "Traceback" not in bridge.stderr


def test_a_damaged_record_keeps_no_bridge_from_starting_and_is_told_before_it_is_ready(tmp_path: Path) -> None:
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, bridge_toml(broker.url)) as bridge,
        Listener(broker.url) as listener,
    ):
        devices, expected = mixed_fleet(broker.url, 4, 900, packs=(25, 128), pace=lambda _: 0.0)
        try:
            for device in devices:
                device.start()
            listener.wait_for(expected, 20, lambda: bridge.stderr[-3000:])
        finally:
            stop_all(devices)
        bridge.kill()
        (path,) = tmp_path.rglob("journal.db")
        journal = sqlite3.connect(path)
        journal.execute("UPDATE turns SET body = zeroblob(length(body)) WHERE n = (SELECT min(n) FROM turns)")
        journal.commit()
        journal.close()
        before = len(bridge.stderr)
        bridge.start()
        said = bridge.stderr[before:]
        assert "is damaged: its checksum is wrong; set aside as journal.db.broken-" in said
        assert "records recovered" in said
        assert "Traceback" not in said
