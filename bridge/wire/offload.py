"""What bridge and cloud agent say to each other about a hard window: CBOR on both ways.

A question carries the window and how long an answer still helps; a reply carries the answer, how long it ran and how
long the queue behind it is, so that the bridge learns what asking costs.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cbor2
import msgspec

from bridge.errors import Refused
from bridge.messages import Rows
from bridge.wire.arrays import Packing, decode_rows, encode_rows
from bridge.wire.formats import Format
from bridge.wire.parse import finite, parse

_T = TypeVar("_T")


class Question(msgspec.Struct, frozen=True, eq=False):
    """A window that the bridge asks the cloud about.

    Attributes:
        id: the window's id; the reply repeats it.
        model: model asked.
        values: float32, shape (rows, channels).
        patience: seconds for which an answer still helps, counted from the sending.
    """

    id: str
    model: str
    values: Rows
    patience: float


class Reply(msgspec.Struct, frozen=True):
    """A cloud agent's reply.

    Attributes:
        id: the window's id.
        cloud: the agent that answered.
        label: most probable class; None when refused.
        score: its probability.
        version: model version that ran.
        variant: variant that ran.
        engine: execution provider that ran it.
        run_ms: milliseconds the batch took.
        batch: windows that ran together.
        queue: windows waiting behind it.
        error: why it was refused, in words.
    """

    id: str
    cloud: str
    label: str | None = None
    score: float | None = None
    version: str = ""
    variant: str = ""
    engine: str = ""
    run_ms: float = 0.0
    batch: int = 1
    queue: int = 0
    error: str | None = None


class _QuestionFields(msgspec.Struct):
    id: str
    model: str
    values: Any
    patience: float
    scale: Any = None
    zero: Any = None


def encode_question(question: Question, *, packing: Packing = "float32") -> bytes:
    """CBOR of a question."""
    array, beside = encode_rows(question.values, packing)
    fields = {"id": question.id, "model": question.model, "patience": question.patience}
    return cbor2.dumps({**fields, "values": array, **beside})


def decode_question(payload: bytes) -> Question:
    """The question that CBOR bytes encode; its patience may be any number, who takes it bounds it.

    Raises:
        Refused: with a reason of the contract.
    """
    fields = _convert(payload, _QuestionFields)
    values = decode_rows(fields.values, scale=fields.scale, zero=fields.zero)
    return Question(fields.id, fields.model, values, fields.patience)


def encode_reply(reply: Reply) -> bytes:
    """CBOR of a reply."""
    return cbor2.dumps({key: value for key, value in msgspec.structs.asdict(reply).items() if value is not None})


def decode_reply(payload: bytes) -> Reply:
    """The reply that CBOR bytes encode.

    Raises:
        Refused: with a reason of the contract.
    """
    return finite(_convert(payload, Reply))


def _convert(payload: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(parse(payload, Format.CBOR), kind)
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"not a {kind.__name__.strip('_')}: {why}") from why
