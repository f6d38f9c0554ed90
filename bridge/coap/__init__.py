"""CoAP (RFC 7252) on aiocoap: the bridge's server and the edge agent's client.

`messages` is what both sides speak; `server` and `client` are the two doors. Everything else serves one of them:

- without I/O: `bounded` (the one bounded container), `datagram` (what aiocoap must not be given), `blocks`
  (RFC 7959), `results` (newest Results and who observes them, RFC 7641), `core` (what is listed), `origin` (a URL);
- on aiocoap: `transport` (the server's socket, repetitions, back-pressure), `replies` (its messages from ours), `site`
  (the routes), `slot` (one context of the client and its one request).
"""
