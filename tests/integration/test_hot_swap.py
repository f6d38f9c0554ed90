"""A new version of a model takes over while messages come; a broken one does not."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bridge import topics
from bridge.messages import Observation, SeriesKey, window_id
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from tests.support.brokers import start_mosquitto
from tests.support.fleet import HOP, KEPT, MODEL, SITE, STREAM, WINDOW, Listener, bridge_toml, rows_of, until
from tests.support.models import SLOW_ROWS, copy_shipped, edit, make_slow
from tests.support.payloads import as_json, rows
from tests.support.peers import Peer
from tests.support.programs import prepare_bridge, run_command, start_bridge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.programs import RunningProgram

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

STATUS = topics.bridge_status("gw-1")
BOUND = 20  # messages of a device under way
PACE = 0.004  # seconds between messages of a device
BREATH = 0.001  # seconds between two SIGHUPs: nothing goes on in a program that gets them without a pause
ENOUGH = 40  # Results that show that it goes on
NEW = (('version = "1.0.0"', 'version = "1.1.0"'), ('bridge = "small-int8"', 'bridge = "small-fp32"'))


class Stream:
    """A device that publishes at QoS 1 until it is told to end, each message complete windows of a series."""

    def __init__(self, url: str, name: str, windows: str) -> None:
        self.name = name
        self._pack = WINDOW if windows == "whole" else HOP
        self._windows = windows
        self._sent = 0
        self._acknowledged = 0
        self._over = threading.Event()
        self._free = threading.Semaphore(BOUND)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"device-{name}")
        self._client.on_publish = self._published
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self._client.connect(host, int(port))
        self._thread = threading.Thread(target=self._publish, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._free.release()
        self._thread.join(10)
        self._client.disconnect()
        self._client.loop_stop()

    def end(self) -> set[str]:
        """Publish no more.

        Returns:
            Ids of all windows published, which the broker has.
        """
        self._over.set()
        self._free.release()
        self._thread.join(10)
        until(lambda: self._acknowledged == self._sent, 10, f"{self.name}: not all is acknowledged")
        key = SeriesKey(SITE, self.name, STREAM, "e1")
        windows = self._sent if self._windows == "whole" else self._sent - WINDOW // HOP + 1
        return {window_id(key, number * HOP, MODEL) for number in range(windows)}

    def _publish(self) -> None:
        values = rows_of(len(self.name), 4_000)
        while not self._over.wait(PACE):
            self._free.acquire()
            first = self._sent * HOP
            rows = np.take(values, range(first, first + self._pack), axis=0, mode="wrap")
            payload = encode_observation(Observation(rows, seq=first, epoch="e1"), Format.CBOR)
            self._sent += 1
            self._client.publish(topics.data(SITE, self.name, STREAM), payload, qos=1)

    def _published(self, *_: object) -> None:
        self._acknowledged += 1
        self._free.release()


def config(url: str, windows: str) -> str:
    return bridge_toml(url, windows=windows).replace("[bridge]", '[bridge]\nmodels = "models"')


def more(listener: Listener, what: str, *, version: str | None = None) -> None:
    """Returns when so many more Results have come, of that version if one is named."""
    before = len(listener.results)

    def count() -> int:
        return sum(version in {None, result["version"]} for result in listener.results[before:])

    until(lambda: count() >= ENOUGH, 15, lambda: f"{count()} Results {what}")


def told_version(operator: Peer) -> Any:
    return operator.received(STATUS)[-1].json["models"][MODEL]


def hang_up(bridge: RunningProgram) -> None:
    os.kill(bridge.pid, signal.SIGHUP)


def says_again(bridge: RunningProgram, text: str, times: int) -> str:
    """The last line with this text, once it was said so many times."""
    said = bridge.says(lambda said: said.count(text) == times)
    return [line for line in said.splitlines() if text in line][-1]


@pytest.mark.parametrize("windows", ["rows", "whole"])
def test_a_new_version_takes_over_under_load_and_no_message_is_lost(tmp_path: Path, windows: str) -> None:
    folder = copy_shipped(tmp_path / "models")
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, config(broker.url, windows)) as bridge,
        Listener(broker.url) as listener,
        Peer(broker.url, STATUS) as operator,
        Stream(broker.url, "a", windows) as one,
        Stream(broker.url, "bb", windows) as other,
    ):
        more(listener, "before the swap")
        operator.expect(STATUS)
        assert told_version(operator) == "1.0.0"
        edit(folder, *NEW)
        more(listener, "of the old version, for nobody asked yet", version="1.0.0")
        hang_up(bridge)
        more(listener, "of the new version", version="1.1.0")
        until(lambda: told_version(operator) == "1.1.0", 15, "the status does not tell the new version")
        wanted = one.end() | other.end()
        listener.wait_for(wanted, 15, lambda: bridge.stderr[-2000:])
        assert sorted(result["id"] for result in listener.results) == sorted(wanted)
        versions = [result["version"] for result in listener.results]
        assert [a + b for a, b in pairwise(versions) if a != b] == ["1.0.01.1.0"]
        assert listener.errors == []
        assert "version 1.1.0 answers from now on, small-fp32" in bridge.stderr
        assert bridge.terminate() == 0


def wrong_sum(folder: Path) -> None:
    edit(folder, ('sha256 = "a95d', 'sha256 = "b95d'))


def truncated(folder: Path) -> None:
    file = folder / "small-int8.onnx"
    file.write_bytes(file.read_bytes()[:5_000])
    edit(folder, ('version = "1.0.0"', 'version = "1.2.0"'))


def no_file(folder: Path) -> None:
    (folder / "small-int8.onnx").unlink()
    edit(folder, ('version = "1.0.0"', 'version = "1.2.0"'))


def no_graph(folder: Path) -> None:
    """A file that is the manifest's, and no graph."""
    (folder / "small-int8.onnx").write_bytes(b"no graph at all")
    sha256 = "401afddb32c81ec893828bdde00a90b20e8589768133e69c066f87e69bd829a1"
    old = "a95dc49d44b4b4d140768c7b5d68097ef36c8a81b5ad1876206e81158229aa92"
    edit(folder, (old, sha256), ("bytes = 18347", "bytes = 15"))


def other_rows(folder: Path) -> None:
    edit(folder, ("rows = 128", "rows = 100"), ('version = "1.0.0"', 'version = "1.2.0"'))


def other_labels(folder: Path) -> None:
    """A manifest that its graph does not fit."""
    edit(folder, ('"pendulum", "abduction"', '"pendulum"'), ('version = "1.0.0"', 'version = "1.2.0"'))


def no_toml(folder: Path) -> None:
    (folder / "model.toml").write_text("version = ")


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_models(folder: Path) -> None:
    shutil.rmtree(folder.parent)


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (wrong_sum, "sha256 expected b95d"),
    (truncated, "bytes expected 18347, found 5000"),
    (no_file, "small-int8.onnx: the file of activity/small-int8 cannot be read"),
    (no_graph, "small-int8.onnx"),
    (other_rows, "its windows are others (rows, hop or channels): restart the bridge for it"),
    (other_labels, "small-int8.onnx"),
    (no_toml, "model.toml"),
    (no_folder, "no model 'activity'"),
    (no_models, "bridge.models"),
]


def test_a_broken_version_is_named_and_the_old_one_goes_on(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "models")
    whole = shutil.copytree(folder, tmp_path / "whole")
    with (
        start_mosquitto(tmp_path / "mosquitto", extra=KEPT) as broker,
        start_bridge(tmp_path, config(broker.url, "whole")) as bridge,
        Listener(broker.url) as listener,
        Stream(broker.url, "a", "whole") as device,
    ):
        for number, (break_it, words) in enumerate(BROKEN, start=1):
            break_it(folder)
            hang_up(bridge)
            line = says_again(bridge, "still version 1.0.0: ", number)
            assert words in line, break_it.__name__
            more(listener, f"after {break_it.__name__}")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
        hang_up(bridge)
        bridge.says("version 1.0.0 is what runs")
        more(listener, "after nothing had changed")
        edit(folder, *NEW)
        hang_up(bridge)
        more(listener, "of a version that is whole again", version="1.1.0")
        wanted = device.end()
        listener.wait_for(wanted, 15, lambda: bridge.stderr[-2000:])
        assert len(listener.results) == len(wanted)
        versions = [result["version"] for result in listener.results]
        assert versions == sorted(versions)
        assert "Traceback" not in bridge.stderr


def test_other_channels_take_a_restart_which_gives_up_the_rows_of_unfinished_windows(tmp_path: Path) -> None:
    models = tmp_path / "models"
    make_slow(models, products=1, channels=2)
    data, result = topics.data(SITE, "w1", STREAM), topics.result(SITE, "w1", "slow")
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, config(broker.url, "rows").replace(f'model = "{MODEL}"', 'model = "slow"')) as bridge,
        Peer(broker.url, topics.RESULT_FILTER, "edge/v1/+/+/receipt/+") as peer,
    ):

        def seqs() -> list[int]:
            return list(dict.fromkeys(one.json["seq"] for one in peer.received(result)))

        def answered(first: int, count: int, channels: int, *windows: int) -> None:
            """Publish so many rows; these windows are answered then, in all."""
            values = rows(count, channels=channels)
            peer.publish(data, as_json(values, seq=first, epoch="e", receipt=True))
            until(lambda: seqs()[-1:] == list(windows[-1:]), 10, lambda: f"{seqs()}: {bridge.stderr[-2000:]}")
            assert seqs() == list(windows)
            peer.expect(topics.receipt(SITE, "w1", STREAM), len(windows))

        answered(0, SLOW_ROWS + 3, 2, 0)
        shutil.rmtree(models)
        make_slow(models, products=1, channels=3)
        hang_up(bridge)
        bridge.says("its windows are others (rows, hop or channels): restart the bridge for it")
        assert bridge.terminate() == 0
        bridge.start()
        answered(SLOW_ROWS + 3, 2 * SLOW_ROWS, 3, 0, 2 * SLOW_ROWS)
        assert "1 series: rows given up whose model takes other channels since" in bridge.stderr
        bridge.restart()
        answered(3 * SLOW_ROWS + 3, SLOW_ROWS, 3, 0, 2 * SLOW_ROWS, 3 * SLOW_ROWS)
        told = run_command("inference-bridge", "ledger", "--config", str(tmp_path / "bridge.toml"))
        assert "rows 8–10 (model: the bridge's model takes other channels since)" in told.stdout
        assert told.returncode == 0, told.stdout


def test_a_hang_up_without_a_change_changes_nothing(tmp_path: Path) -> None:
    copy_shipped(tmp_path / "models")
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, config(broker.url, "rows")) as bridge,
    ):
        for number in (1, 2):
            hang_up(bridge)
            says_again(bridge, "version 1.0.0 is what runs", number)
        assert "answers from now on" not in bridge.stderr
        assert "still version" not in bridge.stderr
        assert bridge.running
        assert bridge.terminate() == 0


def test_no_hang_up_ends_a_bridge_that_loads_or_stops(tmp_path: Path) -> None:
    copy_shipped(tmp_path / "models")
    with start_mosquitto(tmp_path / "mosquitto") as broker:
        bridge = prepare_bridge(tmp_path, config(broker.url, "rows"))
        with bridge.launch():
            until(lambda: ignores_hang_up(bridge), 10, "SIGHUP is not ignored")
            while not (tmp_path / "state" / "journal.db").exists():
                hang_up(bridge)
                time.sleep(BREATH)
                assert bridge.running, "a SIGHUP ended it before it was ready"
            hang_up(bridge)
            bridge.wait_ready()
            bridge.says("version 1.0.0 is what runs")
            os.kill(bridge.pid, signal.SIGTERM)
            while bridge.running:
                hang_up(bridge)
                time.sleep(BREATH)
            assert bridge.wait() == 0


def ignores_hang_up(bridge: RunningProgram) -> bool:
    """Whether SIGHUP is no danger to it: ignored, or handled."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{bridge.pid}/status").read_text().splitlines())
    mask = int(status["SigIgn"], 16) | int(status["SigCgt"], 16)
    return mask >> (signal.SIGHUP - 1) & 1 == 1


def test_a_burst_of_hang_ups_ends_with_the_last_version(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "models")
    with (
        start_mosquitto(tmp_path / "mosquitto") as broker,
        start_bridge(tmp_path, config(broker.url, "rows")) as bridge,
    ):
        for number in range(1, 6):
            edit(folder, (f'version = "1.0.{number - 1}"', f'version = "1.0.{number}"'))
            hang_up(bridge)
        bridge.says("version 1.0.5 answers from now on")
        assert bridge.terminate() == 0
