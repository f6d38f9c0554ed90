"""`inference-bridge run | check | watch | ledger | models`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from bridge import extras
from bridge.errors import BridgeError, ConfigError, ModelError, StoreError


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 1 when serving failed, the ledger does not add up, or a graph was not quantised; 2 when the settings or a
        model cannot be used.
    """
    if (sys.argv[1:] if arguments is None else arguments)[:1] == ["run"]:
        _ignore_hang_up()
    try:
        return _dispatch(_parser().parse_args(arguments))
    except (ConfigError, ModelError) as why:
        sys.stderr.write(f"inference-bridge: {why}\n")
        return 2
    except ModuleNotFoundError as why:
        sys.stderr.write(f"inference-bridge: {extras.advice(why)}\n")
        return 2
    except (BridgeError, StoreError) as why:
        sys.stderr.write(f"inference-bridge: {why}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `watch | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter flushes into it at exit
        return 0


def _parser() -> argparse.ArgumentParser:
    from bridge import models_cli  # takes a while to load, and by default SIGHUP ends a process

    parser = argparse.ArgumentParser(prog="inference-bridge", description="Sensors in, inferences out.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "serve"), ("check", "check settings, models and accelerators")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, help="bridge.toml; defaults without")
    watch = commands.add_parser("watch", help="show results as they come")
    watch.add_argument("--url", default="mqtt://127.0.0.1:1883", help="broker; mqtts:// for TLS (default %(default)s)")
    watch.add_argument("--json", action="store_true", help="one Result in JSON a line")
    watch.add_argument("--protocol", choices=("3.1.1", "5"), default="3.1.1", help="MQTT version (default %(default)s)")
    watch.add_argument("--username")
    watch.add_argument("--password-file", type=Path)
    watch.add_argument("--ca", type=Path, help="PEM file of certificates to trust")
    _add_ledger(commands)
    models_cli.add_parser(commands)
    return parser


def _add_ledger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "ledger",
        help="what was accepted, what became of it, and whether that adds up",
        epilog="Exit code 0: nothing contradicts. 1: it does not add up, or nobody answers.",
    )
    command.add_argument(
        "--config", type=Path, help="bridge.toml: its broker, or its state while the bridge is stopped"
    )
    command.add_argument("--url", help="broker; mqtts:// for TLS (default mqtt://127.0.0.1:1883, or that of --config)")
    command.add_argument("--username")
    command.add_argument("--password-file", type=Path)
    command.add_argument("--ca", type=Path, help="PEM file of certificates to trust")
    command.add_argument("--device", help="only this device")
    command.add_argument(
        "--since", help="only what was seen since: a time, seconds since 1970, or 90s, 10min, 2h, 1d ago"
    )
    command.add_argument("--json", action="store_true", help="all of it in one line of JSON")


def _ignore_hang_up() -> None:
    """What asks a bridge that serves to reload must not end one that does not serve yet, or no more."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _dispatch(chosen: argparse.Namespace) -> int:
    import asyncio

    from bridge import config as configuration
    from bridge import models_cli

    if chosen.command == "watch":
        from bridge.watch import watch  # operators' tool: aiomqtt only here

        return asyncio.run(watch(chosen))
    if chosen.command == "ledger":
        from bridge.ledger.command import ledger

        return ledger(chosen)
    if chosen.command == "models":
        return models_cli.run(chosen)
    config, base = configuration.load(chosen.config)
    named = f"{chosen.config}: " if chosen.config is not None else ""
    try:
        if chosen.command == "check":
            from bridge.check import check  # prints, and nothing else here does

            return check(config, base)
        from bridge import loop
        from bridge.app import App  # loads ONNX Runtime

        logging.basicConfig(
            stream=sys.stderr,
            level=config.bridge.log_level.upper(),
            format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        )

        async def serve() -> None:
            await App(config, base, chosen.config).run()

        try:
            loop.run(serve())
        finally:
            _ignore_hang_up()
    except ConfigError as why:
        raise ConfigError(f"{named}{why}") from why
    return 0


if __name__ == "__main__":
    sys.exit(main())
