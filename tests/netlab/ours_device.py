"""The device of `ours`: an edge-agent fed with the workload on its stdin. The argument is a `Task`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.netlab import traffic
from tests.netlab.record import Log

if TYPE_CHECKING:
    from tests.netlab.traffic import Task

STOP = 10.0  # s until an agent that was asked to stop is killed
_PROFILE = re.compile(r"stream wrist: profile (\S+): (.*)")


class Ear:
    """Reads the agent's log: passes it on, and writes down which profiles were chosen, when and why."""

    def __init__(self, log: IO[bytes], path: Path) -> None:
        self.connected = threading.Event()
        self._log = log
        self._path = path
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._path.open("w", buffering=1, encoding="utf-8") as out:
            for line in map(bytes.decode, self._log):
                sys.stderr.write(line)
                if ": connected, mqtt" in line:
                    self.connected.set()
                if found := _PROFILE.search(line):
                    told = {"t": time.monotonic(), "profile": found[1], "reason": found[2]}
                    out.write(json.dumps(told) + "\n")


def lines_of(payload: bytes) -> bytes:
    """The rows of a message as the agent's stdin takes them."""
    return "".join(f"{json.dumps(row)}\n" for row in json.loads(payload)["values"]).encode()


def feed(task: Task, stdin: IO[bytes], start: float) -> None:
    """Hands over on time."""
    with Log(task.path("sent")) as sent:
        for number, payload in zip(range(task.count), traffic.payloads(task.seed), strict=False):
            rows = lines_of(payload)
            time.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            stdin.write(rows)
            stdin.flush()
    stdin.close()


def main() -> None:
    """Start the agent, feed it, and wait until all is receipted."""
    task = traffic.task()
    argv = [str(Path(sys.executable).with_name("edge-agent")), "run", "--config", str(task.path("edge_agent.toml"))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        assert agent.stderr is not None
        ear = Ear(agent.stderr, task.path("profile.jsonl"))
        if not agent.stdout.readline().startswith(b"ready {"):
            sys.exit("the agent did not start")
        ear.connected.wait()
        traffic.say_ready()
        feed(task, agent.stdin, traffic.wait_go())
        try:
            agent.wait(task.drain)
        except subprocess.TimeoutExpired:
            agent.terminate()
            try:
                agent.wait(STOP)
            except subprocess.TimeoutExpired:
                agent.kill()


if __name__ == "__main__":
    main()
