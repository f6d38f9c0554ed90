"""The ceiling: a bare socket, MQTT framed by hand, no session, no checks, nothing survives anything.

Whatever one read brings is one batch: one run of the model a `work.BATCH` windows, Results and PUBACKs in one write.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tests.benchmarks import frames, work


def main() -> None:
    """Serve on the port given until killed."""
    model = work.Model()
    sock = frames.dial(int(sys.argv[1]), "rival-socket", listen=work.DATA_FILTER, qos=1)
    sys.stdout.write("ready {}\n")
    sys.stdout.flush()
    buffer, next_id = b"", 1
    while data := sock.recv(frames.READ):
        arrived = time.time()
        buffer += data
        packets, used = frames.split(buffer)
        come = [
            frames.message(buffer, first, start, end) for first, start, end in packets if first & 0xF0 == frames.PUBLISH
        ]
        buffer = buffer[used:]
        out: list[bytes] = []
        for start in range(0, len(come), work.BATCH):
            part = come[start : start + work.BATCH]
            decoded = [work.decode(payload) for _, _, payload in part]
            answers = model.answers(np.stack([rows for _, rows in decoded]))
            for (topic, packet_id, _), (seen, _), (label, score) in zip(part, decoded, answers, strict=True):
                to, payload = work.encode(topic, seen, label, score, model.version, arrived)
                out += (
                    frames.publish_head(to, len(payload)),
                    next_id.to_bytes(2, "big"),
                    payload,
                    frames.puback(packet_id),
                )
                next_id = next_id % 65_535 + 1
        if out:
            sock.sendall(b"".join(out))


if __name__ == "__main__":
    main()
