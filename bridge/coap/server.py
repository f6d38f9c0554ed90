"""The bridge's CoAP server."""

from __future__ import annotations

from bridge.coap.messages import CoapReply, CoapRequest, Handler
from bridge.coap.results import Results
from bridge.coap.site import Limits, Site
from bridge.coap.transport import Endpoint, open_endpoint
from bridge.errors import LocalProtocolError

__all__ = ["CoapReply", "CoapRequest", "CoapServer", "Handler", "Limits"]


class CoapServer:
    """Takes Observations, offers Results (docs/protocol.md: CoAP).

    POST and PUT on a data path reach the handler with the whole body; GET and Observe on a result path are answered
    from what was published here. A repeated request within `Limits.duplicate_age_s` gets the same answer again and
    does not reach the handler.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 5683,
        max_body: int,
        limits: Limits | None = None,
    ) -> None:
        """Describe the server; `start` binds it.

        Args:
            handler: called with each whole message, up to `Limits.max_pending` at once; its answer is sent when it
                returns. What it raises is logged and answered by 5.00. It is not cancelled when the peer goes away.
            host: address to listen on, IPv4 or IPv6.
            port: UDP port; 0 picks one.
            max_body: longest message in bytes; what passes it is answered by 4.13 at once.
            limits: what else is bounded; None for the defaults.
        """
        self._handler = handler
        self._host = host
        self._port = port
        self._max_body = max_body
        self._limits = limits or Limits()
        self._results = self._fresh()
        self._site: Site | None = None
        self._endpoint: Endpoint | None = None

    async def start(self) -> str:
        """Bind and serve.

        Returns:
            The URL, `coap://address:port`.

        Raises:
            ConfigError: the address cannot be bound; the message says what to do.
            LocalProtocolError: it runs already.
        """
        if self._site is not None:
            raise LocalProtocolError("this CoAP server runs already")
        if self._results.closed:
            self._results = self._fresh()
        limits = self._limits
        self._site = site = Site(self._handler, self._results, max_body=self._max_body, limits=limits)
        try:
            endpoint = await open_endpoint(
                site, self._host, self._port, entries=limits.duplicates, age=limits.duplicate_age_s
            )
        except BaseException:
            self._site = None
            raise
        site.messages = endpoint.messages
        self._endpoint = endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        return f"coap://{host}:{endpoint.port}"

    async def stop(self) -> None:
        """Answer what is under way (new messages get 5.03), tell observers, close. Twice is once."""
        site, self._site = self._site, None
        endpoint, self._endpoint = self._endpoint, None
        if site is not None:
            await site.drain()
        if endpoint is not None:
            await endpoint.context.shutdown()

    def publish(self, path: str, payload: bytes) -> None:
        """Make a Result the newest of its path, for GET and for observers.

        Args:
            path: `edge/v1/{site}/{device}/result/{model}`.
            payload: the Result in JSON.
        """
        self._results.publish(path, payload)

    def _fresh(self) -> Results:
        return Results(max_results=self._limits.max_results, max_observers=self._limits.max_observers)
