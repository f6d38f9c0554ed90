"""Does another bridge use our id? Brokers are to tell the one they drop (0x8E), but not all do.

Mosquitto 2.0.11 (of a session that is to be kept) and rumqttd close the connection without a word. Two bridges of one
id would then throw each other out several times a second for ever, and share the rows between them. So each bridge
names its process in its retained status and reads that status: a name seen during the first connection came before us
(an earlier run, or a bridge we have just replaced); any other came after us, and the older one goes. No clock is
compared: a gateway may wake up in 1970. A retained name alone proves nothing: a broker that crashed may bring back a
status from before our start. It counts when it is retained again on a later connection, where ours should be.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge import topics
from bridge.errors import Refused, TakenOver
from bridge.mqtt.messages import topic_of
from bridge.wire.answers import decode_status

if TYPE_CHECKING:
    from bridge.mqtt.connection import Connection
    from bridge.mqtt.messages import Delivery

MOST = 256  # names of earlier processes remembered


class Twins:
    """Watches the status of our own id.

    Attributes:
        me: name of this process, never the same twice.

    Args:
        bridge: our id.
        me: see above.
    """

    def __init__(self, bridge: str, me: str) -> None:
        self.me = me
        self._bridge = bridge
        self._topic = topics.bridge_status(bridge)
        self._known = {me}
        self._suspects: dict[str, int] = {}
        self._found = asyncio.Event()

    async def found(self) -> None:
        """Wait for a twin.

        Raises:
            TakenOver: it is there.
        """
        await self._found.wait()
        raise TakenOver(f"another bridge was started with id {self._bridge!r}; give each its own id ([bridge] id)")

    def sift(self, connection: Connection, deliveries: list[Delivery]) -> list[Delivery]:
        """Take out and look at statuses of our id; the rest is returned."""
        if self._topic not in map(topic_of, deliveries):
            return deliveries
        statuses = [delivery for delivery in deliveries if delivery.topic == self._topic]
        for delivery in statuses:
            self._look(delivery.payload, connection.session.connects, retained=delivery.retain)
        connection.acknowledge(statuses)
        return [delivery for delivery in deliveries if delivery.topic != self._topic]

    def _look(self, payload: bytes, connects: int, *, retained: bool) -> None:
        try:
            name = decode_status(payload).get("instance")
        except Refused:
            return
        if not isinstance(name, str) or name in self._known:
            return
        if connects <= 1:
            if len(self._known) < MOST:
                self._known.add(name)
        elif retained and self._suspects.setdefault(name, connects) == connects:
            if len(self._suspects) > MOST:
                self._suspects.clear()
        else:
            self._found.set()
