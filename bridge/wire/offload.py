"""What bridge and cloud agent say to each other about hard windows: CBOR on both ways.

A question carries the window and how long an answer still helps; a reply carries the answer, how long it waited and
ran and how long the queue behind it is, so that the bridge learns what asking costs.

One message holds several of either::

    {"ask": [{"id", "model", "values", "patience", …}, …], "cancel": [id, …]}
    {"replies": [{"id", "cloud", "label", …}, …]}

or one of them bare, without the map around it. A message of several is bounded (`MOST`, `MAX_BYTES`, or less where the
broker takes less); a bare question is bounded by the connection's Maximum Packet Size alone, for a window cannot be
divided.

Questions may be in a zstd frame (`bridge.wire.zstd`), whose content has at most `MAX_BYTES`. That is for agents that
say in their status which dictionaries they know: an older one takes no frame.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import cbor2
import msgspec

from bridge.errors import Refused
from bridge.messages import Rows
from bridge.wire import zstd as zstandard
from bridge.wire.arrays import Packing, decode_rows, dump_cbor, encode_rows
from bridge.wire.formats import Format
from bridge.wire.joining import FRAME, divided, joined
from bridge.wire.parse import finite, parse

MOST = 64  # questions, ids to cancel, or replies in one message
MAX_BYTES = 262_144  # of a message that may hold several
LONGEST_ID = 256  # characters that a reply repeats

# How `Reply.error` begins, beside the contract's other reasons; a colon and the detail follow.
TOO_LATE = "too late"  # an answer no longer helps, or would no longer when it is there
OVERLOAD = "overload"  # too much waits at this agent
STOPPING = "stopping"  # this agent goes away: ask again, another one may be there
ENGINE_FAILED = "engine failed"

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


class BadQuestion(msgspec.Struct, frozen=True):
    """One question of a message that cannot be taken; those beside it can.

    Attributes:
        id: the window's id; empty where it could not be read.
        why: what was wrong.
    """

    id: str
    why: Refused


class Asking(msgspec.Struct, frozen=True, eq=False):
    """What one message asks of a cloud agent.

    Attributes:
        questions: to be answered.
        cancel: ids of earlier questions of the same asker, to be forgotten first: no reply is wanted any more.
    """

    questions: list[Question] = []
    cancel: list[str] = []


class Packed(msgspec.Struct, frozen=True, eq=False):
    """A message ready to be sent, and what is in it.

    Attributes:
        payload: CBOR, or a zstd frame around it.
        questions: the questions that it holds.
    """

    payload: bytes
    questions: tuple[Question, ...]


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
        wait_ms: milliseconds that it waited in the agent's queue before its batch began.
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
    wait_ms: float = 0.0


class _QuestionFields(msgspec.Struct):
    id: str
    model: str
    values: Any
    patience: float
    scale: Any = None
    zero: Any = None


def encode_question(question: Question, *, packing: Packing = "float32", zstd: bool = False) -> bytes:
    """CBOR of a bare question.

    Args:
        question: what to encode.
        packing: number type of its rows.
        zstd: in a frame, where that is smaller and the question is not larger than a message of several may be.
    """
    array, beside = encode_rows(question.values, packing)
    fields = {"id": question.id, "model": question.model, "patience": question.patience}
    return _framed(dump_cbor({**fields, "values": array, **beside}), zstd=zstd)


def _framed(payload: bytes, *, zstd: bool) -> bytes:
    return zstandard.compress(payload) if zstd and len(payload) <= MAX_BYTES else payload


def decode_question(payload: bytes) -> Question:
    """The bare question that CBOR bytes encode; its patience is finite and may be negative: who takes it bounds it.

    Raises:
        Refused: with a reason of the contract.
    """
    return _question(parse(payload, Format.CBOR))


def encode_asking(asking: Asking, *, packing: Packing = "float32") -> bytes:
    """CBOR of a message of several questions, be it only one.

    Raises:
        ValueError: it holds more than `MOST` or `MAX_BYTES`; `pack_asking` divides.
    """
    if max(len(asking.questions), len(asking.cancel)) > MOST:
        raise ValueError(f"{len(asking.questions)} questions, {len(asking.cancel)} ids to cancel: at most {MOST} each")
    payload = joined([encode_question(question, packing=packing) for question in asking.questions], asking.cancel)
    if len(payload) > MAX_BYTES:
        raise ValueError(f"{len(payload)} bytes in one message of questions: at most {MAX_BYTES}")
    return payload


def pack_asking(
    asking: Asking, *, packing: Packing = "float32", zstd: bool = False, most: int = MAX_BYTES
) -> list[Packed]:
    """As few messages as hold everything, in this order; none for nothing.

    What is cancelled comes first, in the same message where it fits. A question too large for company travels bare.

    Args:
        asking: what to pack.
        packing: number type of the rows.
        zstd: those with questions in frames, where that is smaller; bounds are of what is in them.
        most: bytes of a message that holds several; of what is above `MAX_BYTES` nothing is used.
    """
    *rest, cancel = [asking.cancel[i : i + MOST] for i in range(0, len(asking.cancel), MOST)] or [[]]
    messages = [Packed(joined([], some), ()) for some in rest]
    room = min(most, MAX_BYTES) - len(joined([], cancel)) - FRAME
    each = [(question, encode_question(question, packing=packing)) for question in asking.questions]
    for group in divided(each, room, MOST):
        encoded = [payload for _, payload in group]
        large = len(encoded[0]) > room
        if large and cancel:
            messages.append(Packed(joined([], cancel), ()))
            cancel = []
        payload = encoded[0] if large else joined(encoded, cancel)
        messages.append(Packed(_framed(payload, zstd=zstd), tuple(question for question, _ in group)))
        cancel = []
    return [*messages, Packed(joined([], cancel), ())] if cancel else messages


def decode_asking(payload: bytes) -> tuple[list[Question | BadQuestion], list[str]]:
    """The questions and the ids to cancel that CBOR bytes encode; a bare question is one, and nothing to cancel.

    Args:
        payload: CBOR, or a zstd frame around it.

    Raises:
        Refused: with a reason of the contract: nothing in it can be told apart, or it is over a bound.
    """
    if payload.startswith(zstandard.MAGIC):
        payload = zstandard.expand(payload, most=MAX_BYTES)
    fields = _map(payload)
    if "ask" not in fields and "cancel" not in fields:
        return [_judged(fields)], []
    ask = _several(payload, fields.get("ask", []), "ask")
    cancel = _several(payload, fields.get("cancel", []), "cancel")
    if not all(isinstance(name, str) and len(name) <= LONGEST_ID for name in cancel):
        raise Refused("malformed", f"cancel: ids are texts of at most {LONGEST_ID} characters")
    return [_judged(item) for item in ask], cancel


def encode_reply(reply: Reply) -> bytes:
    """CBOR of a bare reply."""
    return cbor2.dumps(_told(reply))


def decode_reply(payload: bytes) -> Reply:
    """The bare reply that CBOR bytes encode.

    Raises:
        Refused: with a reason of the contract.
    """
    return _reply(parse(payload, Format.CBOR))


def encode_replies(replies: list[Reply]) -> bytes:
    """CBOR of a message of replies; one alone is bare.

    Raises:
        ValueError: none, or more than `MOST`.
    """
    if not 1 <= len(replies) <= MOST:
        raise ValueError(f"{len(replies)} replies in one message: 1 to {MOST}")
    return encode_reply(replies[0]) if len(replies) == 1 else cbor2.dumps({"replies": [_told(one) for one in replies]})


def decode_replies(payload: bytes) -> list[Reply]:
    """The replies that CBOR bytes encode, or the bare one.

    Raises:
        Refused: with a reason of the contract.
    """
    fields = _map(payload)
    if "replies" not in fields:
        return [_reply(fields)]
    return [_reply(item) for item in _several(payload, fields["replies"], "replies")]


# ---- parts


def _map(payload: bytes) -> dict[Any, Any]:
    fields = parse(payload, Format.CBOR)
    if not isinstance(fields, dict):
        raise Refused("malformed", "a message between bridge and cloud agent is a map")
    return fields


def _several(payload: bytes, items: Any, name: str) -> list[Any]:
    if len(payload) > MAX_BYTES:
        raise Refused("too_large", f"{len(payload)} bytes in a message with `{name}`, which holds at most {MAX_BYTES}")
    if not isinstance(items, list):
        raise Refused("malformed", f"{name}: an array is expected")
    if len(items) > MOST:
        raise Refused("too_large", f"{name}: {len(items)} in one message, which holds at most {MOST}")
    return items


def _judged(fields: Any) -> Question | BadQuestion:
    try:
        return _question(fields)
    except Refused as why:
        name = fields.get("id") if isinstance(fields, dict) else None
        return BadQuestion(name if isinstance(name, str) and len(name) <= LONGEST_ID else "", why)


def _question(fields: Any) -> Question:
    found = _convert(fields, _QuestionFields)
    if len(found.id) > LONGEST_ID:
        raise Refused("malformed", f"id: longer than {LONGEST_ID} characters")
    if not math.isfinite(found.patience):
        raise Refused("malformed", "patience: not a finite number of seconds")
    values = decode_rows(found.values, scale=found.scale, zero=found.zero)
    return Question(found.id, found.model, values, found.patience)


def _told(reply: Reply) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(reply).items() if value is not None}


def _reply(fields: Any) -> Reply:
    return finite(_convert(fields, Reply))


def _convert(fields: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as why:
        raise Refused("malformed", f"not a {kind.__name__.strip('_').removesuffix('Fields')}: {why}") from why
