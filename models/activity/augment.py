"""Training windows drawn at random: any start, another tempo, the other arm, a strap that sits a little differently.

Seven people are few; what differs between people is mostly tempo, strength and how the watch sits. Every change here
is one that a real wearer makes, and it acts on accelerometer and gyroscope together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from dataset import ROWS, Recording, window_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Reflection in the body's mid-plane, as the watch sees it: the accelerometer is a vector (x flips), the gyroscope an
# axial vector (y and z flip). It turns a left arm into a right one.
MIRROR = (-1.0, 1.0, 1.0, 1.0, -1.0, -1.0)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training window may be bent.

    Attributes:
        tempo: Largest change of speed, as a factor: drawn log-uniformly from 1/tempo to tempo.
        tilt: Standard deviation of the rotation vector's components, radians.
        gain: Standard deviation of a factor common to all channels.
        noise: Standard deviation of white noise, in units of each channel's standard deviation.
        mirror: Probability of turning one arm into the other.
    """

    tempo: float = 1.3
    tilt: float = 0.2
    gain: float = 0.1
    noise: float = 0.04
    mirror: float = 0.5


class Sampler:
    """Draws augmented batches from whole recordings."""

    def __init__(self, recordings: Sequence[Recording], how: Augmentation, std: torch.Tensor, seed: int) -> None:
        """Keep the recordings end to end in one tensor.

        Args:
            recordings: What to draw from.
            how: The limits of the augmentation.
            std: Standard deviation per channel (6 float32), for the noise.
            seed: Seed of this sampler's own generator.
        """
        self._how = how
        self._std = std
        self._rng = torch.Generator().manual_seed(seed)
        self._rows = torch.from_numpy(np.concatenate([r.values for r in recordings]))
        lengths = [len(r.values) for r in recordings]
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        counts = [window_count(n) for n in lengths]
        # One entry a window, so that a recording is drawn as often as it has windows.
        which = np.repeat(np.arange(len(recordings)), counts)
        self._low = torch.from_numpy(offsets[which]).float()
        self._length = torch.tensor(lengths, dtype=torch.float32)[torch.from_numpy(which)]
        self._y = torch.tensor([r.label for r in recordings])[torch.from_numpy(which)]

    def batches(self, batch: int) -> int:
        """Return the number of batches in an epoch."""
        return len(range(0, len(self._y) - batch // 2, batch))

    def epoch(self, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (batch × 128 × 6 float32 raw units, batch int64 labels) until each window was drawn once."""
        order = torch.randperm(len(self._y), generator=self._rng)
        for first in range(0, len(order) - batch // 2, batch):
            index = order[first : first + batch]
            yield self._bend(index), self._y[index]

    def _bend(self, index: torch.Tensor) -> torch.Tensor:
        n, how, rng = len(index), self._how, self._rng
        tempo = torch.exp((torch.rand(n, generator=rng) * 2 - 1) * float(np.log(how.tempo)))
        tempo = torch.minimum(tempo, (self._length[index] - 2) / ROWS)
        start = torch.rand(n, generator=rng) * (self._length[index] - 1 - tempo * (ROWS - 1))
        at = start[:, None] + tempo[:, None] * torch.arange(ROWS)
        floor = at.floor()
        part = (at - floor)[..., None]
        row = floor.long() + self._low[index].long()[:, None]
        x = self._rows[row] * (1 - part) + self._rows[row + 1] * part
        x = torch.cat([x[..., :3], x[..., 3:] * tempo[:, None, None]], dim=-1)  # faster means larger angular rates
        turn = torch.linalg.matrix_exp(_skew(torch.randn(n, 3, generator=rng) * how.tilt))
        x = torch.cat([x[..., :3] @ turn, x[..., 3:] @ turn], dim=-1)
        flip = torch.rand(n, generator=rng) < how.mirror
        x = torch.where(flip[:, None, None], x * torch.tensor(MIRROR), x)
        x = x * (1 + how.gain * torch.randn(n, 1, 1, generator=rng))
        return x + how.noise * self._std * torch.randn(x.shape, generator=rng)


def _skew(vector: torch.Tensor) -> torch.Tensor:
    """Return the n × 3 × 3 matrices whose exponential turns by the n × 3 rotation vectors (radians)."""
    a, b, c = vector.unbind(-1)
    zero = torch.zeros_like(a)
    return torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], dim=-1).reshape(-1, 3, 3)
