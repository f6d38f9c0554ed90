"""Eight watches at once, an independent listener, and what they should see: for tests that kill things in between."""

from __future__ import annotations

import functools
import json
import os
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import topics
from bridge.catalog import Catalog, default_directory
from bridge.messages import Answer, Observation, SeriesKey, window_id
from bridge.runtime.load import load
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.messages import Rows

ROOT = Path(__file__).resolve().parents[2]
SITE, STREAM, MODEL = "ward", "wrist", "activity"
WINDOW, HOP = 128, 64
KEPT = "max_queued_messages 0"  # Mosquitto's default drops what a session that is away gets beyond 1,000


def seeds(count: int) -> list[int]:
    """Seeds of a campaign: so many, or FAULT_SEEDS of them; from FAULT_FIRST on, to replay one alone."""
    first = int(os.environ.get("FAULT_FIRST", "1"))
    return list(range(first, first + int(os.environ.get("FAULT_SEEDS", count))))


def free_udp_port() -> int:
    """A port that no CoAP server has, from below Linux' ephemeral range so that no outgoing socket takes it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(true: Callable[[], object], timeout: float, what: Callable[[], str] | str) -> None:
    """Returns once the condition holds; fails, saying what is still missing, if it does not in time."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)


# ---- what should come out


@functools.cache
def recordings() -> tuple[Rows, ...]:
    """Held-out recordings of the sample, float32 (rows, 6)."""
    found = sorted((ROOT / "models" / MODEL / "sample").glob("*.npz"))
    return tuple(np.ascontiguousarray(np.load(file)["values"], dtype=np.float32) for file in found)


def rows_of(device: int, count: int) -> Rows:
    """Rows of one device's recording; devices differ."""
    return np.concatenate(recordings()[device * 5 % 40 :][:3])[:count]


@dataclass(frozen=True, slots=True)
class Expected:
    """A window as numpy cuts it and the engine alone answers it."""

    id: str
    device: str
    seq: int
    label: str
    score: float


def answers(windows: Iterable[Rows]) -> list[Answer]:
    """What the bridge's engine says of windows, asked directly and one by one."""
    engine = _engine()
    found = [engine.answers(window[None])[0] for window in windows]
    return [answer for answer in found if isinstance(answer, Answer)]


@functools.cache
def _engine() -> Any:
    manifest = Catalog(default_directory())[MODEL]
    return load(manifest, manifest.for_tier("bridge"))


def expect(device: str, epoch: str, values: Rows, starts: Iterable[int] | None = None) -> dict[str, Expected]:
    """All windows of a series of rows numbered from 0, by id; or only those that start there."""
    key = SeriesKey(SITE, device, STREAM, epoch)
    firsts = list(range(0, len(values) - WINDOW + 1, HOP)) if starts is None else list(starts)
    said = answers(values[first : first + WINDOW] for first in firsts)
    windows = [
        Expected(window_id(key, first, MODEL), device, first, answer.label, answer.score)
        for first, answer in zip(firsts, said, strict=True)
    ]
    return {window.id: window for window in windows}


# ---- those who publish


class Device:
    """A plain paho device: publishes rows in order at QoS 1, never more than `bound` unacknowledged."""

    def __init__(
        self,
        url: str,
        name: str,
        values: Rows,
        *,
        pack: int,
        epoch: str = "e1",
        form: Format = Format.CBOR,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        bound: int = 20,
        pace: float = 0.0,
        hop: int | None = None,
    ) -> None:
        """Prepare; `start` connects and publishes.

        Args:
            url: the broker.
            name: device name.
            values: its rows.
            pack: rows of a message.
            epoch: name of its numbering.
            form: JSON or CBOR.
            version: of MQTT.
            bound: messages under way at most.
            pace: seconds between messages.
            hop: rows between starts of messages, for whole windows that overlap; `pack` when None.
        """
        self.name = name
        self.acked = 0
        self.messages = [
            (first, encode_observation(Observation(values[first : first + pack], seq=first, epoch=epoch), form))
            for first in range(0, len(values) - (pack - 1 if hop else 0), hop or pack)
        ]
        self._pace = pace
        self._free = threading.Semaphore(bound)
        self._stop = False
        self._thread = threading.Thread(target=self._publish, name=name, daemon=True)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"device-{name}", protocol=version)
        if version is not MQTTProtocolVersion.MQTTv5:
            self._client = paho.Client(
                CallbackAPIVersion.VERSION2, f"device-{name}", protocol=version, clean_session=False
            )
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._published
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        if version is MQTTProtocolVersion.MQTTv5:
            self._client.connect(host, int(port), properties=_lasting(), clean_start=False)
        else:
            self._client.connect(host, int(port))

    def start(self) -> Self:
        self._client.loop_start()
        self._thread.start()
        return self

    @property
    def done(self) -> bool:
        """Everything published and acknowledged by the broker."""
        return self.acked == len(self.messages)

    def stop(self) -> None:
        self._stop = True
        self._free.release()
        if self._thread.is_alive():
            self._thread.join(5)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self) -> None:
        topic = topics.data(SITE, self.name, STREAM)
        for _, payload in self.messages:
            self._free.acquire()
            if self._stop:
                return
            self._client.publish(topic, payload, qos=1)
            if self._pace:
                time.sleep(self._pace)

    def _published(self, *_: object) -> None:
        self.acked += 1
        self._free.release()


# ---- those who listen


class Listener:
    """An operator with a persistent session of its own: keeps every Result and Error in order of arrival."""

    def __init__(self, url: str, name: str = "listener", *, filters: tuple[str, ...] = ()) -> None:
        self.results: list[dict[str, Any]] = []
        self.errors: list[tuple[str, dict[str, Any]]] = []
        self.receipts: list[tuple[str, dict[str, Any]]] = []
        self.subscribed = threading.Event()
        self._filters = filters or (topics.RESULT_FILTER, "edge/v1/+/+/error", "edge/v1/+/+/receipt/+")
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe([(text, 1) for text in self._filters])
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self._client.connect(host, int(port), properties=_lasting(), clean_start=False)
        self._client.loop_start()
        assert self.subscribed.wait(10), "the listener could not subscribe"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def ids(self) -> set[str]:
        with self._lock:
            return {result["id"] for result in self.results}

    def wait_for(self, expected: Iterable[str], timeout: float, context: Callable[[], str] = str) -> None:
        """Returns once each id has a Result; names the missing ones otherwise."""
        wanted = set(expected)

        def missing() -> str:
            lost = wanted - self.ids
            return f"{len(lost)} of {len(wanted)} windows have no Result, such as {sorted(lost)[:3]}\n{context()}"

        until(lambda: wanted <= self.ids, timeout, missing)

    def check(self, expected: dict[str, Expected], *, cloud: dict[str, list[str]] | None = None) -> Counter[str]:
        """Every Result belongs to a window, says what its tier said, and never two things for one id.

        Args:
            expected: all windows.
            cloud: labels that the stand-in cloud gave, by id.

        Returns:
            How often each tier answered, and `repeats`.
        """
        said: dict[str, set[tuple[str, str]]] = defaultdict(set)
        counts: Counter[str] = Counter()
        for result in list(self.results):
            window = expected.get(result["id"])
            assert window is not None, f"a Result for no window: {result}"
            assert (result["device"], result["seq"]) == (window.device, window.seq), result
            counts["repeats" if said[window.id] else result["tier"]] += 1
            said[window.id].add((result["label"], result["tier"]))
            assert len(said[window.id]) == 1, f"two different Results for one window: {said[window.id]}: {result}"
            if result["tier"] == "cloud":
                assert cloud is not None
                assert result["label"] in cloud[window.id], result
            else:
                assert result["label"] == window.label, (result, window)
                assert abs(result["score"] - window.score) < 0.02, (result, window)
        return counts

    def check_order(self) -> None:
        """First Results of each device's lane came in the order of their rows."""
        firsts: dict[str, dict[str, Any]] = {}
        for result in list(self.results):
            firsts.setdefault(result["id"], result)
        lines: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for result in firsts.values():
            lines[result["device"], result["stream"], result["epoch"], result["lane"]].append(result["seq"])
        for line, seqs in lines.items():
            assert seqs == sorted(seqs), f"{line} is out of order: {seqs}"

    def _hear(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        with self._lock:
            if "/error" in message.topic:
                self.errors.append((message.topic, payload))
            elif "/receipt/" in message.topic:
                self.receipts.append((message.topic, payload))
            else:
                self.results.append(payload)


def _lasting() -> Properties:
    """CONNECT properties of a session that outlives its connections."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
    properties.SessionExpiryInterval = 3_600
    return properties


# ---- the bridge's settings


def bridge_toml(
    url: str,
    *,
    cloud: str | None = None,
    coap: int | None = None,
    windows: str = "rows",
    place: str = "cascade",
    deadline: float = 2.0,
    below: float | None = None,
    limits: str = "",
) -> str:
    """A `bridge.toml` for one stream."""
    return "\n".join(
        (
            '[bridge]\nid = "gw-1"',
            f'[mqtt]\nurl = "{url}"',
            "[coap]\nenabled = false" if coap is None else f'[coap]\nbind = "127.0.0.1:{coap}"',
            "" if cloud is None else f'[cloud]\nurl = "{cloud}"',
            f"[limits]\n{limits}",
            f'[[routes]]\nstream = "{STREAM}"\nmodel = "{MODEL}"\nwindows = "{windows}"',
            f'place = "{place}"\ndeadline = {deadline}',
            "" if below is None else f"below = {below}",
            "",
        )
    )


def mixed_fleet(
    url: str,
    count: int,
    rows: int,
    *,
    packs: tuple[int, ...],
    pace: Callable[[int], float] = lambda _pack: 0.0,
    whole: bool = False,
) -> tuple[list[Device], dict[str, Expected]]:
    """Devices of both protocol versions and formats, and all windows they will give."""
    devices: list[Device] = []
    expected: dict[str, Expected] = {}
    for i in range(count):
        pack, name = packs[i % len(packs)], f"w{i}"
        values = rows_of(i, rows)
        version = MQTTProtocolVersion.MQTTv311 if i // 2 % 2 else MQTTProtocolVersion.MQTTv5
        form = Format.JSON if i // 4 % 2 else Format.CBOR
        devices.append(
            Device(
                url, name, values, pack=pack, version=version, form=form, pace=pace(pack), hop=HOP if whole else None
            )
        )
        expected |= expect(name, "e1", values)
    return devices, expected


def stop_all(devices: Iterable[Device]) -> None:
    for device in devices:
        device.stop()


def dice(seed: int) -> random.Random:
    """The randomness of one seed."""
    return random.Random(f"faults {seed}")
