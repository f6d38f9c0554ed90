"""Training of one network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from augment import Augmentation, Sampler
from dataset import channel_statistics
from nets import Classifier, big_net, small_net
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataset import Recording

BATCH = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. Every value was chosen on subjects 1–7 only.

    Attributes:
        build: Makes the untrained network.
        epochs: Passes over the training windows.
        rate: Peak learning rate of the one-cycle schedule.
        decay: AdamW weight decay.
        smoothing: Label smoothing.
        augmentation: How training windows are bent.
    """

    build: Callable[[], Classifier]
    epochs: int
    rate: float
    decay: float
    smoothing: float = 0.05
    augmentation: Augmentation = field(default_factory=Augmentation)


SMALL = Recipe(small_net, epochs=120, rate=1e-2, decay=1e-2)
BIG = Recipe(
    big_net, epochs=24, rate=3e-3, decay=3e-2, augmentation=Augmentation(tempo=1.4, tilt=0.25, gain=0.12, noise=0.05)
)


def one_thread() -> None:
    """Make torch deterministic and leave the other cores to others."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)


def fit(recipe: Recipe, recordings: Sequence[Recording], seed: int) -> Classifier:
    """Train one network and return it in evaluation mode.

    Args:
        recipe: What to train and how.
        recordings: Training recordings; the normalisation is measured on them as well.
        seed: Seeds the weights, the dropout and the sampler.
    """
    torch.manual_seed(seed)
    net = recipe.build()
    mean, std = channel_statistics(recordings)
    net.set_statistics(mean, std)
    sampler = Sampler(recordings, recipe.augmentation, torch.from_numpy(std), seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    total = recipe.epochs * sampler.batches(BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=total, pct_start=0.2)
    net.train()
    for _ in range(recipe.epochs):
        for x, y in sampler.epoch(BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(net(x), y, label_smoothing=recipe.smoothing).backward()
            optimiser.step()
            schedule.step()
    net.eval()
    return net
