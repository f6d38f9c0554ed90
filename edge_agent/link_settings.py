"""`[link]`: what the choice of the transport is to achieve, and what it may use."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bridge.settings import InvalidKey

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Pattern = Annotated[str, Meta(min_length=1)]
ENCODINGS = ("json", "float32", "float16", "int8", "int4")


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Freshness and fidelity that are wanted; profiles are named `coap-con/float16+zstd/8`: way, encoding, units."""

    freshness: Annotated[
        Seconds,
        Meta(description="Seconds from the commit of a row until it is safe at the bridge, for 95 % of the rows."),
    ] = 1.0
    pin: Annotated[Pattern, Meta(description="Pattern over profile names; only these are used.")] = "*"
    exclude: Annotated[list[Pattern], Meta(description="Patterns over profile names; none of these is used.")] = []
    budget: Annotated[Share, Meta(description="Accuracy an encoding may cost; the manifest's budget.accuracy.")] = 0.01
    fidelity: Annotated[
        dict[str, Share],
        Meta(
            description="Accuracy that encodings cost, with and without +zstd, by `inference-bridge models fidelity`."
        ),
    ] = {}
    hop: Annotated[int, Meta(ge=1, le=4096, description="Most rows a message: those from window to window.")] = 64
    burst: Annotated[
        int, Meta(ge=1, le=4096, description="Rows that the source hands over at once; messages hold multiples.")
    ] = 1

    def __post_init__(self) -> None:
        for name in self.fidelity:
            if name not in ENCODINGS:
                raise InvalidKey(f"fidelity.{name}", f"unknown encoding; there are {', '.join(ENCODINGS)}")
        if self.burst > self.hop:
            raise InvalidKey("burst", f"{self.burst} rows at once are more than a message may hold (hop, {self.hop})")


class Wishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a stream may declare for itself, in place of what `[link]` says; None: as there."""

    freshness: Annotated[Seconds | None, Meta(description="For this stream, in place of link.freshness.")] = None
    budget: Annotated[Share | None, Meta(description="For this stream, in place of link.budget.")] = None
    pin: Annotated[Pattern | None, Meta(description="For this stream, in place of link.pin.")] = None
    exclude: Annotated[list[Pattern] | None, Meta(description="For this stream, in place of link.exclude.")] = None

    @property
    def wishes(self) -> dict[str, Any]:
        """Those that are declared, by key."""
        every = {key: getattr(self, key) for key in Wishes.__struct_fields__}
        return {key: value for key, value in every.items() if value is not None}
