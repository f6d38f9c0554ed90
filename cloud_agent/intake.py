"""From a delivery to a task, or to the words that refuse it: strict, since anyone on the broker may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge import topics
from bridge.errors import Refused
from bridge.messages import Rows
from bridge.mqtt.messages import Delivery
from bridge.wire.offload import decode_question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.topics import EscalateTopic
    from bridge.wire.offload import Question
    from cloud_agent.engines.port import Served

# How `Reply.error` begins, beside the contract's reasons; a colon and the detail follow.
TOO_LATE = "too late"  # an answer no longer helps
STOPPING = "stopping"  # this agent goes away: ask again, another one may be there
ENGINE_FAILED = "engine failed"


class Task(msgspec.Struct, frozen=True, eq=False):
    """A question that was taken.

    Attributes:
        delivery: what it came in, to be acknowledged once the reply is out.
        reply_to: topic to reply to.
        id: the window's id.
        model: model asked.
        values: float32, of the shape the model takes.
        deadline: monotonic seconds at which an answer no longer helps.
    """

    delivery: Delivery
    reply_to: str
    id: str
    model: str
    values: Rows
    deadline: float


def reply_topic(delivery: Delivery) -> str | None:
    """Where to reply to; None if nowhere: only `edge/v1/_reply/…` is, so that nobody can make us publish elsewhere."""
    topic = delivery.response_topic
    if topic is None or not topic.startswith(f"{topics.REPLY_ROOT}/") or not topics.safe_reply(topic):
        return None
    return topic


def admit(delivery: Delivery, reply_to: str, served: Mapping[str, Served], *, now: float, longest: float) -> Task:
    """Check a question as far as can be without running it.

    Args:
        delivery: as it came.
        reply_to: from `reply_topic`.
        served: the engine's models.
        now: monotonic seconds.
        longest: seconds that it may wait, whatever it says.

    Raises:
        Refused: with a reason of the contract; `no_route` for a model that is not served here.
    """
    question = decode_question(delivery.payload)
    _check(question, topics.parse_escalate(delivery.topic), served)
    deadline = now + min(question.patience, longest)
    return Task(delivery, reply_to, question.id, question.model, question.values, deadline)


def _check(question: Question, asked: EscalateTopic | None, served: Mapping[str, Served]) -> None:
    if asked is None or question.model != asked.model:
        raise Refused("malformed", f"model: {question.model[:64]!r} asked on the topic of {asked and asked.model!r}")
    model = served.get(question.model)
    if model is None:
        raise Refused("no_route", f"no model {question.model[:64]!r} here, only {', '.join(map(repr, served))}")
    if question.values.shape != (model.rows, model.channels):
        rows, channels = question.values.shape
        raise Refused(
            "shape", f"{question.model} takes windows of {model.rows} × {model.channels}, not {rows} × {channels}"
        )
