"""README's programs with the agent in them, run as they stand; only the network is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent import embedded
from edge_agent.fake import FakeUplink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bridge.messages import Rows

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"^<!-- tested: embedded -->\n```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
SETTINGS = '[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://h"\n[[streams]]\nname = "wrist"\nsource = "program"\n'
READINGS = 5


def readings() -> Iterator[Rows]:
    yield from np.arange(READINGS * 2 * 6, dtype=np.float32).reshape(READINGS, 2, 6)


async def sensor() -> AsyncIterator[Rows]:
    for rows in readings():
        yield rows


def test_both_programs_are_there() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("text", BLOCKS, ids=["asyncio", "thread"])
def test_it_runs_as_it_stands(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uplink = FakeUplink()
    monkeypatch.setattr(embedded, "make_uplink", lambda *_args, **_more: uplink)
    monkeypatch.chdir(tmp_path)
    Path("edge_agent.toml").write_text(SETTINGS)
    names: dict[str, Any] = {"sensor": sensor, "readings": readings}
    exec(compile(text, str(README), "exec"), names)  # noqa: S102 # our own
    found = {
        one.seq + i: row for _, one in uplink.sent for i, row in enumerate(one.values.tolist()) if one.seq is not None
    }
    assert [found[n] for n in sorted(found)] == np.arange(READINGS * 2 * 6).reshape(-1, 6).tolist()
