"""The live table: what each device's person does, and what the bridge makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from bridge.catalog import Manifest
    from bridge.demo.observer import Observer
    from bridge.demo.scenario import Device


def live_table(devices: list[Device], observer: Observer, manifest: Manifest, seconds: float) -> Table:
    """The state of all devices now."""
    table = Table(title=f"{seconds:5.1f} s", title_justify="left")
    for heading in ("device", "speaks", "person", "does", "bridge says", "by", "answered", "right", "to the cloud"):
        table.add_column(heading)
    for device in devices:
        results = observer.seen(device.name).results
        truth = device.windows(manifest)
        people = {recording.name: recording.subject for recording in device.recordings}
        row = [device.name, device.kind]
        if results:
            (name, start), last = next(reversed(results.items()))
            does = truth.get((name, start), "?")
            right = sum(result.label == truth.get(window) for window, result in results.items())
            up = sum(result.tier == "cloud" for result in results.values())
            says = f"[{'green' if last.label == does else 'red'}]{last.label} {last.score:.0%}[/]"
            row += [str(people.get(name, "?")), does, says, last.tier, f"{len(results)}/{len(truth)}"]
            row += [f"{right / len(results):.0%}", f"{up / len(results):.0%}"]
        else:
            row += ["", "", "", "", f"0/{len(truth)}", "", ""]
        table.add_row(*row)
    return table
