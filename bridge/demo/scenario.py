"""Which device replays which recordings, and which windows must come out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.catalog import Manifest

PLAIN, MQTT, COAP, LINKED = "paho 3.1.1", "agent MQTT 5", "agent CoAP", "agent both"
KINDS = (PLAIN, MQTT, COAP, LINKED)
SITE = "demo"


class Recording(msgspec.Struct, frozen=True):
    """One held-out recording.

    Attributes:
        name: file name without its ending; the last part of its epoch.
        file: the npz file.
        subject: the person.
        label: what the person really did.
        rows: its rows.
    """

    name: str
    file: Path
    subject: int
    label: str
    rows: int

    def values(self) -> NDArray[np.float32]:
        """Its rows, float32, shape (rows, channels)."""
        with np.load(self.file) as data:
            values: NDArray[np.float32] = data["values"]
        return values

    def starts(self, manifest: Manifest) -> range:
        """First rows of the windows that must come out of it."""
        return range(0, self.rows - manifest.input.rows + 1, manifest.input.hop)


class Device(msgspec.Struct, frozen=True):
    """One device of the demo.

    Attributes:
        name: its name in topics.
        kind: one of `KINDS`.
        recordings: what it replays, one after the other.
    """

    name: str
    kind: str
    recordings: tuple[Recording, ...]

    @property
    def rows(self) -> int:
        """Rows it replays."""
        return sum(recording.rows for recording in self.recordings)

    def windows(self, manifest: Manifest) -> dict[tuple[str, int], str]:
        """Recording and first row of each window that must come out, and what the person really did."""
        return {
            (recording.name, start): recording.label
            for recording in self.recordings
            for start in recording.starts(manifest)
        }


def recordings(sample: Path) -> list[Recording]:
    """All recordings of a sample folder."""
    with (sample / "recordings.csv").open(newline="") as file:
        return [
            Recording(Path(r["file"]).stem, sample / r["file"], int(r["subject"]), r["label"], int(r["rows"]))
            for r in csv.DictReader(file)
        ]


def devices(found: list[Recording], each: int = 3) -> list[Device]:
    """Deal recordings out to `each` devices of every kind, the longest first to whoever has least.

    Of those with CoAP the one with the most rows has MQTT too, and a link that changes.
    """
    kinds = KINDS[:-1]
    hands: list[list[Recording]] = [[] for _ in range(each * len(kinds))]
    for recording in sorted(found, key=lambda one: -one.rows):
        min(hands, key=lambda hand: sum(one.rows for one in hand)).append(recording)
    dealt = [
        Device(f"watch-{i + 1}", kinds[i % len(kinds)], tuple(sorted(hand, key=lambda one: one.name)))
        for i, hand in enumerate(hands)
    ]
    linked = max((device for device in dealt if device.kind == COAP), key=lambda device: device.rows)
    return [msgspec.structs.replace(one, kind=LINKED) if one is linked else one for one in dealt]
