"""`cloud-agent run [--config F]`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge import extras, loop
from bridge.errors import ConfigError, ModelError
from cloud_agent import config

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        Exit status: 0 after SIGTERM; 1 when it cannot go on; 2 when it cannot start, with why on stderr.
    """
    args = _parser().parse_args(argv)
    level = getattr(logging, args.log_level.upper())
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = config.load(args.config) if args.config else config.default()
        if args.require_accelerator:
            engine = msgspec.structs.replace(settings.engine, require_accelerator=True)
            settings = msgspec.structs.replace(settings, engine=engine)
        endpoint = config.endpoint(settings.cloud, origin=str(args.config or "without --config"))
        # Imported late: a typo in the config is told at once, and without ONNX Runtime.
        from cloud_agent import app

        return loop.run(app.run(settings, endpoint))
    except (ConfigError, ModelError) as why:
        print(f"cloud-agent: {why}", file=sys.stderr)  # noqa: T201 # a command's own words, no log line
        return USAGE_ERROR
    except ModuleNotFoundError as why:
        print(f"cloud-agent: {extras.advice(why)}", file=sys.stderr)  # noqa: T201 # likewise
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloud-agent", description="Answers windows too hard for a gateway.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGTERM")
    run.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML; without it: this machine's name, mqtt://127.0.0.1:1883 and the product's own models",
    )
    run.add_argument(
        "--require-accelerator", action="store_true", help="refuse to start where only the CPU computes (exit 2)"
    )
    run.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info", metavar="LEVEL")
    return parser


if __name__ == "__main__":
    sys.exit(main())
