"""One direction of an emulated link: `bridge.demo.linkmodel`, which the demo's relay and the emulator share."""

from __future__ import annotations

from bridge.demo.linkmodel import MTU, SLOT, Conditions, Count, Direction, Fades, Stage, faded

__all__ = ["MTU", "SLOT", "Conditions", "Count", "Direction", "Fades", "Stage", "faded"]
