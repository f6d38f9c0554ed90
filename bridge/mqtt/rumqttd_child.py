"""The child process that is the embedded broker: run by path, `python rumqttd_child.py rumqttd.toml`, never imported.

It ends when its stdin closes, so also when the bridge is killed. It imports nothing of the bridge's. Beyond what
`iotcore.Broker` does, it sets TCP_NODELAY, for which rumqttd has no setting: accepted sockets inherit it from the
listening one (Linux). Without it, a burst of 10 or more publishes waits 44 ms for its last PUBACK (Nagle against the
client's delayed ACK), with it 0.1 ms.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from pathlib import Path

from iotcore import IotCoreBroker

_START_TIMEOUT = 8.0  # seconds until all listeners must be open


def _nodelay_where_listening() -> int:
    """Sets the option on all TCP sockets of this process that listen; returns how many they are."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            sock = socket.socket(fileno=int(entry.name))
        except OSError:  # closed since it was listed, as the directory itself is
            continue
        if sock.family in {socket.AF_INET, socket.AF_INET6} and sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count += 1
        sock.detach()  # it belongs to rumqttd
    return count


def _set_nodelay(expected: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while _nodelay_where_listening() < expected:
        if time.monotonic() > deadline:
            sys.exit(f"rumqttd opened not all of its {expected} listeners in {_START_TIMEOUT:g} s")
        time.sleep(0.005)


def main() -> None:
    """Runs the broker until stdin closes."""
    # rumqttd logs every packet as an error (its spans are `error_span!`); panics still reach stderr.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    broker = IotCoreBroker(config_path=sys.argv[1])
    broker.start()
    if Path("/proc/self/fd").is_dir():
        _set_nodelay(len(broker.listeners()))
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
