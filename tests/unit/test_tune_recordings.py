"""Labelled recordings: read, cut, split, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.errors import ConfigError
from bridge.runtime.recordings import Recording, halves, read, windows

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest

HEAD = "file,subject,label,rows,windows\n"
CHANNELS = "acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"


@pytest.fixture
def manifest() -> Manifest:
    return Catalog()["activity"]


def table(folder: Path, *lines: str) -> Path:
    (folder / "recordings.csv").write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return folder


def test_the_sample_gives_the_windows_that_its_table_promises(manifest: Manifest) -> None:
    found = read(manifest.folder / "sample", manifest)
    cut, labels = windows(found, manifest)
    assert cut.shape == (1145, 128, 6)
    assert cut.dtype == np.float32
    assert len(labels) == 1145
    assert set(labels) == set(manifest.output.labels)


def test_half_calibrates_and_half_measures(manifest: Manifest) -> None:
    found = read(manifest.folder / "sample", manifest)
    first, second = halves(found)
    assert {one.file for one in first}.isdisjoint(one.file for one in second)
    assert len(first) + len(second) == len(found)
    assert {one.label for one in first} == {one.label for one in second} == set(manifest.output.labels)


def test_csv_by_the_channels_names(tmp_path: Path, manifest: Manifest) -> None:
    rows = "".join(f"{n / 50},5,4,3,2,1,{n}\n" for n in range(128))
    (tmp_path / "a.csv").write_text("t,gyro_z,gyro_y,gyro_x,acc_z,acc_y,acc_x\n" + rows)
    (one,) = read(table(tmp_path, "a.csv,1,pendulum,128,1"), manifest)
    assert one.values.shape == (128, 6)
    assert one.values[7].tolist() == [7, 1, 2, 3, 4, 5]


def test_short_recordings_give_no_window(tmp_path: Path, manifest: Manifest) -> None:
    short = Recording(tmp_path, "pendulum", np.zeros((127, 6), np.float32))
    cut, labels = windows([short], manifest)
    assert (cut.shape, labels) == ((0, 128, 6), [])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a.npz,1,dancing,128,1", "line 2: 'dancing' is none of activity's labels: pendulum"),
        ("a.npz,1,,128,1", "line 2: needs both a file and a label"),
        ("a.npz", "line 2: needs both a file and a label"),
        ("gone.npz,1,pendulum,128,1", "line 2: .*gone.npz cannot be read"),
        ("text.npz,1,pendulum,128,1", "line 2: .*text.npz cannot be read"),
        ("other.npz,1,pendulum,128,1", "line 2: .*other.npz cannot be read: .*values"),
        ("bad.csv,1,pendulum,128,1", "line 2: .*bad.csv cannot be read"),
        ("words.csv,1,pendulum,128,1", "line 2: .*words.csv cannot be read"),
        ("flat.npz,1,pendulum,128,1", r"shape \(128,\)"),
        ("nan.npz,1,pendulum,128,1", "finite"),
        ("short.npz,1,pendulum,5,0", "not one recording has the 128 rows"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(tmp_path: Path, manifest: Manifest, line: str, told: str) -> None:
    whole = np.zeros((128, 6), np.float32)
    np.savez(tmp_path / "a.npz", values=whole)
    np.savez(tmp_path / "other.npz", x=whole)
    np.savez(tmp_path / "flat.npz", values=whole[:, 0])
    np.savez(tmp_path / "nan.npz", values=whole * np.nan)
    np.savez(tmp_path / "short.npz", values=whole[:5])
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "bad.csv").write_text("acc_x\n1\n")
    (tmp_path / "words.csv").write_text(f"{CHANNELS}\n1,2,3,4,5,six\n")
    with pytest.raises(ConfigError, match=told):
        read(table(tmp_path, line), manifest)


def test_no_table_says_what_it_would_hold(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match=r"recordings\.csv: labelled recordings are needed .*file, subject, label"):
        read(tmp_path, manifest)
    with pytest.raises(ConfigError, match="not one recording"):
        read(table(tmp_path), manifest)
