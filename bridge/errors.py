"""One exception tree for the whole product.

::

    BridgeError
    ├── Refused              the peer erred: a message that cannot be taken, with a reason of the contract
    ├── ConfigError          the owner erred: a setting, named by file and key
    ├── ModelError           a model folder or graph cannot be used as its manifest says
    ├── LocalProtocolError   we erred: an operation our own state does not allow
    ├── RemoteProtocolError  the peer erred: bytes that are not the protocol
    ├── LinkError            nobody erred: the path or the peer is not there (yet)
    │   ├── ConnectionRefusedByPeer  the peer answered and said no, with a reason code
    │   └── TakenOver                another client uses our identity; coming back would fight it for ever
    └── StoreError           the disk or the database refused

The contract is `docs/protocol.md`.

Errors of third-party libraries are translated at the adapter that imports the library, and nowhere else.
"""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "malformed",
    "shape",
    "not_finite",
    "missing_key",
    "no_route",
    "too_large",
    "too_deep",
    "unknown_format",
    "stale",
    "overload",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class BridgeError(Exception):
    """Root of everything this product raises on purpose."""


class Refused(BridgeError):
    """A message that cannot be taken.

    Attributes:
        reason: one of the contract's reasons.
        detail: what was wrong and where, for a person.
        seq: row number the sender gave, where it could still be read.
    """

    def __init__(self, reason: Reason, detail: str, *, seq: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.seq = seq


class ConfigError(BridgeError):
    """A setting that cannot be used; the message names file, key and why."""


class ModelError(BridgeError):
    """A model folder, file or graph that is not what its manifest says."""


class LocalProtocolError(BridgeError):
    """We tried something the protocol's state does not allow: a bug of ours."""


class RemoteProtocolError(BridgeError):
    """The peer sent bytes that are not the protocol.

    Attributes:
        code: the MQTT 5 DISCONNECT reason code to answer with (section 3.14.2.1).
    """

    def __init__(self, detail: str, *, code: int = 0x82) -> None:
        super().__init__(detail)
        self.code = code


class LinkError(BridgeError):
    """The path or the peer is not there; trying again later may help."""


class ConnectionRefusedByPeer(LinkError):
    """The peer answered and refused.

    Attributes:
        code: the protocol's reason code.
    """

    def __init__(self, detail: str, *, code: int) -> None:
        super().__init__(detail)
        self.code = code


class TakenOver(LinkError):
    """Another client connected under our identity (MQTT 5 reason 0x8E)."""


class StoreError(BridgeError):
    """The disk or the database refused an operation."""
