"""The tuner's figures as plain text: a table and a bar chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.runtime.decide import allowed, best_batch, setups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.runtime.decide import Setup
    from bridge.runtime.tune import Tuning

WIDTH = 24  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def render(tuning: Tuning) -> str:
    """A line a setup: accuracy, µs a window at each batch size, and its best as windows a second, drawn as a bar.

    Args:
        tuning: what was measured.

    Returns:
        Lines, each ended.
    """
    setups = setups_of(list(tuning.seconds))
    batches = sorted({point.batch for point in tuning.seconds})
    fit = allowed(tuning.accuracies, tuning.budget)
    rates = {setup: 1.0 / best_batch(tuning.seconds, setup)[1] for setup in setups}
    most = max(rates.values())
    head = ["", "variant", "provider", "threads", "accuracy", *(f"×{batch}" for batch in batches), "windows/s"]
    rows = []
    for setup in setups:
        key = setup.variant, setup.provider
        micro = {point.batch: f"{s * 1e6:.1f}" for point, s in tuning.seconds.items() if point.setup == setup}
        rows.append(
            [
                "▶" if setup == tuning.chosen.setup else "" if key in fit else "✗",
                setup.variant,
                setup.provider,
                _threads(setup),
                f"{tuning.accuracies[key]:.1%}",
                *(micro.get(batch, "") for batch in batches),
                f"{rates[setup]:,.0f}",
            ]
        )
    bars = [bar(rates[setup] / most) for setup in setups]
    lines = [f"{tuning.model}, tier {tuning.tier}: µs a window by windows a run; accuracy on {tuning.windows} windows"]
    lines += _aligned([head, *rows], ["", *bars])
    if any(row[0] == "✗" for row in rows):
        lines.append(f"✗ loses more accuracy than the budget, {tuning.budget:.1%} of the best, allows")
    lines += [f"left out: {why}" for why in tuning.failures]
    return "".join(f"{line}\n" for line in lines)


def bar(share: float, width: int = WIDTH) -> str:
    """A bar of so large a share of the width, 0…1, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def summary(tuning: Tuning) -> str:
    """The choice in one line, without its end."""
    point, setup = tuning.chosen, tuning.chosen.setup
    right = tuning.accuracies[setup.variant, setup.provider]
    return (
        f"{setup.variant} on {setup.provider}, threads: {_threads(setup)}, at most {point.batch} windows a run: "
        f"{tuning.seconds[point] * 1e6:.1f} µs a window, accuracy {right:.1%}"
    )


def _threads(setup: Setup) -> str:
    return f"{setup.threads}{' spinning' if setup.spinning else ''}"


def _aligned(rows: Sequence[Sequence[str]], ends: Sequence[str]) -> list[str]:
    """Columns of equal width, words to the left, figures to the right, and something of any length at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row, end in zip(rows, ends, strict=True):
        cells = [
            cell.ljust(width) if i < 4 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"{'  '.join(cells)}  {end}".rstrip())
    return lines
