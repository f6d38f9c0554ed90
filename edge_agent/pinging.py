"""paho-mqtt's client on a socket of ours, with a PINGREQ on demand, and an ear for the answer.

It has all three, but keeps them to itself. Its own keep-alive stays, for the broker's sake and a NAT's: a PINGREQ when
nothing was sent or heard for so long. It is told of here, so that its answer is waited for like any other
(`edge_agent.vigil`) and a half-open connection noticed then, and not after another keep-alive. Beside traffic it costs
nothing, for it is not sent; an idle connection takes 160 bytes each 30 s. That what left counts is our doing: paho 2.1
notes it only if more is left in its queue, and so asked each 30 s whatever was sent.

UNSUBSCRIBE of a filter that nobody holds would be a public question, but rumqttd does not answer it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from paho.mqtt.enums import MQTTErrorCode


class PingingClient(paho.Client):
    """See `paho.Client`.

    Attributes:
        dialled: connected; used by the next `connect`.
        on_ping: called from some thread at each PINGREQ, also of paho's own.
        on_pong: called from paho's thread at each PINGRESP.
    """

    dialled: socket.socket
    on_ping: Callable[[], None] = staticmethod(lambda: None)
    on_pong: Callable[[], None] = staticmethod(lambda: None)

    def ping(self) -> MQTTErrorCode:
        """Sends a PINGREQ."""
        return self._send_pingreq()

    def loop_stop(self) -> MQTTErrorCode:
        """As paho's, which asks for its thread twice, though that may end in between."""
        thread, self._thread_terminate = self._thread, True
        if thread is None:
            return paho.MQTT_ERR_INVAL
        thread.join()
        return paho.MQTT_ERR_SUCCESS

    def release(self) -> None:
        """Closes the sockets that wake paho's thread, which must have ended: it leaves them to a garbage collector."""
        self._reset_sockets(sockpair_only=True)

    def _sock_send(self, buf: bytes | bytearray) -> int:
        count = super()._sock_send(buf)
        with self._msgtime_mutex:
            self._last_msg_out = time.monotonic()
        return count

    def _create_socket_connection(self) -> socket.socket:
        return self.dialled

    def _send_pingreq(self) -> MQTTErrorCode:
        code = super()._send_pingreq()
        self.on_ping()
        return code

    def _handle_pingresp(self) -> MQTTErrorCode:
        code = super()._handle_pingresp()
        self.on_pong()
        return code
