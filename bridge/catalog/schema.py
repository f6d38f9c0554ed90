"""What `model.toml` may hold, key by key; a key that is not here is an error, not a silence."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge.messages import Tier

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]  # as in bridge.topics: it becomes a topic
Text = Annotated[str, Meta(min_length=1)]
Point = tuple[Share, Share]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[input]`: the windows the model is asked about.

    Attributes:
        name: the graph's input; float32, shape (batch, rows, channels).
        rows: rows of a window.
        hop: rows between the starts of two windows; at most `rows`.
        channels: name of each channel, in the order of the columns.
        units: unit of each channel as the device sends it.
        rate_hz: rows a second that the model was trained on.
    """

    name: Text
    rows: Count
    hop: Count
    channels: Annotated[tuple[Text, ...], Meta(min_length=1)]
    units: tuple[str, ...]
    rate_hz: Positive


class Normalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[normalisation]`: what is done to raw units; for information, since the graph does it.

    Attributes:
        applied: "graph": the graph takes raw units and normalises them itself.
        mean: mean of each channel, in its unit.
        std: standard deviation of each channel, in its unit.
    """

    applied: Literal["graph"]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[output]`: what the graph says of each window.

    Attributes:
        name: the graph's output; float32, shape (batch, labels).
        kind: "logits": any real numbers, softmax not yet applied.
        labels: the classes, in the order of the columns.
    """

    name: Text
    kind: Literal["logits"]
    labels: Annotated[tuple[Text, ...], Meta(min_length=2)]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[budget]`: what speed may cost.

    Attributes:
        accuracy: accuracy a faster variant may lose against the best one of its tier, 0…1.
    """

    accuracy: Share = 0.0


class Tiers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[tiers]`: which variant each tier runs.

    Attributes:
        bridge: variant that the gateway runs.
        cloud: variant that the cloud runs; left out when the model never leaves the gateway.
    """

    bridge: Name
    cloud: Name | None = None


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[variants]]`: one graph that answers for this model.

    Attributes:
        name: what the variant is called in tiers, settings and reports.
        file: its ONNX file, relative to the model's folder and inside it.
        sha256: SHA-256 of that file, 64 lower-case hexadecimal digits.
        bytes: size of that file in bytes.
        precision: of its weights and most of its arithmetic; says nothing of what is faster here.
        parameters: number of trained parameters.
        tier: the tier it was made for.
        accuracy: measured on held-out data, 0…1.
        macro_f1: mean F1 over the classes, measured on the same data, 0…1; None when not measured.
        temperature: logits are divided by it before softmax (Guo et al. 2017), so that scores are probabilities.
        escalates_to: variant to ask when this one is unsure; needs `below`.
        measure: what certainty is: "max", the highest probability after `temperature`; "margin", its lead over the
            second; "entropy", 1 less the normalised entropy. Windows are placed by "max" alone; the others are refused.
        below: unsure means that the certainty is below this, 0…1.
        escalation: points (certainty, share of windows that `escalates_to` gets right), both ascending: straight lines
            between them, beyond them the nearest; empty when not measured.
        target: what `below` was chosen for by `models calibrate`: "up<=0.2", at most that share of windows is sent up,
            or "cloud>=0.98", at least that share of the accuracy of `escalates_to`; None when chosen otherwise.
    """

    name: Name
    file: Text
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    bytes: Count
    precision: Literal["int8", "fp16", "fp32"]
    parameters: Count
    tier: Tier
    accuracy: Share
    macro_f1: Share | None = None
    temperature: Positive = 1.0
    escalates_to: Name | None = None
    measure: Literal["max", "margin", "entropy"] = "max"
    below: Share | None = None
    escalation: Annotated[tuple[Point, ...], Meta(max_length=64)] = ()
    target: Annotated[str, Meta(pattern=r"\A(up<=|cloud>=)(0(\.[0-9]+)?|1(\.0+)?)\Z")] | None = None


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `model.toml`.

    Attributes:
        schema: version of this format.
        name: what routes and topics call the model.
        version: version of the model, repeated in each Result.
        description: one sentence for a person.
        license: licence of weights and data.
        source: where the model comes from.
        input: see `Input`.
        normalisation: see `Normalisation`.
        output: see `Output`.
        budget: see `Budget`.
        tiers: see `Tiers`.
        fidelity: accuracy that the cloud's variant loses when windows are packed so for the way up, 0…1, as `models
            fidelity` measured it; packings that are not named are not known, float32 loses nothing.
        variants: see `Variant`; at least one.
    """

    schema: Literal[1]
    name: Name
    version: Text
    description: str
    license: str
    source: str
    input: Input
    normalisation: Normalisation | None = None
    output: Output
    budget: Budget = Budget()
    tiers: Tiers
    fidelity: dict[Literal["float16", "int8", "int4"], Share] = msgspec.field(default_factory=dict)
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
