"""The two networks: a small one for the gateway and a big one for the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from dataset import CHANNELS, LABELS
from torch import nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, batch normalisation (folded into the convolution at export) and ReLU."""
    return [
        nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    ]


class Classifier(nn.Module):  # type: ignore[misc]  # torch is a missing import for mypy
    """Normalise, transpose to channels first, convolve, average over time, classify."""

    def __init__(self, body: nn.Sequential, width: int, dropout: float) -> None:
        """Join a convolutional body with `width` output channels to a linear head."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(CHANNELS)))
        self.register_buffer("scale", torch.ones(len(CHANNELS)))
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(LABELS))

    def set_statistics(self, mean: NDArray[np.float32], std: NDArray[np.float32]) -> None:
        """Set the normalisation (6 float32 each, raw units)."""
        self.mean = torch.from_numpy(mean.copy())
        self.scale = 1.0 / torch.from_numpy(std.copy())

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """Map batch × 128 × 6 float32 in raw units to batch × 7 float32 logits."""
        x = ((window - self.mean) * self.scale).transpose(1, 2)
        x = self.body(x).mean(dim=2)
        logits: torch.Tensor = self.head(self.dropout(x))
        return logits


def small_net() -> Classifier:
    """Build the gateway's network, about 2.9 k parameters."""
    body = nn.Sequential(*_block(6, 16, 7, 2), *_block(16, 16, 5, 2), *_block(16, 16, 3, 2))
    return Classifier(body, 16, 0.0)


def big_net() -> Classifier:
    """Build the cloud's network, about 490 k parameters."""
    body = nn.Sequential(
        *_block(6, 64, 7, 2),
        *_block(64, 128, 5),
        nn.MaxPool1d(2),
        *_block(128, 192, 5),
        nn.MaxPool1d(2),
        *_block(192, 256, 5),
        *_block(256, 288, 1),
    )
    return Classifier(body, 288, 0.3)


def parameter_count(net: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in net.parameters())
