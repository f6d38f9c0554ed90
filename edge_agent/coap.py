"""Uplink over CoAP: an answer is the receipt."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from bridge import topics
from bridge.coap.client import CoapClient
from bridge.errors import LinkError, RemoteProtocolError
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.coap.messages import CoapReply
    from bridge.coap.rto import RoundTrip
    from bridge.link.events import Event
    from bridge.wire.formats import Format
    from edge_agent.config import Url
    from edge_agent.uplink import Listener, Said, Writing

log = logging.getLogger(__name__)


class CoapUplink:
    """See `edge_agent.uplink.Uplink`. One message of a stream at a time: datagrams overtake each other.

    Args:
        url: coap.
        site: first level of our paths.
        device: second.
        window: most messages under way.
        timeout: seconds without an answer after which the outcome counts as unknown.
        on_event: takes what the traffic tells of the link.
        round_trip: sets the timers; default: RFC 6298's.
    """

    transport = "coap"
    in_order = True

    def __init__(
        self,
        url: Url,
        *,
        site: str,
        device: str,
        window: int = 16,
        timeout: float = 30.0,
        on_event: Callable[[Event], None] = lambda _event: None,
        round_trip: RoundTrip | None = None,
    ) -> None:
        self.window = window
        self.most_bytes: int | None = None
        self._site, self._device = site, device
        self._paths: dict[str, str] = {}  # by stream
        self._strange = False
        self._client = CoapClient(str(url), window=window, timeout_s=timeout, round_trip=round_trip, on_event=on_event)

    async def run(self, listener: Listener) -> None:
        """There is no connection to keep."""
        listener.connected(fresh=False)
        await asyncio.Event().wait()

    def writing(self, _stream: str) -> Writing | None:
        """As the settings say."""
        return None

    async def send(
        self,
        stream: str,
        payload: bytes,
        form: Format,
        *,
        said: Said | None = None,  # noqa: ARG002 # as every uplink
        copies: int = 0,
        patience: float | None = None,
    ) -> Outcome:
        """POSTs one Observation or Skip.

        Args:
            stream: its stream.
            payload: the message.
            form: how it is written.
            said: what it says.
            copies: 0: confirmable; else sent so often at once and not repeated.
            patience: seconds to wait for the answer, instead of `timeout`.

        Raises:
            LinkError: no answer, or none that a bridge gives: unknown.
        """
        path = self._paths.get(stream)
        if path is None:
            path = self._paths[stream] = topics.data(self._site, self._device, stream)
        try:
            reply = await self._client.post(path, payload, form.coap, copies=copies, timeout_s=patience)
            outcome = _outcome(reply)
        except RemoteProtocolError as why:
            if not self._strange:
                log.warning("whoever answered is no bridge, is the port right? %s; rows are kept", why)
            self._strange = True
            raise LinkError(f"whoever answered is no bridge: {why}") from why
        self._strange = False
        return outcome

    async def tell(self, facts: dict[str, Any], *, at_once: bool = True) -> int:  # noqa: ARG002 # as every uplink
        """CoAP has no retained status."""
        return 0

    async def close(self) -> None:
        """Closes the sockets."""
        await self._client.close()


def _outcome(reply: CoapReply) -> Outcome:
    """Only a bridge's own word gives rows up.

    Raises:
        RemoteProtocolError: a refusal that is not a bridge's.
    """
    if reply.code in {"changed", "content"}:
        return SAFE
    if reply.code == "overload":
        return Outcome("wait", "overload", float(reply.max_age or 0))  # no Max-Age: the client says RFC 7252's 60 s
    if reply.refusal is None:
        text = reply.payload[:200].decode(errors="replace")
        raise RemoteProtocolError(f"refused ({reply.code}) without a bridge's reason: {text!r}")
    if reply.code == "no_route":  # the owner's matter: a route may be mended, rows that are given up may not
        return Outcome("barred", reply.refusal)
    return Outcome("refused", reply.refusal)
