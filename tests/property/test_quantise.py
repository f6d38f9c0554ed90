"""Steps: nothing is clipped, the error is half a step of the scale as written, and what is written is short."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.messages import Observation, Rows
from bridge.wire.arrays import FLOAT32_LE, STEPS_END, Packing, encode_rows
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation, encode_observation
from bridge.wire.parse import parse
from bridge.wire.quantise import COARSEST, quantised

BITS: dict[Packing, int] = {"int8": 8, "int4": 4}
STEPS = st.sampled_from(list(BITS))
LARGEST = float(np.finfo(np.float32).max)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 4))
ROWS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-LARGEST, LARGEST, width=32)))
NEAR = st.tuples(ROWS, st.floats(-1e6, 1e6, width=32), st.floats(0, 2.0**-10, width=32)).map(
    lambda given: (given[1] + np.clip(given[0], -1e3, 1e3) * given[2]).astype(np.float32)
)
EXTREMES = (
    np.array([[-LARGEST], [LARGEST]], np.float32),
    np.array([[0.0], [1e-45]], np.float32),
    np.array([[LARGEST], [np.nextafter(np.float32(LARGEST), np.float32(0))]], np.float32),
    np.array([[1e-38, -1e-45, 0.0]], np.float32),
    np.array([[-3e38]], np.float32),
)


def written(values: Rows, packing: Packing) -> dict[str, list[float]]:
    payload = encode_observation(Observation(values), Format.CBOR, packing=packing)
    return {key: said for key, said in parse(payload, Format.CBOR).items() if key in {"scale", "zero"}}


@settings(deadline=None)
@given(ROWS | NEAR, STEPS)
@example(EXTREMES[0], "int8")
@example(EXTREMES[1], "int8")
@example(EXTREMES[2], "int8")
@example(EXTREMES[3], "int8")
@example(EXTREMES[4], "int8")
def test_every_number_comes_back_within_half_a_step(values: Rows, packing: Packing) -> None:
    payload = encode_observation(Observation(values), Format.CBOR, packing=packing)
    got = decode_observation(payload, Format.CBOR).values.astype(np.float64)
    half = np.array(written(values, packing).get("scale", 0.0)) / 2  # none: as float32
    of_float32 = np.abs(values).astype(np.float64) * 2.0**-22 + half * 2.0**-22 + 1e-44
    assert (np.abs(got - values) <= half + of_float32).all()


@settings(deadline=None)
@given(ROWS | NEAR, STEPS)
@example(EXTREMES[0], "int8")
@example(EXTREMES[2], "int8")
def test_nothing_is_clipped_or_wraps_round(values: Rows, packing: Packing) -> None:
    steps, scale, zero = quantised(values, BITS[packing])
    exact = np.rint(values / np.array(scale)) + np.array(zero, dtype=np.float64)
    assert (steps == exact).all()
    assert (np.abs(steps + 0.5) < 2 ** (BITS[packing] - 1)).all()


@settings(deadline=None)
@given(ROWS | NEAR, STEPS)
@example(EXTREMES[0], "int8")
@example(EXTREMES[1], "int8")
def test_scales_are_short_and_hardly_larger_than_needed(values: Rows, packing: Packing) -> None:
    sent = written(values, packing)
    wide = values.astype(np.float64)
    low, high = wide.min(axis=0), wide.max(axis=0)
    assert bool(sent) == bool(np.abs(values).max() < STEPS_END)
    for scale, zero, needed in zip(
        sent.get("scale", []), sent.get("zero", []), (high - low) / (2 ** BITS[packing] - 2), strict=False
    ):
        assert float(np.float32(scale)) == scale
        assert isinstance(zero, int)
        assert scale >= needed
        assert needed == 0 or scale <= needed * COARSEST + 2.0**-149


@settings(deadline=None)
@given(ROWS, STEPS)
def test_a_channel_that_never_changes_is_exact(values: Rows, packing: Packing) -> None:
    still = np.repeat(values[:1], len(values), axis=0)
    payload = encode_observation(Observation(still), Format.CBOR, packing=packing)
    assert np.array_equal(decode_observation(payload, Format.CBOR).values, still)


def test_scales_of_common_signals_take_three_bytes_each() -> None:
    values = np.random.default_rng(1).normal(size=(10, 6)).astype(np.float32)
    payload = encode_observation(Observation(values), Format.CBOR, packing="int8")
    assert payload.count(b"\xf9", payload.index(b"scale"), payload.index(b"zero")) == 6
    assert b"\xfb" not in payload[payload.index(b"scale") : payload.index(b"zero")]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, STEPS_END, -STEPS_END])
@pytest.mark.parametrize("packing", BITS)
def test_what_steps_cannot_bring_back_goes_as_float32(number: float, packing: Packing) -> None:
    values = np.array([[0.0, 1.0], [0.5, number]], dtype=np.float32)
    with pytest.raises(OverflowError, match="are not all below"):
        quantised(values, BITS[packing], STEPS_END)
    array, beside = encode_rows(values, packing)
    assert array.value[1].tag == FLOAT32_LE
    assert array.value[1].value == values.tobytes()
    assert not beside
