"""The device of `stdin`: an edge-agent fed with the workload on its stdin. The argument is a `Task`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from tests.netlab import traffic
from tests.netlab.log import Log
from tests.netlab.told import Told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.netlab.traffic import Task

STOP = 10.0  # s until an agent that was asked to stop is killed


class Ear:
    """Reads the agent's log."""

    def __init__(self, log: IO[bytes], task: Task) -> None:
        self.connected = threading.Event()
        self._log = log
        self._told = Told(task, self.connected.set)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Return at the end of the log."""
        self._thread.join()

    def _read(self) -> None:
        with self._told:
            for line in map(bytes.decode, self._log):
                self._told.take(line)


def lines_of(payload: bytes) -> bytes:
    """The rows of a message as the agent's stdin takes them."""
    return "".join(f"{json.dumps(row)}\n" for row in json.loads(payload)["values"]).encode()


def feed(task: Task, messages: Iterable[bytes], stdin: IO[bytes], start: float) -> None:
    """Hands over on time."""
    with Log(task.path("sent")) as sent:
        for number, rows in enumerate(messages):
            time.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            stdin.write(rows)
            stdin.flush()
    stdin.close()


def main() -> None:
    """Start the agent, feed it, and wait until all is receipted."""
    task = traffic.task()
    messages = [lines_of(payload) for payload in traffic.payloads(task)]  # now: a sensor has no JSON to read meanwhile
    argv = [*task.program, "run", "--config", str(task.path("edge_agent.toml")), "--log", "debug"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        assert agent.stderr is not None
        ear = Ear(agent.stderr, task)
        if not agent.stdout.readline().startswith(b"ready {"):
            sys.exit("the agent did not start")
        task.path("agent.pid").write_text(str(agent.pid))
        ear.connected.wait()
        traffic.say_ready()
        start = traffic.wait_go()
        task.path("start").write_text(str(start))
        feed(task, messages, agent.stdin, start)
        try:
            agent.wait(task.drain)
        except subprocess.TimeoutExpired:
            agent.terminate()
            try:
                agent.wait(STOP)
            except subprocess.TimeoutExpired:
                agent.kill()
        ear.join()


if __name__ == "__main__":
    main()
