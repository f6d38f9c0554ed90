"""Zstandard around a message (RFC 8878), with trained dictionaries: messages are small, and much alike. Pure.

A frame begins with `MAGIC`, which no JSON object and no CBOR map does, so it needs no label of its own; what is inside
tells by its first byte whether it is JSON or CBOR, as an unlabelled message does.

The dictionaries are trained by `python -m models.activity.dictionary` and shipped in this package: one for CBOR, one
for JSON. Each has a number, which every frame says, so that a later one can stand beside them. A frame made without a
dictionary is taken too.

Nothing is unpacked on trust. A frame says how large its content is (the RFC leaves that open); what is beyond `most`
bytes, or more than `RATIO` times the frame, is refused before a byte of it is unpacked, and the decoder is given no
more room than was said.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files

from bridge.errors import Refused

if sys.version_info >= (3, 14):  # pragma: no cover # on that Python
    from compression import zstd as library
else:
    from backports import zstd as library

__all__ = [
    "CBOR",
    "JSON",
    "KNOWN",
    "MAGIC",
    "MOST",
    "RATIO",
    "compress",
    "dictionary",
    "dictionary_file",
    "expand",
    "library",
    "unpacked_size",
]

MAGIC = b"\x28\xb5\x2f\xfd"
CBOR, JSON = 1, 2  # numbers of the dictionaries
KNOWN = (CBOR, JSON)  # those that `expand` reads
MOST = 1_048_576  # bytes of the content, where the caller sets no limit
RATIO = 128  # of content to frame: 64 rows of zeros in JSON have 36; a message that has more leaves as it is
LEVEL = 9  # of 22: 6 µs for 140 bytes, as small as with more; level 3 takes 1 µs and 7 bytes more
LARGE = 16_384  # bytes; what is larger gets a compressor of its own, whose memory goes with it
_SMALLEST_WINDOW = 10  # bits; zstd knows no smaller one


def dictionary_file(number: int) -> str:
    """Name of a dictionary's file in this package."""
    return f"observations-{number}.zdict"


@cache
def dictionary(number: int) -> library.ZstdDict:
    """The dictionary of this number: `CBOR` or `JSON`."""
    return library.ZstdDict(files("bridge.wire").joinpath(dictionary_file(number)).read_bytes())


def compress(payload: bytes) -> bytes:
    """The payload in a frame; the payload itself where that is not larger, or where `expand` would refuse the frame.

    Args:
        payload: JSON or CBOR of a message; not empty.
    """
    number = JSON if payload[:1] == b"{" else CBOR
    compressor = _kept_compressor(number) if len(payload) <= LARGE else _compressor(number)
    frame = compressor.compress(payload, library.ZstdCompressor.FLUSH_FRAME)
    return frame if len(frame) < len(payload) <= RATIO * len(frame) else payload


def _compressor(number: int) -> library.ZstdCompressor:
    parameter = library.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: LEVEL, parameter.checksum_flag: 0}
    return library.ZstdCompressor(options=options, zstd_dict=dictionary(number))


_kept_compressor = cache(_compressor)  # its memory, zeroed by the system when new, costs four times the compressing


def expand(frame: bytes, *, most: int = MOST) -> bytes:
    """The content of a frame.

    Args:
        frame: untrusted bytes that begin with `MAGIC`.
        most: bytes of content that are taken.

    Raises:
        Refused: `malformed`; `too_large`; `unknown_format` for a dictionary that is not known here.
    """
    try:
        said = library.get_frame_info(frame)
    except library.ZstdError as why:
        raise Refused("malformed", f"not a zstd frame: {why}") from why
    size, number = said.decompressed_size, said.dictionary_id
    if size is None:
        raise Refused("malformed", "a zstd frame must say how large its content is")
    if size > most or size > RATIO * len(frame):
        raise Refused(
            "too_large", f"{size} bytes in a zstd frame of {len(frame)}; at most {most}, {RATIO} times as many"
        )
    if number not in {0, *KNOWN}:
        raise Refused("unknown_format", f"zstd dictionary {number} is not known here; there are {CBOR} and {JSON}")
    return _unpacked(frame, size, dictionary(number) if number else None)


def unpacked_size(payload: bytes) -> int:
    """Bytes that `expand` can have unpacked of a payload, at most; of one that is no frame its own."""
    return RATIO * len(payload) if payload.startswith(MAGIC) else len(payload)


def _unpacked(frame: bytes, size: int, known: library.ZstdDict | None) -> bytes:
    window = max(_SMALLEST_WINDOW, size.bit_length())
    options: dict[int, int] = {library.DecompressionParameter.window_log_max: window}
    decoder = library.ZstdDecompressor(zstd_dict=known, options=options)
    try:
        content = decoder.decompress(frame, max_length=size + 1)  # it sees the end only with room to spare
    except library.ZstdError as why:
        raise Refused("malformed", f"not a zstd frame: {why}") from why
    if not decoder.eof:
        raise Refused("malformed", "the zstd frame is cut off")
    if decoder.unused_data:
        raise Refused("malformed", f"{len(decoder.unused_data)} bytes after the zstd frame")
    return content
