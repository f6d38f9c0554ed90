"""A link in user space, without root: `python -m bridge.demo.relay PLAN`.

Between an agent and the bridge, on loopback: UDP datagrams are delayed, queued and lost for real (`relay_udp`), a TCP
connection is made as late as loss would make it (`stream` says how far that goes). It prints a line
`ready {"mqtt": …, "coap": …}` with the urls to use; each stage is a line of its log. On SIGTERM it writes `Passed` to
the plan's `out`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

import msgspec

from bridge.demo.link import Link, Slot
from bridge.demo.linkmodel import Stage
from bridge.demo.relay_tcp import HOST, TcpRelay
from bridge.demo.relay_udp import UdpRelay

log = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True):
    """What to relay.

    Attributes:
        mqtt: port of the broker on this machine.
        coap: port of the bridge.
        stages: the schedule; begins with the first packet.
        names: of the stages.
        seed: of its randomness.
        out: file for `Passed`.
    """

    mqtt: int
    coap: int
    stages: list[Stage]
    names: list[str]
    seed: int
    out: str


class Passed(msgspec.Struct, frozen=True):
    """What the link saw.

    Attributes:
        began: seconds since 1970 of the first packet; None: there was none.
        slots: bytes and packets, each `SLOT` since then.
        coap_payload: bytes of CoAP payload that came through towards the bridge, repetitions not counted.
    """

    began: float | None
    slots: list[Slot]
    coap_payload: int


async def relay(plan: Plan) -> Passed:
    """Relays until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    began: list[float] = []

    def begin() -> None:
        began.append(time.time())
        for stage, name in zip(plan.stages, plan.names, strict=True):
            loop.call_later(stage.at, log.info, "stage %s", name)

    link = Link(plan.stages, plan.seed, loop, begin)
    tcp, udp = TcpRelay(link, plan.mqtt), UdpRelay(link, plan.coap)
    urls = {"mqtt": f"mqtt://{HOST}:{await tcp.start()}", "coap": f"coap://{HOST}:{udp.start()}"}
    sys.stdout.write(f"ready {msgspec.json.encode(urls).decode()}\n")
    sys.stdout.flush()
    await stop.wait()
    tcp.close()
    udp.close()
    return Passed(began[0] if began else None, link.slots, udp.payload)


def main() -> None:
    """Relay by the plan in the file named."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    passed = asyncio.run(relay(plan))
    Path(plan.out).write_bytes(msgspec.json.encode(passed))


if __name__ == "__main__":
    main()
