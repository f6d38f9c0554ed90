"""Channels that never leave the gateway: which they are, and rows without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.catalog.manifest import Manifest
    from bridge.messages import Rows


def private_channels(manifest: Manifest, names: Iterable[str]) -> tuple[int, ...]:
    """Indexes of the channels of these names.

    Raises:
        ConfigError: naming a channel that the model does not have, and those it has.
    """
    channels = manifest.input.channels
    found = []
    for name in names:
        if name not in channels:
            known = ", ".join(map(repr, channels))
            raise ConfigError(f"no channel {name!r} in model {manifest.name}; there are: {known}")
        found.append(channels.index(name))
    return tuple(sorted(set(found)))


def mask(values: Rows, private: Sequence[int], mean: Sequence[float]) -> Rows:
    """A copy in which the private channels hold nothing of the window.

    Args:
        values: float32, shape (rows, channels).
        private: indexes of the channels.
        mean: what stands in each channel instead, by its index: the mean of the training data, so that the model sees
            nothing unusual; 0 for channels beyond its end.
    """
    masked = values.copy()
    for channel in private:
        masked[:, channel] = mean[channel] if channel < len(mean) else 0.0
    return masked
