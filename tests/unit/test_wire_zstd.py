"""Frames of zstd: what is inside arrives; what is not to be trusted is refused before it is unpacked."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bridge.errors import Reason, Refused
from bridge.messages import Observation, Skip
from bridge.wire import zstd
from bridge.wire.data import decode_data, encode_skip
from bridge.wire.formats import Format, of_payload
from bridge.wire.observation import decode_observation, encode_observation
from bridge.wire.zstd import CBOR, JSON, MAGIC, RATIO, compress, expand, library
from models.activity.dictionary import CODINGS, MEASURED, observations, train

SENT = Observation(np.eye(3, 6, dtype=np.float32), seq=41, epoch="0a1b2c3d", t=1.79e9, dt=0.01, receipt=True)
PLAIN = encode_observation(SENT, Format.CBOR)
FRAME = compress(PLAIN)


def refusal(frame: bytes, most: int = zstd.MOST) -> tuple[Reason, str]:
    with pytest.raises(Refused) as caught:
        expand(frame, most=most)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("label", [*Format, None])
def test_what_is_inside_says_what_it_is_whatever_the_label_says(form: Format, label: Format | None) -> None:
    frame = encode_observation(SENT, form, zstd=True)
    assert frame.startswith(MAGIC)
    got = decode_observation(frame, label or of_payload(frame))
    assert (got.values.tolist(), got.seq, got.t) == (SENT.values.tolist(), 41, 1.79e9)
    assert decode_data(frame, label or of_payload(frame)).epoch == SENT.epoch


def test_a_skip_may_come_in_a_frame() -> None:
    skip = Skip([(n, n) for n in range(0, 100, 2)], "age", "e", receipt=True)
    frame = compress(encode_skip(skip, Format.JSON))
    assert frame.startswith(MAGIC)
    assert decode_data(frame, Format.CBOR) == skip


def test_what_would_not_be_smaller_or_not_be_taken_stays_as_it_is() -> None:
    assert compress(b"?") == b"?"
    alike = encode_observation(Observation(np.zeros((4_096, 6), np.float32)), Format.CBOR)
    assert compress(alike) == alike
    few = encode_observation(Observation(np.zeros((64, 6), np.float32)), Format.CBOR)
    assert expand(compress(few)) == few


def test_how_large_a_payload_can_get_is_known_before_it_is_unpacked() -> None:
    packed = library.compress(bytes(1_000))
    assert len(expand(packed)) <= zstd.unpacked_size(packed) == RATIO * len(packed)
    assert zstd.unpacked_size(PLAIN) == len(PLAIN)


def test_a_frame_names_its_dictionary_or_has_none() -> None:
    assert library.get_frame_info(FRAME).dictionary_id == CBOR
    assert library.get_frame_info(compress(encode_observation(SENT, Format.JSON))).dictionary_id == JSON
    assert expand(library.compress(PLAIN)) == PLAIN
    assert expand(library.compress(b"")) == b""


def test_a_frame_with_a_checksum_is_taken_and_checked() -> None:
    frame = library.compress(PLAIN, options={library.CompressionParameter.checksum_flag: 1})
    assert expand(frame) == PLAIN
    assert refusal(frame[:-1] + bytes([frame[-1] ^ 1]))[0] == "malformed"


def test_an_unknown_dictionary_is_an_unknown_format() -> None:
    other = library.ZstdDict(train(CBOR)[:4] + (77).to_bytes(4, "little") + train(CBOR)[8:])
    reason, detail = refusal(library.compress(PLAIN, zstd_dict=other))
    assert (reason, detail) == ("unknown_format", "zstd dictionary 77 is not known here; there are 1 and 2")


@pytest.mark.parametrize("cut", [4, 6, 9, len(FRAME) - 1])
def test_a_frame_cut_off_is_malformed(cut: int) -> None:
    assert refusal(FRAME[:cut])[0] == "malformed"


def test_bytes_after_the_frame_and_a_second_frame_are_malformed() -> None:
    assert refusal(FRAME + b"\0") == ("malformed", "1 bytes after the zstd frame")
    assert refusal(FRAME + FRAME) == ("malformed", f"{len(FRAME)} bytes after the zstd frame")


def test_what_says_that_it_is_too_large_is_not_unpacked() -> None:
    assert expand(FRAME, most=len(PLAIN)) == PLAIN
    reason, detail = refusal(FRAME, most=len(PLAIN) - 1)
    assert (reason, detail[: len(str(len(PLAIN)))]) == ("too_large", str(len(PLAIN)))
    claim = MAGIC + b"\xe0" + (2**60).to_bytes(8, "little")  # RFC 8878 section 3.1.1.1: eight bytes of content size
    assert refusal(claim + b"\x01\x00\x00", most=2**62)[0] == "too_large"


def test_a_bomb_is_refused_by_its_ratio() -> None:
    bomb = library.compress(bytes(200_000))
    assert len(bomb) * RATIO < 200_000
    assert refusal(bomb)[0] == "too_large"


def test_a_frame_that_does_not_say_its_size_is_malformed() -> None:
    frame = library.compress(PLAIN, options={library.CompressionParameter.content_size_flag: 0})
    assert refusal(frame) == ("malformed", "a zstd frame must say how large its content is")


def test_a_frame_that_holds_more_than_it_says_is_malformed() -> None:
    at = FRAME.index(len(PLAIN).to_bytes(1, "little"), 5)
    assert refusal(FRAME[:at] + bytes([len(PLAIN) - 1]) + FRAME[at + 1 :])[0] == "malformed"


def test_a_window_beyond_the_content_is_not_allocated() -> None:
    assert expand(_wide(10)) == expand(_wide(27)) == b"abc"  # whole frames need no window
    assert refusal(_wide(10)[:-1]) == ("malformed", "the zstd frame is cut off")
    assert "too much memory" in refusal(_wide(27)[:-1])[1]


def _wide(bits: int) -> bytes:
    """Three bytes in a raw block, with a window of so many bits (RFC 8878 sections 3.1.1.1.2 and 3.1.1.2)."""
    size = (3).to_bytes(4, "little")
    block = (1 | 3 << 3).to_bytes(3, "little")
    return MAGIC + b"\x80" + bytes([(bits - 10) << 3]) + size + block + b"abc"


@pytest.mark.parametrize(
    ("number", "digest"),
    [
        (CBOR, "ae919bedcd280d152adff6f33872fd938c6991a6147226ed68c49936ee1120e3"),
        (JSON, "d99fc1885b34c601015471747af422b67017daa9139a1090ed0d3dd059d72845"),
    ],
)
def test_a_number_stands_for_one_dictionary_for_ever(number: int, digest: str) -> None:
    """One trained anew needs a number of its own: agents and bridges in the field have this one."""
    shipped = zstd.dictionary(number).dict_content
    assert hashlib.sha256(shipped).hexdigest() == digest
    made = library.ZstdDict(train(number))
    assert (made.dict_id, len(made.dict_content)) == (number, len(shipped))


@pytest.mark.parametrize(
    ("coding", "share"), [("json", 0.5), ("float32", 0.95), ("float16", 0.9), ("int8", 0.8), ("int4", 0.7)]
)
def test_recorded_rows_take_so_much_of_what_they_took(coding: str, share: float) -> None:
    _, form, packing = next(one for one in CODINGS if one[0] == coding)
    made = observations(MEASURED, (10,), (6,), seed=7)
    some = [next(made) for _ in range(100)]
    plain, small = (
        sum(len(encode_observation(one, form, packing=packing, zstd=zstd)) for one in some) for zstd in (False, True)
    )
    assert small <= share * plain
