"""The work that is the same for all: windows of real recordings in CBOR, their right labels, the Result's keys.

The rivals share this module's `decode` and `encode`, which do as little as can be done: what differs between them is
how they receive, run, publish and acknowledge.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, cast

import cbor2
import msgspec
import numpy as np
import onnxruntime

from bridge.catalog import Catalog, default_directory
from bridge.messages import Observation
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.messages import Rows
    from bridge.runtime.port import Logits, Windows

ROWS, CHANNELS, HOP = 128, 6, 64
MODEL, VARIANT = "activity", "small-int8"
SITE, WHOLE, SERIES = "bench", "window", "wrist"
DATA_FILTER, RESULT_FILTER = f"edge/v1/+/+/data/{WHOLE}", f"edge/v1/+/+/result/{MODEL}"
DIFFERENT = 32  # windows, repeated
WINDOW_BYTES = ROWS * CHANNELS * 4
DIGITS = 4  # of a value after the point, as text
BATCH = 64  # windows that run together; measured: a CNN gains nothing from more


class Work(msgspec.Struct):
    """What the load generator sends and expects; message number i carries payload i mod n, or as `rows` says.

    Attributes:
        payloads: Observations up to the number of their `seq`, which follows: in CBOR four bytes, in JSON text.
        labels: of the window that each payload is, or (`rows`) that it completes.
        keys: what a Result has, sorted.
        text: the Observations are JSON.
    """

    payloads: list[bytes]
    labels: list[str]
    keys: list[str]
    text: bool = False


def _recorded(count: int) -> Rows:
    """Rows of the held-out recordings, one beside the other."""
    found = sorted((default_directory() / MODEL / "sample").glob("*.npz"))
    return np.concatenate([np.load(file)["values"][:ROWS] for file in found]).astype(np.float32)[:count]


def _cbor(values: Rows, epoch: str) -> bytes:
    """An Observation as the product encodes it, and the key `seq` with an argument of four bytes to come."""
    whole = encode_observation(Observation(values, epoch=epoch), Format.CBOR)
    return bytes([whole[0] + 1]) + whole[1:] + b"\x63seq\x1a"


def whole_windows(epoch: str = "e1") -> Work:
    """Each message is a window."""
    windows = _recorded(DIFFERENT * ROWS).reshape(DIFFERENT, ROWS, CHANNELS)
    return _work(windows, list(windows), epoch)


def text_windows(epoch: str = "e1") -> Work:
    """Each message is a window in JSON, as devices without a library send it: padded, so that all are of one size."""
    windows = _recorded(DIFFERENT * ROWS).astype(np.float64).round(DIGITS).reshape(DIFFERENT, ROWS, CHANNELS)
    texts = [json.dumps({"epoch": epoch, "values": window.tolist(), "seq": 0})[:-2].encode() for window in windows]
    longest = max(map(len, texts))
    labels = _work(windows.astype(np.float32), [], epoch).labels
    return Work([text + b" " * (longest - len(text)) for text in texts], labels, sorted(RESULT_KEYS), text=True)


def tail(seq: int, *, text: bool) -> bytes:
    """What follows a payload: its `seq`, always as long."""
    return b"%9d}" % seq if text else seq.to_bytes(4, "big")


def half_windows(epoch: str = "e1") -> Work:
    """Each message is a hop of rows, which completes the window that the message before it began."""
    rows = _recorded(DIFFERENT * HOP)
    parts = rows.reshape(DIFFERENT, HOP, CHANNELS)
    windows = np.concatenate([np.roll(parts, 1, axis=0), parts], axis=1)
    return _work(windows, list(parts), epoch)


def _work(windows: Windows, sent: Sequence[Rows], epoch: str) -> Work:
    model = Model()
    labels = [model.labels[np.argmax(model.run(window[None])[0])] for window in windows]
    return Work([_cbor(rows, epoch) for rows in sent], labels, sorted(RESULT_KEYS))


def save(work: Work, path: Path) -> None:
    path.write_bytes(msgspec.msgpack.encode(work))


def load(path: Path) -> Work:
    return msgspec.msgpack.decode(path.read_bytes(), type=Work)


# ---- what a hand-written bridge does


RESULT_KEYS = (
    "id", "device", "stream", "seq", "epoch", "t", "model", "version", "label", "score", "tier", "provisional", "rev",
    "latency_ms", "reason", "lane", "t_source", "local",
)  # fmt: skip


class Model:
    """ONNX Runtime as people use it: one thread, `session.run`."""

    def __init__(self) -> None:
        manifest = Catalog(default_directory())[MODEL]
        variant = next(found for found in manifest.variants if found.name == VARIANT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = str(default_directory() / MODEL / variant.file)
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._input, self._temperature = manifest.input.name, np.float32(variant.temperature)
        self.labels, self.version = manifest.output.labels, manifest.version

    def run(self, windows: Windows) -> Logits:
        return cast("Logits", self._session.run(None, {self._input: windows})[0])

    def answers(self, windows: Windows) -> list[tuple[str, float]]:
        """Label and score of each window."""
        logits = self.run(windows) / self._temperature
        best = logits.argmax(axis=1)
        totals = np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        return [(self.labels[i], 1.0 / total) for i, total in zip(best.tolist(), totals.tolist(), strict=True)]


def decode(payload: bytes | bytearray) -> tuple[dict[str, Any], Rows]:
    """An Observation's keys and its rows."""
    seen = cbor2.loads(payload)
    (rows, channels), array = seen["values"].value
    return seen, np.frombuffer(array.value, "<f4").reshape(rows, channels)


def encode(
    topic: str, seen: dict[str, Any], label: str, score: float, version: str, arrived: float
) -> tuple[str, bytes]:
    """Topic and payload of a Result with the keys that ours has."""
    _, _, site, device, _, stream = topic.split("/")
    seq, epoch = seen["seq"], seen.get("epoch", "")
    text = "\0".join((site, device, stream, epoch, str(seq), MODEL))
    now = time.time()
    result = {
        "id": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), "device": device, "stream": stream,
        "seq": seq, "epoch": epoch, "t": now, "model": MODEL, "version": version, "label": label, "score": score,
        "tier": "bridge", "provisional": False, "rev": 0, "latency_ms": round((now - arrived) * 1e3, 3),
        "reason": "the only tier", "lane": "live", "t_source": "bridge", "local": None,
    }  # fmt: skip
    return f"edge/v1/{site}/{device}/result/{MODEL}", msgspec.json.encode(result)
