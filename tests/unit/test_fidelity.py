"""`models fidelity`: on the shipped model, and on an engine that notices everything."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.cli import main
from bridge.errors import ConfigError
from bridge.runtime import fidelity
from bridge.runtime.recordings import Recording

if TYPE_CHECKING:
    from bridge.runtime.port import Windows

MANIFEST = Catalog()["activity"]
RIGHT, WRONG = MANIFEST.output.labels[:2]
EXACT = np.float32(0.1)


def recordings(count: int) -> list[Recording]:
    values = np.full((128 + 64 * (count - 1), 6), EXACT)
    return [Recording(Path("a.npz"), RIGHT, values)]


def test_the_shipped_model_loses_less_than_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fidelity", "activity"]) == 0
    said = capsys.readouterr().out
    link = tomllib.loads(said[said.index("[link]") :])["link"]
    assert link["budget"] == 0.01
    assert list(link["fidelity"]) == ["json", "float16", "int8", "int4"]
    assert link["fidelity"]["json"] == 0
    assert all(cost <= 0.01 for cost in link["fidelity"].values())
    assert "above the budget" not in said


@pytest.mark.parametrize("rows", ["0", "4097"])
def test_rows_of_a_message_are_bounded(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fidelity", "activity", "--rows", rows]) == 2
    assert "--rows" in capsys.readouterr().err


def test_what_an_encoding_changes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(windows: Windows) -> Any:
        exact = (windows == EXACT).all(axis=(1, 2))
        return np.stack([exact, ~exact], axis=1).astype(np.float32)

    engine = SimpleNamespace(labels=MANIFEST.output.labels, run=run)
    monkeypatch.setattr(fidelity, "load", lambda *_: engine)
    found = {one.name: one for one in fidelity.measure(MANIFEST, MANIFEST.for_tier("bridge"), recordings(60), rows=64)}
    assert {name: one.cost for name, one in found.items() if not name.startswith("int")} == {
        "json": 0.0, "float32": 0.0, "float16": 1.0, "json+zstd": 0.0, "float32+zstd": 0.0, "float16+zstd": 1.0,
    }  # fmt: skip
    assert all(found[f"{name}+zstd"].row_bytes < found[name].row_bytes for name in ("float32", "float16", "int8"))
    assert (found["float16"].accuracy, found["float16"].agreement, found["float16"].windows) == (0.0, 0.0, 60)
    assert found["json"].row_bytes > found["float32"].row_bytes > found["float16"].row_bytes > found["int8"].row_bytes
    said = fidelity.render(list(found.values()), MANIFEST, rows=64)
    assert said.count("above the budget") >= 1
    assert "float16 = 1" in said


def test_too_few_windows_tell_nothing() -> None:
    with pytest.raises(ConfigError, match="49 windows to measure accuracy on, 50 are needed"):
        fidelity.measure(MANIFEST, MANIFEST.for_tier("bridge"), recordings(49), rows=64)
