"""Frames parse or are refused, and never take more than was said; what went in comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import REASONS, Refused
from bridge.messages import Observation, Skip
from bridge.wire.data import decode_data
from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation, encode_observation
from bridge.wire.zstd import MAGIC, RATIO, _kept_compressor, compress, expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.messages import Rows
    from bridge.wire.arrays import Packing

MOST = 4_096
ROWS = st.tuples(st.integers(1, 40), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-(2.0**100), 2.0**100, width=32))
)
CONTENT = st.binary(min_size=1, max_size=600) | st.builds(
    lambda part, times: part * times, st.binary(min_size=1), st.integers(1, 500)
)
FRAMES = CONTENT.map(compress)


def outcome(decode: Callable[[], object]) -> object:
    """What it gives, or the refusal; anything else fails the test."""
    try:
        return decode()
    except Refused as why:
        refused = why
    assert refused.reason in REASONS
    assert refused.detail
    return refused


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(FRAMES))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return MAGIC + bytes(data[4 : draw(st.integers(4, len(data) + 4))]) + draw(st.binary(max_size=2))


@settings(deadline=None)
@given(damaged() | st.binary(max_size=60).map(lambda rest: MAGIC + rest))
@example(MAGIC)
def test_bytes_are_unpacked_within_the_limits_or_refused(frame: bytes) -> None:
    content = outcome(lambda: expand(frame, most=MOST))
    if isinstance(content, bytes):
        assert len(content) <= min(MOST, RATIO * len(frame))


@settings(deadline=None)
@given(damaged(), st.sampled_from(Format))
def test_there_is_no_third_outcome_for_a_message(frame: bytes, form: Format) -> None:
    said = outcome(lambda: decode_data(frame, form, most=MOST))
    assert isinstance(said, Observation | Skip | Refused)


@settings(deadline=None)
@given(CONTENT)
def test_content_comes_back(content: bytes) -> None:
    frame = compress(content)
    assert frame == content or (expand(frame) == content and len(frame) < len(content))


@settings(deadline=None)
@given(st.lists(CONTENT, min_size=2, max_size=4))
def test_what_was_packed_before_changes_nothing(contents: list[bytes]) -> None:
    frames = [compress(content) for content in contents]
    _kept_compressor.cache_clear()
    for content, frame in zip(reversed(contents), reversed(frames), strict=True):
        assert compress(content) == frame


@settings(deadline=None)
@given(ROWS, st.sampled_from(Format), st.sampled_from(["float32", "float16", "int8", "int4"]))
def test_zstd_changes_no_number(values: Rows, form: Format, packing: Packing) -> None:
    sent = Observation(values, seq=7, epoch="e", t=1.7e9, dt=0.02, lane="backlog", receipt=True, live_from=9)
    seen = [
        decode_observation(encode_observation(sent, form, packing=packing, zstd=zstd), form) for zstd in (False, True)
    ]
    assert seen[0].values.tobytes() == seen[1].values.tobytes()
    names = ("seq", "epoch", "t", "dt", "lane", "receipt", "live_from")
    assert all(getattr(seen[0], name) == getattr(seen[1], name) == getattr(sent, name) for name in names)
