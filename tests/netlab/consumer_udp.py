"""The consumer of the ruler's datagrams. The argument is a `Task`."""

from __future__ import annotations

import select
import socket
import sys

from tests.netlab import traffic
from tests.netlab.log import Log

LARGEST = 65_536


def main() -> None:
    """Note each datagram until the end of stdin."""
    task = traffic.task()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, Log(task.path("arrived")) as arrived:
        sock.bind((task.gateway, task.port))
        traffic.say_ready()
        while True:
            ready = select.select([sock, sys.stdin], [], [])[0]
            if sock in ready:
                arrived.note(traffic.number_of(sock.recv(LARGEST)))
            elif ready:
                return


if __name__ == "__main__":
    main()
