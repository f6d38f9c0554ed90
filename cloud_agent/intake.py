"""From a delivery to tasks, or to the words that refuse them: strict, since anyone on the broker may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.messages import Rows
from bridge.mqtt.messages import Delivery
from bridge.wire.offload import BadQuestion, Question, decode_asking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloud_agent.engines.port import Served


class Ticket(msgspec.Struct, eq=False):
    """A delivery that waits for the end of each of its questions before it is acknowledged.

    Attributes:
        delivery: as it came.
        reply_to: topic to reply to: who asked.
        open: questions in it that have not come to their end.
    """

    delivery: Delivery
    reply_to: str
    open: int = 0


class Task(msgspec.Struct, frozen=True, eq=False):
    """A question that was taken.

    Attributes:
        ticket: of the delivery it came in.
        id: the window's id.
        model: model asked.
        values: float32, of the shape the model takes.
        came: monotonic seconds at which it came.
        deadline: monotonic seconds at which an answer no longer helps.
    """

    ticket: Ticket
    id: str
    model: str
    values: Rows
    came: float
    deadline: float


class Admitted(msgspec.Struct, frozen=True, eq=False):
    """What a delivery holds.

    Attributes:
        ticket: of the delivery; open for every question, good or bad.
        tasks: what can be computed.
        bad: id (empty where it could not be read) and why, of each question that cannot.
        cancel: ids of earlier questions of the same asker that need no reply any more.
    """

    ticket: Ticket
    tasks: list[Task]
    bad: list[tuple[str, Refused]]
    cancel: list[str]


def reply_topic(delivery: Delivery) -> str | None:
    """Where to reply to; None if nowhere: only `edge/v1/_reply/…` is, so that nobody can make us publish elsewhere."""
    topic = delivery.response_topic
    if topic is None or not topic.startswith(f"{topics.REPLY_ROOT}/") or not topics.safe_reply(topic):
        return None
    return topic


def admit(delivery: Delivery, reply_to: str, served: Mapping[str, Served], *, now: float, longest: float) -> Admitted:
    """Check questions as far as can be without running them.

    Args:
        delivery: as it came.
        reply_to: from `reply_topic`.
        served: the engine's models.
        now: monotonic seconds.
        longest: seconds that a question may wait, whatever it says.
    """
    asked: list[Question | BadQuestion]
    try:
        asked, cancel = decode_asking(delivery.payload)
    except Refused as refused:
        asked, cancel = [BadQuestion("", refused)], []
    ticket = Ticket(delivery, reply_to, len(asked))
    topic = topics.parse_escalate(delivery.topic)
    found = Admitted(ticket, [], [], cancel)
    for one in asked:
        why = one.why if isinstance(one, BadQuestion) else _wrong(one, topic and topic.model, served)
        if why is not None:
            found.bad.append((one.id, why))
        elif isinstance(one, Question):
            deadline = now + min(one.patience, longest)
            found.tasks.append(Task(ticket, one.id, one.model, one.values, now, deadline))
    return found


def _wrong(question: Question, asked: str | None, served: Mapping[str, Served]) -> Refused | None:
    if question.model != asked:
        return Refused("malformed", f"model: {question.model[:64]!r} asked on the topic of {asked!r}")
    model = served.get(question.model)
    if model is None:
        return Refused("no_route", f"no model {question.model[:64]!r} here, only {', '.join(map(repr, served))}")
    if question.values.shape != (model.rows, model.channels):
        rows, channels = question.values.shape
        return Refused(
            "shape", f"{question.model} takes windows of {model.rows} × {model.channels}, not {rows} × {channels}"
        )
    return None
