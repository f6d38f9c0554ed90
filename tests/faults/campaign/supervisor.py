"""What a service manager does: a program that ended by itself is started again, a few times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.programs import ProgramDidNotStartError

if TYPE_CHECKING:
    from tests.support.programs import RunningProgram

ATTEMPTS = 4
PAUSE = 0.3  # seconds between them


def wait_ready(program: RunningProgram) -> int:
    """Returns once a program that was launched is ready; how often it had to be started again for that.

    Raises:
        ProgramDidNotStartError: it ended again and again.
    """
    for again in range(ATTEMPTS):
        if not program.running:
            program.kill()
            program.launch()
        if program.ready:
            return again
        try:
            program.wait_ready()
        except ProgramDidNotStartError:
            if again == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
        else:
            return again
    raise AssertionError("not reached")
