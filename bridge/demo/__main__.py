"""`python -m bridge.demo`: start everything, watch, count, report; exit status 1 if anything is lost."""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from bridge.catalog import Catalog, Manifest
from bridge.demo import journey, programs, report, scenario
from bridge.demo.cloud_only import ask_cloud
from bridge.demo.linked import Linked
from bridge.demo.live import live_table
from bridge.demo.observer import Observer
from bridge.demo.picture import picture
from bridge.demo.programs import Program, Urls
from bridge.errors import BridgeError

PATIENCE = 60.0  # seconds beyond the recordings' own length


def main() -> int:
    """Run the demo.

    Returns:
        0; 1 if a window is lost or something did not start.
    """
    parser = argparse.ArgumentParser(prog="python -m bridge.demo", description=__doc__)
    parser.add_argument("--speed", type=float, default=8.0, help="times real time (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("demo-report"), help="folder (default %(default)s)")
    chosen = parser.parse_args()
    console = Console()
    folder = chosen.out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        found, path = run(console, folder, chosen.speed)
    except BridgeError as why:
        console.print(f"[red]{why}[/red]")
        return 1
    file = chosen.out / "report.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    drawn = chosen.out / "link.svg"
    drawn.write_text(picture(path), encoding="utf-8")
    console.print(report.final_table(found))
    console.print()
    console.print(journey.table(found.link))
    console.print()
    console.print(f"written to {file} and {drawn}; logs and settings in {folder}")
    if found.lost:
        console.print(f"[red]{found.lost} windows are lost[/red]")
    return 1 if found.lost else 0


def run(console: Console, folder: Path, speed: float) -> tuple[report.Report, journey.Journey]:
    """The whole demo.

    Returns:
        What it found, and the way of the device behind the changing link, to be drawn.

    Raises:
        BridgeError: a process did not start or did not finish.
    """
    manifest = Catalog()["activity"]
    found = scenario.recordings(manifest.folder / "sample")
    devices = scenario.devices(found)
    people = len({recording.subject for recording in found})
    console.print(
        f"{len(found)} recordings of {people} people whom the models never saw, on {len(devices)} devices at once: "
        f"{', '.join(scenario.KINDS)}"
    )
    with ExitStack() as stack:
        mqtt, mqtt5 = _free_ports(2)
        bridge = _start(stack, "bridge", ["bridge.cli", "run", "--config"], folder,
                        programs.write_bridge_config(folder, mqtt=mqtt, mqtt5=mqtt5))  # fmt: skip
        urls = msgspec.convert(bridge.ready(), Urls)
        cloud = _start(stack, "cloud-agent", ["cloud_agent.cli", "run", "--config"], folder,
                       programs.write_cloud_config(folder, name="gpu-demo", mqtt5=mqtt5))  # fmt: skip
        engine = str(cloud.ready().get("engine", "?"))
        console.print(f"bridge at {urls.mqtt} (3.1.1), {urls.mqtt5} (5), {urls.coap}; cloud agent on {engine}")
        observer = Observer(urls.mqtt)
        stack.callback(observer.close)
        linked = Linked(next(device for device in devices if device.kind == scenario.LINKED), urls, folder,
                        rate=manifest.input.rate_hz, speed=speed)  # fmt: skip
        stack.callback(linked.relay.stop)
        through = linked.urls()
        console.print(
            f"{linked.device.name} has both ways, over a link that will change; a profile says: way / encoding / "
            "rows a message"
        )
        began = time.monotonic()
        senders = []
        for device in devices:
            where = through if device is linked.device else urls
            command = programs.device_command(device, where, folder, speed=speed, stream="wrist")
            senders.append(Program(device.name, command, folder))
            stack.callback(senders[-1].stop)
        _watch(console, devices, observer, manifest, senders, linked, speed)
        seconds = time.monotonic() - began
        seen = {device.name: observer.seen(device.name) for device in devices}
        by_coap = _bytes_by_coap(observer, sum(device.rows for device in devices))
        way = linked.end(observer, manifest)
        said = ask_cloud(found, manifest, observer, urls.mqtt, "wrist-cloud")
        whole = report.Report(
            **report.figures(devices, seen, manifest),
            accuracy_cloud_only=_cloud_accuracy(found, said),
            bytes_per_window=report.bytes_per_window(
                devices, _sizes(devices, observer), by_coap, way.passed.coap_payload, manifest
            ),
            rss_mib=_memory(bridge, cloud, devices, senders),
            errors=dict(observer.errors),
            speed=speed,
            seconds=round(seconds, 1),
            engine=engine,
            link=journey.figures(way),
        )
        return whole, way


def _start(stack: ExitStack, name: str, command: list[str], folder: Path, config: Path) -> Program:
    program = Program(name, [*command, str(config)], folder)
    stack.callback(program.stop)
    return program


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _watch(
    console: Console,
    devices: list[scenario.Device],
    observer: Observer,
    manifest: Manifest,
    senders: list[Program],
    linked: Linked,
    speed: float,
) -> None:
    """Show the live table until every window has come out, or nothing more can."""
    began, wall = time.monotonic(), time.time()
    end = began + max(device.rows for device in devices) / manifest.input.rate_hz / speed + PATIENCE
    wanted = sum(len(device.windows(manifest)) for device in devices)
    told = 0.0
    with Live(console=console, refresh_per_second=4, auto_refresh=False) as live:
        while time.monotonic() < end:
            for sender in senders:
                sender.measure()
            linked.show(live.console, wall)
            now = time.monotonic() - began
            got = sum(len(observer.seen(device.name).results) for device in devices)
            if console.is_terminal:
                live.update(live_table(devices, observer, manifest, now), refresh=True)
            elif now - told >= 5:
                told = now
                console.print(f"{now:5.1f} s  {got}/{wanted} windows answered")
            if got >= wanted and not any(sender.running for sender in senders):
                break
            time.sleep(0.25)
    if not console.is_terminal:
        console.print(live_table(devices, observer, manifest, time.monotonic() - began))


def _cloud_accuracy(found: list[scenario.Recording], said: dict[tuple[str, int], str | None]) -> float | None:
    truth = {recording.name: recording.label for recording in found}
    if any(label is None for label in said.values()):
        return None
    return report.share(label == truth[name] for (name, _), label in said.items())


def _sizes(devices: list[scenario.Device], observer: Observer) -> dict[str, int]:
    return {device.name: observer.seen(device.name).bytes_in for device in devices}


def _bytes_by_coap(observer: Observer, rows: int) -> int:
    """Payload bytes that the bridge took by CoAP, once its status covers all rows."""
    end = time.monotonic() + 10
    while observer.counts.get("rows", 0) < rows and time.monotonic() < end:
        time.sleep(0.1)
    return observer.counts.get("bytes_coap", 0)


def _memory(
    bridge: Program, cloud: Program, devices: list[scenario.Device], senders: list[Program]
) -> dict[str, float]:
    bridge.measure()
    cloud.measure()
    found: dict[str, Any] = {"bridge": bridge.peak_rss, "cloud agent": cloud.peak_rss}
    for pid in programs.children(bridge.pid):
        found["embedded broker"] = programs.peak_rss(pid)
    for device, sender in zip(devices, senders, strict=True):
        name = device.kind if device.kind.startswith("agent") else f"device {device.kind}"
        found[name] = max(found.get(name, 0.0), sender.peak_rss)
    return {name: round(size, 1) for name, size in found.items()}


if __name__ == "__main__":
    sys.exit(main())
