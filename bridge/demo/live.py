"""The live table: what each device's person does, what the bridge makes of it, and the share sent up to the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.demo.observer import Observer
    from bridge.demo.scenario import Device

# heading, least and greatest width: fits 80 columns
COLUMNS = (
    ("device", 7, None), ("speaks", 12, None), ("who", 3, None), ("does", 10, 12), ("bridge says", 11, 12),
    ("by", 6, None), ("done", 4, None), ("right", 5, None), ("up", 3, None),
)  # fmt: skip


def live_table(devices: list[Device], observer: Observer, manifest: Manifest, seconds: float) -> Table:
    """The state of all devices now."""
    table = Table(
        title=f"{seconds:5.1f} s", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for heading, least, most in COLUMNS:
        table.add_column(heading, no_wrap=True, min_width=least, max_width=most)
    for device in devices:
        results = observer.seen(device.name).results
        truth = device.windows(manifest)
        row = [device.name, device.kind]
        if results:
            (name, start), last = next(reversed(results.items()))
            person = next((one.subject for one in device.recordings if one.name == name), "?")
            does = truth.get((name, start), "?")
            right = sum(result.label == truth.get(window) for window, result in results.items())
            up = sum(result.tier == "cloud" for result in results.values())
            verdict = (
                f"[green]✓[/] {last.score:.0%}" if last.label == does else f"[red]{last.label}[/] {last.score:.0%}"
            )
            row += [str(person), does, verdict, last.tier, f"{len(results) / len(truth):.0%}"]
            row += [f"{right / len(results):.0%}", f"{up / len(results):.0%}"]
        else:
            row += ["", "", "", "", "0%", "", ""]
        table.add_row(*row)
    return table
