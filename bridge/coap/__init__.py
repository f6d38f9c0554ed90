"""CoAP (RFC 7252) on aiocoap: the bridge's server and the edge agent's client.

`messages` is what both sides speak; `server` and `client` are the two doors. Everything else serves one of them:

- without I/O: `bounded` (the one bounded container), `datagram` (what aiocoap must not be given), `blocks`
  (Block1 and Block2, RFC 7959), `results` (newest Results and who observes them, RFC 7641);
- on aiocoap: `transport` (socket, duplicates, back-pressure), `replies` (its messages from ours), `site` (the routes).
"""
