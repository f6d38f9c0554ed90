"""What one seed does: drawn from the seed alone, so that a seed can be run again by itself."""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

import msgspec

Source: TypeAlias = Literal["stdin", "replay"]
Transport: TypeAlias = Literal["mqtt", "coap"]

KILLS = ("agent-killed", "bridge-killed", "cloud-killed", "broker-killed")
PATHS = tuple(f"{path}-{how}" for path in ("agent", "bridge", "cloud") for how in ("cut", "half-open", "stalled"))
DISKS = ("agent-disk-full", "bridge-disk-full")
STORES = tuple(f"{whose}-store-{how}" for whose in ("agent", "bridge") for how in ("damaged", "truncated"))
CLOUDS, SHARED = "one-of-two-clouds-killed", "shared-bridge-killed"
FAULTS = (*KILLS, *PATHS, *DISKS, *STORES, CLOUDS, SHARED)

NOT_SEEN_OVER_COAP = {*STORES, "agent-half-open", SHARED}  # no receipts to read along; no connection
NOT_FOR_REPLAYS = {"agent-half-open", "agent-stalled", SHARED}  # its time-out of a publish cannot be set: 20 s
BESIDE_SHARED = ("agent-killed", "agent-cut", "broker-killed", "agent-disk-full")
TWICE = 0.35  # share of seeds with a second fault
COAP, REPLAY, PROVISIONAL = 0.25, 0.2, 0.4  # shares, where the faults allow it
PACKS = (7, 25, 64, 128)
WINDOW = 128


class Deed(msgspec.Struct, frozen=True):
    """One fault: what, when (seconds after the first accepted row), and for how long."""

    fault: str
    at: float
    hold: float


class Plan(msgspec.Struct, frozen=True):
    """One seed.

    Attributes:
        seed: its number.
        source: what feeds the agent: stdin, confirmed, or `edge-agent replay` of a file.
        transport: of the agent.
        shared: two bridges share a whole-window subscription; else one bridge cuts rows.
        rows: handed over.
        pack: rows of a message.
        seconds: that the source takes.
        recording: which of the sample's.
        deeds: one or two, by time.
        provisional: unsure windows are answered at once, and once more when the cloud has.
    """

    seed: int
    source: Source
    transport: Transport
    shared: bool
    rows: int
    pack: int
    seconds: float
    recording: int
    deeds: tuple[Deed, ...]
    provisional: bool = False

    @property
    def faults(self) -> tuple[str, ...]:
        """Names, by time."""
        return tuple(deed.fault for deed in self.deeds)

    @property
    def device(self) -> str:
        """Fresh for each seed."""
        return f"c{self.seed}"

    @property
    def stream(self) -> str:
        """Each kind of windows has its own, and whole ones their own bridges."""
        if self.shared:
            return "whole"
        return "hasty" if self.provisional else "rows"

    def __str__(self) -> str:
        what = ", ".join(f"{one.fault} at {one.at:.2f} s for {one.hold:.2f} s" for one in self.deeds)
        windows = "whole windows, two bridges" if self.shared else f"{self.pack} rows a message"
        windows += ", provisional Results" * self.provisional
        return (
            f"seed {self.seed}: {self.rows} rows in {self.seconds:.1f} s by {self.source} over {self.transport}, "
            f"{windows}: {what}"
        )


def draw(seed: int) -> Plan:
    """The plan of a seed. Each run of `len(FAULTS)` seeds has every fault as a first one."""
    block, place = divmod(seed, len(FAULTS))
    first = random.Random(f"campaign {block}").sample(FAULTS, len(FAULTS))[place]
    dice = random.Random(f"campaign seed {seed}")
    faults = [first]
    if dice.random() < TWICE:
        beside = BESIDE_SHARED if first == SHARED else tuple(one for one in FAULTS if one not in (SHARED, first))
        faults.append(dice.choice(beside))
    shared = first == SHARED
    transport: Transport = "coap" if dice.random() < COAP and not NOT_SEEN_OVER_COAP & {*faults} else "mqtt"
    replays = dice.random() < REPLAY and transport == "mqtt" and not NOT_FOR_REPLAYS & {*faults}
    seconds = dice.uniform(0.7, 1.3)
    deeds = [Deed(fault, dice.uniform(0.05, seconds), dice.uniform(0.05, 0.7)) for fault in faults]
    return Plan(
        seed=seed,
        source="replay" if replays else "stdin",
        transport=transport,
        shared=shared,
        rows=dice.randrange(700, 1_400),
        pack=WINDOW if shared else dice.choice(PACKS),
        seconds=seconds,
        recording=dice.randrange(8),
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at)),
        provisional=not shared and dice.random() < PROVISIONAL,
    )
