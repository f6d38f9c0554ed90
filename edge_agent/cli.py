"""`edge-agent run` and `edge-agent replay`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: a thread pool we never use costs memory

from bridge import extras  # see above
from bridge.errors import BridgeError, ConfigError
from bridge.ranges import text
from edge_agent import config
from edge_agent.app import App, Confirmation
from edge_agent.replay import make_epoch, make_settings, replay
from edge_agent.uplinks import make_uplink

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from bridge.link import Estimator

log = logging.getLogger("edge_agent")


def main(argv: Sequence[str] | None = None, *, estimator: Estimator | None = None) -> int:
    """Runs a command; 0 done, 1 not all of it, 2 a setting or file that cannot be used.

    Args:
        argv: the command; None: that of the process.
        estimator: of the link, for `run`, in place of the one that listens to the traffic.
    """
    args = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("edge_agent").setLevel(args.log.upper())
    try:
        return asyncio.run(_until_signalled(_run(args, estimator) if args.command == "run" else _replay(args)))
    except ConfigError as why:
        sys.stderr.write(f"edge-agent: {why}\n")
        return 2
    except ModuleNotFoundError as why:
        sys.stderr.write(f"edge-agent: {extras.advice(why)}\n")
        return 2
    except BridgeError as why:
        sys.stderr.write(f"edge-agent: {why}\n")
        return 1


async def _until_signalled(command: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _run(args: argparse.Namespace, estimator: Estimator | None) -> int:
    found = config.load(args.config)
    agent = found.agent
    for i, stream in enumerate(found.streams):
        if stream.source == "program":
            why = '"program" is for programs that embed the agent (edge_agent.EdgeAgent); take "stdin" here'
            raise ConfigError(f"{args.config}: streams[{i}].source: {why}")
    try:
        uplink = make_uplink(found, client_id=agent.client_id, keep_session=True, estimator=estimator)
    except ConfigError as why:
        raise ConfigError(f"{args.config}: {why}") from why
    store = agent.store
    facts = {
        "site": agent.site,
        "device": agent.device,
        "url": agent.url,
        **({"coap": agent.coap} if agent.coap is not None else {}),
        "streams": [stream.name for stream in found.streams],
        "state": str(store),
    }
    app = App(agent, found.streams, store=store, uplink=uplink, confirm=_confirm, ready=lambda: _ready(facts))
    try:
        await app.run()
    except asyncio.CancelledError:
        log.info("stopped; what is not receipted is in %s", store)
    return 0


async def _replay(args: argparse.Namespace) -> int:
    report = await replay(make_settings(args), epoch=make_epoch(args.epoch), timeout=args.timeout)
    if report.refused:
        log.error("refused by the bridge: rows %s", text(report.refused))
    if report.stopped is not None:
        log.error("%s", report.stopped)
    _say("replayed", report)
    return 0 if report.complete else 1


def _ready(facts: Any) -> None:
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again would take 4 ms, while rows wait
    gc.set_threshold(5_000, 20, 100)  # little here is in cycles: six objects of each message that paho receives
    _say("ready", facts)


def _say(word: str, facts: Any) -> None:
    _print(f"{word} {msgspec.json.encode(facts).decode()}")


def _confirm(confirmation: Confirmation) -> None:
    _print(msgspec.json.encode(confirmation).decode())


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        log.warning("nobody reads our stdout any more")
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 # for the rest of our life


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Sends rows of sensor data to the bridge, and keeps them until they are safe."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run an agent until stopped, or until all its sources have ended")
    run.add_argument("--config", type=Path, required=True, metavar="F", help="see config/edge_agent.toml")
    play = commands.add_parser("replay", help="send a recording; exit status 0 when all of it is receipted")
    play.add_argument("file", type=Path, help="csv with a header (column t: time), or npz with values (t, rate)")
    play.add_argument("--device", required=True)
    play.add_argument("--stream", required=True)
    play.add_argument("--url", required=True, help="mqtt://, mqtts:// or coap://host[:port]")
    play.add_argument("--site", default="plant-a", help="default: %(default)s")
    play.add_argument("--speed", type=float, help="10: ten times real time; 0: as fast as possible; default: 1")
    play.add_argument("--rate", type=float, metavar="HZ", help="rows a second; default: what the file tells, else 50")
    play.add_argument("--columns", metavar="A,B", help="csv columns to take; default: all but t")
    play.add_argument("--rows-per-message", type=int, metavar="N", help="default: 25")
    play.add_argument("--windows", choices=["rows", "whole"], help="whole: a message is a window; default: rows")
    play.add_argument("--encoding", choices=["cbor", "json"], help="default: cbor")
    play.add_argument("--packing", choices=["float32", "float16", "int8"], help="numbers in cbor; default: float32")
    play.add_argument("--protocol", choices=["3.1.1", "5"], help="MQTT version; default: 5")
    play.add_argument("--epoch", help="name of this numbering; default: a new one")
    play.add_argument("--username")
    play.add_argument("--password-file")
    play.add_argument("--ca", help="PEM file")
    play.add_argument("--cert", help="PEM file")
    play.add_argument("--key", help="PEM file")
    play.add_argument("--state", default="state", metavar="DIR", help="default: %(default)s")
    play.add_argument("--receipt-timeout", type=float, metavar="S", help="before rows are sent again; default: 10")
    play.add_argument("--timeout", type=float, default=60.0, metavar="S", help="without a receipt; default: 60")
    for one in (run, play):
        one.add_argument(
            "--log",
            choices=["debug", "info", "warning", "error"],
            default="info",
            help="least severe messages on stderr; default: %(default)s",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
