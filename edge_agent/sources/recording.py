"""Recorded files read in blocks, so that a recording of any length needs the memory of one block."""

from __future__ import annotations

import csv
import math
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from bridge.messages import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BLOCK = 1024  # rows


class Block(msgspec.Struct, frozen=True, eq=False):
    """Consecutive rows of a recording: float32 (rows, channels), maybe not finite; `t` of each, if the file tells."""

    values: Rows
    ts: NDArray[np.float64] | None


def read(path: Path, columns: Sequence[str] = ()) -> tuple[Iterator[Block], float | None]:
    """Blocks of a recording, and its rate if the file tells.

    Args:
        path: csv with a header and an optional column `t`, or npz with `values` and optionally `t`, `rate`.
        columns: csv columns to take, in this order; all but `t` if empty.

    Raises:
        ConfigError: the file cannot be used; also while reading on, naming the line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.suffix.lower() == ".csv":
        return _csv(path, columns), None
    if path.suffix.lower() == ".npz":
        if columns:
            raise ConfigError(f"{path}: an npz has no named columns; leave out columns")
        return _npz(path)
    raise ConfigError(f"{path}: must end with .csv or .npz")


def _csv(path: Path, columns: Sequence[str]) -> Iterator[Block]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            places, time = _places(path, header, columns)
            held: list[list[float]] = []
            for cells in lines:
                if cells:
                    held.append(_numbers(path, lines.line_num, header, cells, places))
                    if time and not math.isfinite(held[-1][-1]):
                        raise ConfigError(f"{path}:{lines.line_num}: column 't' is empty or not finite")
                if len(held) == BLOCK:
                    yield _block(held, time=time)
                    held = []
            if held:
                yield _block(held, time=time)
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise ConfigError(f"{path}: not a readable csv: {why}") from why


def _places(path: Path, header: list[str], columns: Sequence[str]) -> tuple[list[int], bool]:
    if not header or all(_is_number(name) for name in header):
        raise ConfigError(f"{path}:1: a csv needs a header line that names its columns")
    wanted = list(columns) or [name for name in header if name != "t"]
    for name in wanted:
        if name not in header:
            raise ConfigError(f"{path}:1: no column {name!r}; there are {', '.join(header)}")
    if not wanted:
        raise ConfigError(f"{path}:1: no column but t")
    time = "t" in header
    return [header.index(name) for name in ([*wanted, "t"] if time else wanted)], time


def _numbers(path: Path, line: int, header: list[str], cells: list[str], places: list[int]) -> list[float]:
    if len(cells) != len(header):
        raise ConfigError(f"{path}:{line}: {len(cells)} cells, the header has {len(header)}")
    try:
        return [float(cells[place] or "nan") for place in places]
    except ValueError as why:
        place = next(place for place in places if cells[place] and not _is_number(cells[place]))
        said = f"{path}:{line}: column {header[place]!r}: {cells[place][:40]!r} is no number"
        raise ConfigError(f"{said}; --columns (config: columns) takes some of them") from why


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _block(held: list[list[float]], *, time: bool) -> Block:
    table = np.array(held, dtype=np.float64)
    with np.errstate(over="ignore"):  # beyond float32 becomes ∞, which is left out and told like any other hole
        values = np.ascontiguousarray(table[:, :-1] if time else table, dtype=np.float32)
    return Block(values, np.ascontiguousarray(table[:, -1]) if time else None)


def _npz(path: Path) -> tuple[Iterator[Block], float | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            rate = float(file["rate"]) if "rate" in names else None
            ts = np.asarray(file["t"], dtype=np.float64) if "t" in names else None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as why:
        raise ConfigError(f"{path}: not a readable npz: {why}") from why
    if "values" not in names:
        raise ConfigError(f"{path}: no array `values`; there are {', '.join(names) or 'none'}")
    if rate is not None and not rate > 0:
        raise ConfigError(f"{path}: rate must be above 0, not {rate}")
    return _npz_blocks(path, ts), rate


def _npz_blocks(path: Path, ts: NDArray[np.float64] | None) -> Iterator[Block]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("values.npy") as file:
            shape, dtype = _npy_header(path, file)
            if ts is not None and (ts.shape != shape[:1] or not np.isfinite(ts).all()):
                raise ConfigError(f"{path}: t must be {shape[0]} finite numbers, one a row of values; it is {ts.shape}")
            channels = shape[1] if len(shape) == 2 else 1
            for start in range(0, shape[0], BLOCK):
                rows = min(BLOCK, shape[0] - start)
                size = rows * channels * dtype.itemsize
                data = file.read(size)
                if len(data) != size:
                    raise ConfigError(f"{path}: values ends after row {start}")
                with np.errstate(over="ignore"):
                    values = np.frombuffer(data, dtype=dtype).reshape(rows, channels).astype(np.float32)
                yield Block(values, None if ts is None else ts[start : start + rows])
    except (OSError, ValueError, zipfile.BadZipFile) as why:
        raise ConfigError(f"{path}: not a readable npz: {why}") from why


def _npy_header(path: Path, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if len(shape) not in {1, 2} or 0 in shape or dtype.kind not in "fiu":
        raise ConfigError(f"{path}: values must be rows × channels of numbers, not {shape} of {dtype}")
    if fortran and len(shape) == 2:
        raise ConfigError(f"{path}: values is in Fortran order; save np.ascontiguousarray(values)")
    return shape, dtype
