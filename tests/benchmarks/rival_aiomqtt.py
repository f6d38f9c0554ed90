"""A bridge as people write it on aiomqtt: `async for message in client.messages`, acknowledged on receipt."""

from __future__ import annotations

import asyncio
import socket
import sys
import time

import aiomqtt

from tests.benchmarks import work


async def serve(port: int) -> None:
    """Answer one message after the other, awaiting each publish."""
    model = work.Model()
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]  # a fair rival; paho beneath leaves Nagle on
    async with aiomqtt.Client(
        "127.0.0.1", port, identifier="rival-aiomqtt", max_inflight_messages=1_024, socket_options=options
    ) as client:
        await client.subscribe(work.DATA_FILTER, qos=1)
        sys.stdout.write("ready {}\n")
        sys.stdout.flush()
        async for message in client.messages:
            arrived = time.time()
            assert isinstance(message.payload, bytes)
            seen, rows = work.decode(message.payload)
            ((label, score),) = model.answers(rows[None])
            topic, payload = work.encode(str(message.topic), seen, label, score, model.version, arrived)
            await client.publish(topic, payload, qos=1)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
