"""What the demo found: figures, a table, a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.table import Table

from bridge.demo.journey import LinkReport
from bridge.demo.scenario import COAP, KINDS, LINKED, Device

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.catalog import Manifest
    from bridge.demo.observer import Seen
    from bridge.messages import Result


class Report(msgspec.Struct):
    """`report.json`.

    Attributes:
        sent: windows whose rows were handed to the devices.
        results: windows that got a final Result.
        lost: windows that got none.
        duplicates: further final Results for a window that had one.
        devices: devices that replayed at once.
        accuracy_bridge_only: share that the bridge's own model got right.
        accuracy_cascade: share that the effective Results got right.
        accuracy_cloud_only: share that the cloud got right, every window asked; None when not measured.
        escalated_share: share that the cloud answered.
        unsure_kept: share on which the bridge was unsure and answered itself, because the cloud did not.
        latency_ms: by tier, last row's arrival to publish, percentiles.
        bytes_per_window: by kind of device, payload bytes of its data messages.
        rss_mib: greatest resident memory, by process.
        errors: the bridge's Errors, by reason.
        speed: how much faster than life the recordings ran.
        seconds: how long they ran.
        engine: execution provider of the cloud agent.
        link: the device behind the changing link.
    """

    sent: int
    results: int
    lost: int
    duplicates: int
    devices: int
    accuracy_bridge_only: float
    accuracy_cascade: float
    accuracy_cloud_only: float | None
    escalated_share: float
    unsure_kept: float
    latency_ms: dict[str, dict[str, float]]
    bytes_per_window: dict[str, float]
    rss_mib: dict[str, float]
    errors: dict[str, int]
    speed: float
    seconds: float
    engine: str
    link: LinkReport


def share(hits: Iterable[bool]) -> float:
    """Share of true ones; 0 of none."""
    found = list(hits)
    return round(sum(found) / len(found), 4) if found else 0.0


def bridge_label(result: Result) -> str:
    """What the bridge's own model said of a window."""
    return str(result.local["label"]) if result.local is not None else result.label


def figures(devices: list[Device], seen: dict[str, Seen], manifest: Manifest) -> dict[str, Any]:
    """The figures that follow from the Results."""
    truth = {(d.name, *window): label for d in devices for window, label in d.windows(manifest).items()}
    got = {(name, *window): result for name, one in seen.items() for window, result in one.results.items()}
    known = {window: result for window, result in got.items() if window in truth}
    latency = {}
    for tier in ("bridge", "cloud"):
        times = [result.latency_ms for result in known.values() if result.tier == tier]
        if times:
            latency[tier] = {f"p{p}": round(float(np.percentile(times, p)), 3) for p in (50, 99)}
    return {
        "sent": len(truth),
        "results": len(known),
        "lost": len(truth) - len(known),
        "duplicates": sum(one.repeats for one in seen.values()),
        "devices": len(devices),
        "accuracy_bridge_only": share(bridge_label(result) == truth[window] for window, result in known.items()),
        "accuracy_cascade": share(result.label == truth[window] for window, result in known.items()),
        "escalated_share": share(result.tier == "cloud" for result in known.values()),
        "unsure_kept": share(
            result.tier == "bridge" and not result.reason.startswith("confident") for result in known.values()
        ),
        "latency_ms": latency,
    }


def bytes_per_window(
    devices: list[Device], sizes: dict[str, int], by_coap: int, linked: int, manifest: Manifest
) -> dict[str, float]:
    """Payload bytes a window, by kind of device.

    Args:
        devices: the devices.
        sizes: payload bytes by device, as the observer saw them on the broker.
        by_coap: payload bytes by CoAP in all, as the bridge counted them.
        linked: of these, those of the device behind the link, as its relay counted them.
        manifest: the model.
    """
    found = {}
    for kind in KINDS:
        mine = [device for device in devices if device.kind == kind]
        windows = sum(len(device.windows(manifest)) for device in mine)
        size = sum(sizes.get(device.name, 0) for device in mine)
        size += {COAP: max(0, by_coap - linked), LINKED: linked}.get(kind, 0)
        if windows and size:
            found[kind] = round(size / windows, 1)
    return found


def final_table(report: Report) -> Table:
    """The table that the demo ends with."""
    table = Table(title="Held-out people, end to end", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    cloud = "not measured" if report.accuracy_cloud_only is None else f"{report.accuracy_cloud_only:.1%}"
    table.add_row("windows sent / answered / lost", f"{report.sent} / {report.results} / [bold]{report.lost}[/bold]")
    table.add_row("repeated Results", str(report.duplicates))
    table.add_row("devices at once", f"{report.devices}, {report.speed:g} × real time, {report.seconds:.0f} s")
    table.add_row("accuracy, bridge alone", f"{report.accuracy_bridge_only:.1%}")
    table.add_row("accuracy, cascade", f"{report.accuracy_cascade:.1%}, {report.escalated_share:.1%} escalated")
    table.add_row("accuracy, cloud alone", f"{cloud} (on {report.engine})")
    for tier, found in report.latency_ms.items():
        table.add_row(f"latency, {tier}", f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms")
    for kind, size in report.bytes_per_window.items():
        table.add_row(f"payload a window, {kind}", f"{size:,.0f} bytes")
    for name, size in sorted(report.rss_mib.items()):
        table.add_row(f"peak memory, {name}", f"{size:.0f} MiB")
    if report.errors:
        table.add_row("errors told", ", ".join(f"{reason}: {n}" for reason, n in report.errors.items()))
    return table
