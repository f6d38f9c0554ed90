"""A tensor as the bytes of a question to the cloud would carry it: the wire's own arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cbor2
import numpy as np

from bridge.wire.arrays import MULTI_DIMENSIONAL, SINT8, decode_rows, encode_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.wire.arrays import Packing

PACKINGS: tuple[Packing, ...] = ("int8", "float16", "float32")  # the smallest first
_CENTRE = {"uint8": 128, "int8": 0}  # of uint8, so that its bytes fit sint8


def pack(tensor: NDArray[Any], packing: Packing, channels: int = 1) -> bytes:
    """CBOR of a tensor.

    Args:
        tensor: float32, packed as asked; uint8 or int8 are written as they are, without loss.
        packing: see `bridge.wire.arrays.encode_rows`.
        channels: how many of them the tensor's last axis holds; int8 has a scale for each. 1: one for all of it.
    """
    if tensor.dtype == np.float32:
        array, beside = encode_rows(tensor.reshape(-1, channels), packing)
    else:
        steps = (tensor.astype(np.int16) - _CENTRE[tensor.dtype.name]).astype("i1")
        array = cbor2.CBORTag(MULTI_DIMENSIONAL, [[tensor.size, 1], cbor2.CBORTag(SINT8, steps.tobytes())])
        beside = {"scale": 1.0, "zero": float(-_CENTRE[tensor.dtype.name])}
    return cbor2.dumps({"values": array, **beside})


def unpack(payload: bytes, like: NDArray[Any]) -> NDArray[Any]:
    """The tensor that was packed, of the type and shape of another."""
    fields = cbor2.loads(payload)
    values = decode_rows(fields["values"], scale=fields.get("scale"), zero=fields.get("zero"))
    return values.reshape(like.shape).astype(like.dtype, copy=False)
