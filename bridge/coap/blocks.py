"""Block-wise transfer (RFC 7959) without I/O: `Assembler` joins Block1, `cut` divides for Block2.

aiocoap would assemble a body of any size before a resource sees it; here a body is refused as soon as it passes the
limit, and what strangers leave unfinished is bounded in number, in bytes and in age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from bridge.coap.bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Hashable

LARGEST = 6
"""Largest size exponent: blocks of 1,024 bytes; 7 is reserved on UDP."""


class Block(NamedTuple):
    """A Block1 or Block2 option.

    Attributes:
        number: of the block, from 0.
        more: whether further blocks follow.
        exponent: 0…6, for blocks of 16…1,024 bytes.
    """

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes of a full block."""
        return 16 << self.exponent

    @property
    def offset(self) -> int:
        """Where in the body the block begins, in bytes."""
        return self.number * self.size


class More(NamedTuple):
    """The block was taken and more must come: 2.31 Continue."""


class Whole(NamedTuple):
    """The body is complete."""

    body: bytes


class Refusal(NamedTuple):
    """The block was not taken and what was assembled is gone: 4.00, 4.08 or 4.13."""

    code: Literal["malformed", "incomplete", "too_large"]
    detail: str


Outcome: TypeAlias = More | Whole | Refusal


class _Assembly(NamedTuple):
    body: bytearray
    content_format: int | None


class Assembler:
    """Joins the blocks of many bodies at once."""

    def __init__(
        self, *, max_body: int, max_assemblies: int = 64, max_bytes: int = 2**24, max_age_s: float = 60
    ) -> None:
        """Set the bounds.

        Args:
            max_body: longest body in bytes.
            max_assemblies: most bodies under way; the one idle for longest gives way.
            max_bytes: most bytes of all of them together (at least one body's worth).
            max_age_s: seconds without a block after which a body is given up.
        """
        self._max_body = max_body
        self._under_way: Bounded[Hashable, _Assembly] = Bounded(
            entries=max_assemblies, size=max(max_bytes, max_body), age=max_age_s
        )

    @property
    def held(self) -> tuple[int, int]:
        """Bodies under way, and their bytes."""
        return len(self._under_way), self._under_way.size

    def feed(
        self,
        key: Hashable,
        block: Block,
        payload: bytes,
        now: float,
        *,
        size1: int | None = None,
        content_format: int | None = None,
    ) -> Outcome:
        """Take one block.

        A block that repeats the end of what is already there is answered again and not added: a sender may have
        missed our answer.

        Args:
            key: whose body it is: peer, method, path, query and Request-Tag.
            block: the Block1 option.
            payload: the block's bytes.
            now: monotonic seconds.
            size1: the Size1 option, the length the sender announces.
            content_format: the Content-Format option, which all blocks must share.

        Returns:
            What to answer; after `Whole` and `Refusal` the body is forgotten here.
        """
        refusal = self._flaw(block, payload, size1)
        if refusal is not None:
            self._under_way.drop(key)
            return refusal
        if block.number == 0:
            assembly = _Assembly(bytearray(), content_format)
        else:
            found = self._under_way.get(key, now)
            if found is None or found.content_format != content_format:
                self._under_way.drop(key)
                return Refusal("incomplete", f"block {block.number} came without the ones before it; start again")
            assembly = found
        return self._append(key, assembly, block, payload, now)

    def _append(self, key: Hashable, assembly: _Assembly, block: Block, payload: bytes, now: float) -> Outcome:
        body = assembly.body
        if block.offset != len(body):
            if block.more and body[block.offset :] == payload:
                return More()
            self._under_way.drop(key)
            return Refusal("incomplete", f"expected byte {len(body)}, got a block at {block.offset}; start again")
        body += payload
        if block.more:
            self._under_way.put(key, assembly, len(body), now)
            return More()
        self._under_way.drop(key)
        return Whole(bytes(body))

    def _flaw(self, block: Block, payload: bytes, size1: int | None) -> Refusal | None:
        if block.exponent > LARGEST:
            return Refusal("malformed", "Block1 size exponent 7 is reserved on UDP (RFC 7959 section 2.2)")
        if len(payload) > block.size or (block.more and len(payload) < block.size):
            return Refusal("malformed", f"a block of {len(payload)} bytes where Block1 says {block.size}")
        if max(size1 or 0, block.offset + len(payload)) > self._max_body:
            return Refusal("too_large", f"at most {self._max_body} bytes a message")
        return None


def cut(body: bytes, number: int, exponent: int) -> tuple[bytes, Block] | None:
    """One block of a body.

    Args:
        body: the whole representation.
        number: which block, from 0.
        exponent: size exponent asked for, 0…6.

    Returns:
        The bytes and their Block2 option; None if the body ends before that block.
    """
    offset = Block(number, more=False, exponent=exponent).offset
    end = offset + (16 << exponent)
    if offset >= len(body) and number > 0:
        return None
    return body[offset:end], Block(number, end < len(body), exponent)
