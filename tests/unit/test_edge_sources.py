from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError
from edge_agent.sources.lines import LONGEST, LineParser, Lines
from edge_agent.sources.recording import read
from edge_agent.sources.replay import Replay, named

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.sampler import Chunk


async def taken(source: Replay | Lines) -> list[Chunk]:
    ticks = itertools.count(1000.0, 0.01)
    return [chunk async for chunk in source.chunks(lambda: 5e8, lambda: next(ticks))]


def joined(chunks: list[Chunk]) -> list[float]:
    return [float(v) for chunk in chunks for v in chunk.values[:, 0]]


def test_csv_takes_columns_in_order_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("\ufeffa, t ,b\n1,0.0,2\n\n3,0.5,4\n")
    blocks, rate = read(file, ["b", "a"])
    (block,) = blocks
    assert rate is None
    assert block.values.tolist() == [[2, 1], [4, 3]]
    assert block.ts is not None
    assert block.ts.tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros(3)}, "no array `values`; there are x"),
        ({"values": np.zeros((2, 3, 4))}, "must be rows × channels"),
        ({"values": np.zeros((0, 3))}, "must be rows × channels"),
        ({"values": np.array([["a"]])}, "must be rows × channels"),
        ({"values": np.asfortranarray(np.ones((3, 2)))}, "Fortran"),
        ({"values": np.zeros((3, 2)), "t": np.zeros(2)}, "t must be 3 finite numbers"),
        ({"values": np.zeros((3, 2)), "t": np.array([0, np.nan, 1])}, "t must be 3 finite numbers"),
        ({"values": np.zeros((3, 2)), "rate": 0}, "rate must be above 0"),
        ({"values": np.array([[{}]], dtype=object)}, "must be rows × channels"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError, match=says):
        list(read(tmp_path / "a.npz")[0])


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_in_blocks(tmp_path: Path, compressed: bool) -> None:
    values = np.arange(2500, dtype=np.float64)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", values=values, rate=100)
    blocks, rate = read(tmp_path / "a.npz")
    found = list(blocks)
    assert rate == 100
    assert [len(block.values) for block in found] == [1024, 1024, 452]
    assert np.array_equal(np.concatenate([block.values for block in found])[:, 0], values.astype(np.float32))


async def test_replay_stamps_from_now_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.arange(3000.0), rate=50.0)
    chunks = await taken(Replay(tmp_path / "a.npz", speed=0, start=1500))
    assert joined(chunks) == list(range(1500, 3000))
    assert chunks[0].t == 5e8
    assert chunks[1].t == pytest.approx(5e8 + (2048 - 1500) / 50)
    assert {chunk.dt for chunk in chunks} == {0.02}
    assert await taken(Replay(tmp_path / "a.npz", speed=0, start=3000)) == []


async def test_replay_in_time_leaves_holes_and_keeps_a_clock(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("t,a\n" + "".join(f"{1.7e9 + i * 0.01},{i if i % 4 else ''}\n" for i in range(40)))
    chunks = await taken(Replay(file, speed=100))
    assert joined(chunks) == [i for i in range(40) if i % 4]
    assert [chunk.skip for chunk in chunks if chunk.skip] == [1] * 10
    assert chunks[0].t == 1.7e9 + 0.01
    assert chunks[0].dt == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [1.7e12, 1e11, -2e9])
async def test_a_recording_with_times_that_no_bridge_takes_is_refused(tmp_path: Path, bad: float) -> None:
    np.savez(tmp_path / "a.npz", values=np.arange(3000.0), t=np.append(1.7e9 + np.arange(2999.0), bad))
    source = Replay(tmp_path / "a.npz", speed=0).chunks(lambda: 5e8, lambda: 0.0)
    with pytest.raises(ConfigError, match=r"a\.npz: row 2999: t must be seconds.*divided by 1000"):
        [chunk async for chunk in source]


def test_epochs_of_files_are_the_same_after_a_restart(tmp_path: Path) -> None:
    files = [tmp_path / "a.csv", tmp_path / "b ö.npz", tmp_path / "a.csv"]
    epochs = [epoch for _, epoch in named(files, "12ab")]
    assert epochs == ["12ab.0.a", "12ab.1.b__", "12ab.2.a"]


def test_lines_in_any_pieces() -> None:
    data = b'[1, 2]\n{"values": [3.5, 4], "t": 7, "more": 1}\n\n[5,6]'
    for size in (1, 3, 1000):
        parser = LineParser("stdin", pytest.fail)
        rows = [row for i in range(0, len(data), size) for row in parser.feed(data[i : i + size])]
        assert rows + parser.end() == [([1, 2], None), ([3.5, 4], 7), ([5, 6], None)]


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"[1]",
        b"[]",
        b"[1, null]",
        b"[NaN, 1]",
        b"[1e39, 1]",
        b"{}",
        b"3",
        b"\xff",
        b'{"values": 3}',
        b"[" * 50_000,
        b'{"values": [1, 1], "t": 1.7e12}',
        b'{"values": [1, 1], "t": 1e11}',
        b'{"values": [1, 1], "t": -0.5}',
        b'{"values": [1, 1], "t": 1e400}',
    ],
)
def test_a_bad_line_is_told_and_the_next_is_taken(line: bytes) -> None:
    told: list[str] = []
    parser = LineParser("stdin", told.append)
    assert parser.feed(b"[0, 0]\n" + line + b"\n[1, 1]\n") == [([0, 0], None), ([1, 1], None)]
    assert len(told) == 1
    assert told[0].startswith("stdin: line 2: ")


def test_a_line_without_end_is_not_kept() -> None:
    told: list[str] = []
    parser = LineParser("stdin", told.append)
    for _ in range(40):
        assert parser.feed(b"1" * 65_536) == []
    assert parser.feed(b"1\n[1]\n") == [([1], None)]
    assert told == [f"stdin: line 1: longer than {LONGEST} bytes; skipped"]


async def test_lines_from_a_file_descriptor() -> None:
    out, into = os.pipe()
    os.write(into, b"[1]\n[2]\nbad\n[3]")
    os.close(into)
    chunks = await taken(Lines(out, "pipe", rate=50))
    os.close(out)
    assert joined(chunks) == [1, 2, 3]
    assert chunks[0].t == pytest.approx(5e8 - 0.02)
    assert chunks[0].dt == 0.02


async def test_rows_left_out_at_the_end_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "a.npz", values=np.array([[1.0], [2.0], [np.nan], [np.inf]]))
    assert joined(await taken(Replay(tmp_path / "a.npz", speed=0))) == [1.0, 2.0]
    assert "its last 2 rows are not finite" in caplog.text


async def test_a_recording_without_a_finite_row_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.full((3, 2), 1e300))
    with pytest.raises(ConfigError, match="none of its 3 rows is finite"):
        await taken(Replay(tmp_path / "a.npz", speed=0))


class LineByLine(LineParser):
    def _plain(self, _lines: list[bytes]) -> None:
        return None


LINES = [
    b"[1, 2]",
    b" [3,4]\r",
    b"[5, 6][7, 8]",
    b"[5, 6] [7, 8]",
    b"",
    b"[9,",
    b"10]",
    b"[11]",
    b"[1e39, 0]",
    b"[-1e39, 0]",
]


@given(st.lists(st.sampled_from([*LINES, b'{"values": [1, 2], "t": 3}', b"[]", b"[[1, 2]]", b"[NaN, 1]", b"[\xff]"])))
def test_lines_read_at_once_give_what_they_give_one_by_one(lines: list[bytes]) -> None:
    told: tuple[list[str], list[str]] = ([], [])
    parsers = LineParser("stdin", told[0].append), LineByLine("stdin", told[1].append)
    for data in (b"[1, 2]\n", b"".join(line + b"\n" for line in lines), b"bad\n"):
        found = [parser.feed(data) for parser in parsers]
        assert found[0] == found[1]
    assert told[0] == told[1]
