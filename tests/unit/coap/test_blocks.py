from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.coap.blocks import Assembler, Block, More, Outcome, Refusal, Whole, cut

LIMIT = 10_000


def split(body: bytes, exponent: int) -> list[tuple[Block, bytes]]:
    size = 16 << exponent
    pieces = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    return [(Block(n, n < len(pieces) - 1, exponent), piece) for n, piece in enumerate(pieces)]


@given(st.binary(max_size=3000), st.integers(0, 6), st.data())
def test_any_split_of_any_body_comes_together(body: bytes, exponent: int, data: st.DataObject) -> None:
    assembler = Assembler(max_body=LIMIT)
    outcome: Outcome | None = None
    for block, piece in split(body, exponent):
        for _ in range(data.draw(st.integers(1, 2)) if block.more else 1):  # a block may come twice
            outcome = assembler.feed("k", block, piece, 0.0)
    assert outcome == Whole(body)
    assert assembler.held == (0, 0)


@given(st.binary(min_size=2, max_size=2000), st.integers(0, 6), st.integers(0, 6))
def test_a_sender_may_ask_for_smaller_blocks_on_the_way(body: bytes, large: int, small: int) -> None:
    if large < small:
        large, small = small, large
    assembler = Assembler(max_body=LIMIT)
    block, piece = split(body, large)[0]
    outcome = assembler.feed("k", block, piece, 0.0)
    for block, piece in split(body, small):
        if block.offset >= (16 << large):
            outcome = assembler.feed("k", block, piece, 0.0)
    assert outcome == Whole(body)


BLOCKS = st.tuples(st.integers(0, 2**20 - 1) | st.integers(0, 4), st.booleans(), st.integers(0, 7))
FED = st.tuples(
    st.integers(0, 6), BLOCKS, st.binary(max_size=64) | st.sampled_from([bytes(16), bytes(32), bytes(1024)]),
    st.none() | st.integers(0, 2**32 - 1), st.floats(0, 30),
)  # fmt: skip


@given(st.lists(FED, max_size=60))
def test_arbitrary_blocks_never_pass_a_bound(
    fed: list[tuple[int, tuple[int, bool, int], bytes, int | None, float]],
) -> None:
    assembler = Assembler(max_body=300, max_assemblies=3, max_bytes=500, max_age_s=60)
    now = 0.0
    for key, block, payload, size1, wait in fed:
        now += wait
        outcome = assembler.feed(key, Block(*block), payload, now, size1=size1)
        count, held = assembler.held
        assert count <= 3
        assert held <= 500
        if isinstance(outcome, Whole):
            assert len(outcome.body) <= 300


def test_a_body_without_an_end_is_refused_at_the_limit() -> None:
    assembler = Assembler(max_body=LIMIT)
    for number in range(LIMIT // 16):
        assert assembler.feed("k", Block(number, more=True, exponent=0), bytes(16), 0.0) == More()
    outcome = assembler.feed("k", Block(LIMIT // 16, more=True, exponent=0), bytes(16), 0.0)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "too_large"
    assert assembler.held == (0, 0)


@pytest.mark.parametrize(
    ("block", "payload", "size1", "code"),
    [
        (Block(0, more=True, exponent=0), bytes(15), None, "malformed"),
        (Block(0, more=True, exponent=0), bytes(17), None, "malformed"),
        (Block(0, more=False, exponent=0), bytes(17), None, "malformed"),
        (Block(0, more=True, exponent=7), bytes(1024), None, "malformed"),
        (Block(0, more=True, exponent=0), bytes(16), LIMIT + 1, "too_large"),
        (Block(2**20 - 1, more=True, exponent=6), bytes(1024), None, "too_large"),
        (Block(1, more=True, exponent=0), bytes(16), None, "incomplete"),
    ],
)
def test_refusals(block: Block, payload: bytes, size1: int | None, code: str) -> None:
    outcome = Assembler(max_body=LIMIT).feed("k", block, payload, 0.0, size1=size1)
    assert isinstance(outcome, Refusal)
    assert outcome.code == code
    assert outcome.detail


def test_a_gap_another_format_and_a_long_pause_end_the_body() -> None:
    def begun() -> Assembler:
        assembler = Assembler(max_body=LIMIT, max_age_s=60)
        assembler.feed("k", Block(0, more=True, exponent=0), bytes(16), 0.0, content_format=60)
        return assembler

    for number, form, now in [(2, 60, 1.0), (1, 50, 1.0), (1, 60, 61.0)]:
        assembler = begun()
        outcome = assembler.feed("k", Block(number, more=True, exponent=0), bytes(16), now, content_format=form)
        assert isinstance(outcome, Refusal)
        assert outcome.code == "incomplete"
        assert assembler.held == (0, 0)


def test_the_assembly_idle_for_longest_gives_way() -> None:
    assembler = Assembler(max_body=LIMIT, max_assemblies=2)
    first = Block(0, more=True, exponent=0)
    for now, key in enumerate("abc"):
        assembler.feed(key, first, bytes(16), now)
    assert isinstance(assembler.feed("a", Block(1, more=False, exponent=0), b"x", 4), Refusal)
    assert assembler.feed("b", Block(1, more=False, exponent=0), b"x", 4) == Whole(bytes(16) + b"x")


@given(st.binary(max_size=3000), st.integers(0, 6))
def test_cut_and_assemble_are_inverse(body: bytes, exponent: int) -> None:
    joined, number, more = b"", 0, True
    while more:
        piece = cut(body, number, exponent)
        assert piece is not None
        joined += piece[0]
        number, more = number + 1, piece[1].more
    assert joined == body
    assert cut(body, number, exponent) is None
