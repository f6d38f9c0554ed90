"""Which event loop programs run on."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest

from bridge import loop


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_programs_run_on_uvloop_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert isinstance(loop.run(_loop()), uvloop.Loop)


def test_without_uvloop_asyncio_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "find_spec", lambda name: None if name == "uvloop" else importlib.util.find_spec(name))
    assert type(loop.run(_loop())).__module__.startswith("asyncio.")


def test_what_the_program_returns_or_raises_comes_out() -> None:
    async def fail() -> None:
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        loop.run(fail())
