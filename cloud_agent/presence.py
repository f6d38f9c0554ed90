"""The retained status of one agent, and whether another one goes by its name.

MQTT 5 tells who is taken over by DISCONNECT 0x8E, but Mosquitto before 2.0.16 only closes the connection, and two
agents with one id would throw each other out for ever. So each status carries its instance, and an agent that comes
back and finds somebody else's there knows that it was taken over.
"""

from __future__ import annotations

import secrets
from typing import Any

from bridge import topics
from bridge.errors import Refused
from bridge.wire.answers import decode_status, encode_status


class Presence:
    """What this agent says of itself.

    Attributes:
        topic: where it says so.
        facts: what it says while it is there.
    """

    def __init__(self, cloud: str, facts: dict[str, Any]) -> None:
        """A new instance.

        Args:
            cloud: the agent's id.
            facts: what it tells beside `online` and `t`.
        """
        self.topic = topics.cloud_status(cloud)
        self._instance = secrets.token_hex(8)
        self.facts = {"id": cloud, "instance": self._instance, **facts}

    def online(self, t: float, **measured: Any) -> bytes:
        """Payload for a beginning; `t` in seconds since 1970, and facts that change."""
        return encode_status(online=True, t=t, **self.facts, **measured)

    def offline(self, t: float, why: str) -> bytes:
        """Payload for an end; `t` in seconds since 1970, for the will that of the start."""
        return encode_status(online=False, t=t, instance=self._instance, why=why)

    def is_ours(self, payload: bytes) -> bool | None:
        """Whether a status on our topic is from this instance; None if it does not tell."""
        try:
            found = decode_status(payload).get("instance")
        except Refused:
            return None
        return found == self._instance if isinstance(found, str) else None
