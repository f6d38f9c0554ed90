"""Provisional Results, a cloud that is slow, dead or sound by turns, and a bridge that is killed: one final each."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from tests.place.real.accounts import Account, disagreements
from tests.place.real.judge import Heard, Life, Provisional, Sent, answers, first_in_time, provisional
from tests.place.real.paths import SlowRelay
from tests.place.real.rig import BRIDGE, Rig
from tests.place.real.traffic import ROWS, WHOLE, Stream, steady
from tests.place.rows import Row, row
from tests.support.programs import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import RunningProgram

# Seconds. Row streams are answered twice wherever the bridge is unsure, for nobody answers within their deadline; whole
# windows where the cloud is likely to answer after theirs.
DEADLINES: dict[Stream, float] = {ROWS: 0.001, WHOLE: 0.5}
GRACE = 3.0
AGAIN = 0.5  # and after a restart, for what became due meanwhile
ROUTE = f"below = 0.95\nprovisional = true\ngrace = {GRACE}"
RATE = 40.0  # windows a second
SECONDS, LAST = 16.0, 6.0  # with kills, and after them
KILLS, PAUSE = 4, 2.5  # seconds for which it works between two of them
OPEN, PATIENCE = 4, 3.0  # provisional Results without a final at a kill, and seconds for them to come
QUIET = 10.0  # seconds for the ledger to have nothing that waits

# How the cloud is, over and over: seconds of a spell, and what its answers take; None: it is dead. It comes back sound,
# for what it says of itself takes as long as its answers.
SPELLS: tuple[tuple[float, float | None], ...] = ((3.5, 0.9), (0.5, None), (1.0, 0.0), (3.5, 1.6))


class Seen(msgspec.Struct, frozen=True):
    """What was sent and heard.

    Attributes:
        lives: of the bridge, after the first one.
        open: provisional Results without a final at each kill.
        devices: and their streams.
        fresh: devices that began after the last kill.
        ledger: what `inference-bridge ledger --json` said in the end, and its exit code.
    """

    sent: list[Sent]
    heard: list[Heard]
    lives: list[Life]
    open: list[int]
    devices: dict[str, Stream]
    fresh: set[str]
    ledger: dict[str, Any]
    code: int


def rows(folder: Path) -> list[Row]:
    """What became of provisional Results."""
    return judged(run(folder))


def run(folder: Path) -> Seen:
    """Kill the bridge while provisional Results wait for their finals; then go on for a while, and ask the ledger."""
    over = threading.Event()
    routes = {stream: f"deadline = {deadline}\n{ROUTE}" for stream, deadline in DEADLINES.items()}
    with Rig(folder, routes) as rig:
        relay = rig.enter(SlowRelay(rig.broker.port))
        agent = rig.agent("gpu-1", relay.url).launch()
        rig.bridge.start()
        agent.wait_ready()
        rig.warm_up()
        weather = threading.Thread(target=_weather, args=(relay, agent, over), name="weather")
        weather.start()
        try:
            sources = steady(rig.broker.url, "d", rate=RATE, seconds=SECONDS)
            rig.play(sources)
            killed = [_kill(rig) for _ in range(KILLS)]
            rig.finish(sources, 0.0)
            fresh = steady(rig.broker.url, "z", rate=RATE, seconds=LAST)
            rig.play(fresh)
            rig.finish(fresh, 0.0)
            rig.finish([*sources, *fresh], DEADLINES[WHOLE] + GRACE + 1.0)
        finally:
            over.set()
            weather.join()
        said, code = _ledger(rig)
        devices = {source.name: source.stream for source in (*sources, *fresh)}
        return Seen(
            sent=[one for source in (*sources, *fresh) for one in source.sent],
            heard=[one for one in rig.heard() if one.device in devices],
            lives=[life for _, life in killed],
            open=[count for count, _ in killed],
            devices=devices,
            fresh={source.name for source in fresh},
            ledger=said,
            code=code,
        )


def _weather(relay: SlowRelay, agent: RunningProgram, over: threading.Event) -> None:
    while not over.is_set():
        for seconds, delay in SPELLS:
            if delay is None:
                agent.kill()
                over.wait(seconds)
                relay.delay = 0.0
                agent.start()
            else:
                relay.delay = delay
                over.wait(seconds)


def _kill(rig: Rig) -> tuple[int, Life]:
    """Kill the bridge once some provisional Results have no final; how many, and its next life."""
    time.sleep(PAUSE)
    end = time.monotonic() + PATIENCE
    while len(unfinished(rig.heard())) < OPEN and time.monotonic() < end:
        time.sleep(0.02)
    rig.bridge.kill()
    killed = time.monotonic()
    left = len(unfinished(rig.heard()))
    rig.bridge.start()
    return left, Life(killed, time.monotonic())


def unfinished(heard: list[Heard]) -> set[str]:
    """Ids with a provisional Result and no final one."""
    return {one.id for one in heard if one.provisional} - {one.id for one in heard if not one.provisional}


def _ledger(rig: Rig) -> tuple[dict[str, Any], int]:
    end = time.monotonic() + QUIET
    while True:
        ended = run_command("inference-bridge", "ledger", "--json", "--url", rig.broker.url, timeout=40)
        said: dict[str, Any] = json.loads(ended.stdout)
        if not any(part["waiting"] for line in said["series"] for part in line["bridges"].values()):
            return said, ended.returncode
        if time.monotonic() > end:
            return said, ended.returncode


def judged(seen: Seen) -> list[Row]:
    """The rows."""
    ended = {stream: finals(seen, stream) for stream in DEADLINES}
    all_of = answers(seen.sent, seen.heard, deadline=GRACE)
    whole = of(seen, WHOLE)
    first = first_in_time(whole, seen.heard, deadline=DEADLINES[WHOLE], lives=seen.lives)
    answered = f"missing {len(all_of.missing)}, contradicted {len(all_of.contradicted)}, strange {len(all_of.strange)}"
    differ = disagreements(seen.ledger, seen.code, accounts(seen), BRIDGE)
    return [
        *(
            row(f"provisional-one-final-{stream}", f"provisional Results ({stream}) with exactly one final in time",
                [found.share], "at least", 100.0, unit="%", note=_in_words(found))
            for stream, found in ended.items()
        ),
        row("provisional-by-deadline", "windows with a first Result by their deadline", [first], "at least", 99.0,
            unit="%", note=f"{len(whole)} whole windows, {DEADLINES[WHOLE]:g} s"),
        row("provisional-answered", "windows with one effective Result", [all_of.answered], "at least", 100.0,
            unit="%", note=answered),
        row("provisional-ledger", "where the ledger says another thing than was sent and heard", [len(differ)],
            "at most", 0.0, unit="", note="; ".join(differ[:3])),
        row("provisional-killed", "provisional Results without a final when the bridge was killed, the fewest",
            [min(seen.open, default=0)], "at least", 1.0, unit="", note=f"at the kills: {seen.open}"),
    ]  # fmt: skip


def of(seen: Seen, stream: Stream) -> list[Sent]:
    """Windows of a kind of stream."""
    return [one for one in seen.sent if seen.devices[one.device] == stream]


def finals(seen: Seen, stream: Stream) -> Provisional:
    """What became of the provisional Results of a kind of stream."""
    return provisional(
        of(seen, stream), seen.heard, deadline=DEADLINES[stream], grace=GRACE, lives=seen.lives, again=AGAIN
    )


def _in_words(found: Provisional) -> str:
    return (
        f"{found.count} of {found.sent} windows; without a final {len(found.without)}, with several "
        f"{len(found.several)}, late {len(found.late)}, never announced {len(found.unprompted)}; "
        f"the slowest final after {found.worst:.3f} s"
    )


def accounts(seen: Seen) -> dict[str, Account]:
    """What the ledger has to say of each device, as seen from outside."""
    announced = {one.id for one in seen.heard if one.provisional}
    found: dict[str, Account] = {}
    for device, stream in seen.devices.items():
        ids = {one.id for one in seen.sent if one.device == device}
        found[device] = Account(stream, len(ids), len(ids & announced), complete=device in seen.fresh)
    return found
