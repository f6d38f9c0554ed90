"""`python -m tests.faults.measures [ingest|backlog]`: measured rows of the guarantees, as a table.

Exit status 0 when every row holds, 1 when one falls short, 2 when it could not measure.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.benchmarks import report
from tests.faults.measures import backlog, ingest
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.rows import Row

GROUPS: dict[str, Callable[[Path], list[Row]]] = {"ingest": ingest.measure, "backlog": backlog.measure}


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.measures", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="only these")
    names = parser.parse_args().groups or list(GROUPS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that brokers, bridges and agents end with us
    try:
        require_tool("mosquitto")
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        sys.stderr.write(f"{why}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="measures-") as folder:
        found = [row for name in names for row in GROUPS[name](Path(folder))]
    table = report.table(found)
    table.title = "Nothing acknowledged is lost"
    Console().print(table)
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
