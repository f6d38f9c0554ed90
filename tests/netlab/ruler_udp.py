"""The ruler: each message one UDP datagram, sent once. The argument is a `Task`."""

from __future__ import annotations

import socket
import time

from tests.netlab import traffic
from tests.netlab.log import Log


def main() -> None:
    """Send on time."""
    task = traffic.task()
    traffic.say_ready()
    start = traffic.wait_go()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, Log(task.path("sent")) as sent:
        for number, payload in enumerate(traffic.payloads(task)):
            time.sleep(traffic.until(start + number / task.rate))
            sent.note(number)
            sock.sendto(payload, (task.gateway, task.port))


if __name__ == "__main__":
    main()
