"""Which windows run together, in which order, and which are given up. PURE: `now` is an argument."""

from bridge.batch.fair import FairQueue
from bridge.batch.queue import Queue, Shed
from bridge.batch.size import best_size

__all__ = ["FairQueue", "Queue", "Shed", "best_size"]
