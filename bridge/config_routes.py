"""Settings of the bridge that say where whose rows go, and where they are answered: `[[routes]]`, `[[overrides]]`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge import topics
from bridge.pipeline.routes import highest_slot
from bridge.settings import InvalidKey
from bridge.wire.foreign import Decoding

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Place = Literal["cascade", "bridge", "cloud"]


class RouteSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[routes]]`.

    Attributes:
        stream: stream that the route takes; "*" takes every stream no other route names. With `filter` the name given
            to the foreign stream, where `{n}` stands for the n-th wildcard.
        model: model to ask.
        windows: "rows": the rows of all messages form one series; "whole": one message is one window.
        place: "cascade": the bridge, and the cloud where the bridge is unsure, and the cloud worth its price and likely
            to answer in time; "bridge" or "cloud": always there. Where a slow model's lanes are so full that the bridge
            would answer a window of rows too late, the cloud is asked instead, unless this is "bridge".
        deadline: seconds after a window's last row within which it is to be answered.
        below: escalate below this probability: where cloud and bridge are equally good to the route's owner; left out:
            what the model's manifest says.
        late: "refuse": a live whole window, sent without asking for a receipt, whose deadline passes while it waits for
            a slow model is refused with `stale`; "answer": it is answered all the same.
        order: "strict": first Results of a stream's lane come in the order of its windows: one the bridge is sure of
            waits for those before it that the cloud is asked about, at most until their deadline; "free": each comes as
            soon as it is known.
        provisional: where the bridge is unsure and the cloud will hardly answer by the deadline, but within the grace,
            it answers at once, with a provisional Result; a final one follows when the cloud has answered, or confirms
            it when it did not. For `place = "cascade"` only. `_infer` gets one Result in any case.
        grace: seconds after the deadline within which that final one comes.
        price: what a window sent up costs, in right answers: 0.1 sends it where ten such windows give one more right
            answer at least; for `place = "cascade"`.
        private: channels of the model that never leave the gateway; of `_infer`, those of all routes of its model.
        private_rule: "refuse": the windows of the route never leave; "mask": they leave with these channels' means of
            the training data in their place.
        filter: topic filter of foreign devices.
        site: site of foreign devices, may hold `{n}`.
        device: device name of foreign devices, may hold `{n}`.
        decode: how a foreign payload is read; left out: it is an Observation.
    """

    stream: str
    model: str
    windows: Literal["rows", "whole"] = "rows"
    place: Place = "cascade"
    deadline: Seconds = 2.0
    below: Share | None = None
    late: Literal["refuse", "answer"] = "refuse"
    order: Literal["strict", "free"] = "strict"
    provisional: bool = False
    grace: Seconds = 10.0
    price: Share = 0.0
    private: tuple[str, ...] = ()
    private_rule: Literal["refuse", "mask"] = "refuse"
    filter: str | None = None
    site: str = "local"
    device: str | None = None
    decode: Decoding | None = None

    def __post_init__(self) -> None:
        if self.provisional and self.place != "cascade":
            raise InvalidKey("provisional", f'place = "{self.place}" has one tier answer: there is nothing to revise')
        if self.private and self.private_rule == "refuse" and self.place == "cloud":
            raise InvalidKey("private", 'place = "cloud" sends every window up: give private_rule = "mask"')
        if self.filter is None:
            if self.device is not None or self.decode is not None:
                raise InvalidKey("device" if self.device is not None else "decode", "needs `filter`")
            if self.stream != "*" and not topics.is_name(self.stream):
                raise InvalidKey("stream", f"{self.stream!r} is not a name, nor *")
            return
        self._check_filter(self.filter)

    def _check_filter(self, text: str) -> None:
        if not topics.is_filter(text):
            raise InvalidKey("filter", f"{text!r} is not a topic filter")
        for reserved in topics.RESERVED_FILTERS:
            if topics.overlaps(text, reserved):
                raise InvalidKey(
                    "filter", f"{text!r} overlaps {reserved!r}, which the bridge itself uses: it would loop"
                )
        if self.device is None:
            raise InvalidKey("device", "missing; say which device a foreign topic belongs to, for example {1}")
        wildcards = sum(level in {"+", "#"} for level in text.split("/"))
        for key, template in (("site", self.site), ("device", self.device), ("stream", self.stream)):
            if highest_slot(template) > wildcards or "{0}" in template:
                raise InvalidKey(key, f"{template!r}: the filter has {wildcards} wildcards, counted from {{1}}")
            if not topics.is_name(re.sub(r"\{\d+\}", "x", template)):
                raise InvalidKey(key, f"{template!r} does not make a name")


class OverrideSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[overrides]]`: what is otherwise for some devices or models. The first section that fits counts, and it alone.

    Attributes:
        device: pattern of device names, such as "wrist-*"; the askers of `_infer` are called "_infer".
        model: pattern of models.
        place: as in the route.
        below: as in the route.
        price: as in the route.
        deadline: as in the route.
        provisional: as in the route; nothing for a route whose `place` is not "cascade".
    """

    device: str = "*"
    model: str = "*"
    place: Place | None = None
    below: Share | None = None
    price: Share | None = None
    deadline: Seconds | None = None
    provisional: bool | None = None

    def __post_init__(self) -> None:
        if not self.device or not self.model:
            raise InvalidKey("model" if self.device else "device", 'empty; leave it out, or give "*", for all')
        if all(value is None for value in (self.place, self.below, self.price, self.deadline, self.provisional)):
            raise InvalidKey("device", "changes nothing; give place, below, price, deadline or provisional")
        if self.provisional and self.place not in {None, "cascade"}:
            raise InvalidKey("provisional", f'place = "{self.place}" has one tier answer: there is nothing to revise')
