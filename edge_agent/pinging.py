"""paho-mqtt's client with a PINGREQ on demand, and an ear for the answer; it has both, but keeps them to itself.

UNSUBSCRIBE of a filter that nobody holds would be a public question, but rumqttd does not answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import paho.mqtt.client as paho

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.enums import MQTTErrorCode


class PingingClient(paho.Client):
    """See `paho.Client`.

    Attributes:
        on_pong: called from paho's thread at each PINGRESP.
    """

    on_pong: Callable[[], None] = staticmethod(lambda: None)

    def ping(self) -> MQTTErrorCode:
        """Sends a PINGREQ."""
        return self._send_pingreq()

    def _handle_pingresp(self) -> MQTTErrorCode:
        code = super()._handle_pingresp()
        self.on_pong()
        return code
