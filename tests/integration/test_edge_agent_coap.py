# mypy: disable-error-code="import-untyped"
"""The agent over CoAP against a stand-in server on aiocoap: an answer is the receipt."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiocoap import (
    BAD_REQUEST,
    CHANGED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    SERVICE_UNAVAILABLE,
    UNSUPPORTED_CONTENT_FORMAT,
    Context,
    Message,
)
from aiocoap.resource import Resource, Site

from bridge.wire.formats import Format
from bridge.wire.observation import decode_observation
from tests.support.brokers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiocoap.numbers.codes import Code

ROOT = Path(__file__).resolve().parents[2]


class Data(Resource):  # type: ignore[misc] # aiocoap has no types
    """Takes rows; `codes` are given first, for the messages they name by first row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, list[float]] = {}
        self.codes: dict[int, list[Message]] = {}
        self.firsts: list[int] = []

    async def render_post(self, request: Message) -> Message:
        assert request.opt.content_format == 60
        observation = decode_observation(request.payload, Format.CBOR)
        assert observation.seq is not None
        self.firsts.append(observation.seq)
        if self.codes.get(observation.seq):
            return self.codes[observation.seq].pop(0)
        self.rows.update(enumerate(observation.values.tolist(), observation.seq))
        return Message(code=CHANGED)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Data, str]]:
    data, port = Data(), free_port()
    site = Site()
    site.add_resource(["edge", "v1", "plant-a", "d1", "data", "wrist"], data)
    context = await Context.create_server_context(site, bind=("127.0.0.1", port))
    yield data, f"coap://127.0.0.1:{port}"
    await context.shutdown()


async def replay(tmp_path: Path, url: str, *args: str) -> tuple[int, str, str]:
    np.savez(tmp_path / "a.npz", values=np.arange(1800.0).reshape(600, 3), rate=50.0)
    names = ("--device", "d1", "--stream", "wrist", "--url", url, "--speed", "0")
    command = [sys.executable, "-m", "edge_agent.cli", "replay", "a.npz", *names, *args]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 25)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_every_row_arrives_in_order(tmp_path: Path, server: tuple[Data, str]) -> None:
    data, url = server
    code, _, err = await replay(tmp_path, url, "--rows-per-message", "128")  # block-wise: above 1,024 bytes
    assert code == 0, err
    assert [row[0] for _, row in sorted(data.rows.items())] == [3.0 * i for i in range(600)]
    assert data.firsts == [0, 128, 256, 384, 512]


async def test_refused_is_dropped_and_overload_waits(tmp_path: Path, server: tuple[Data, str]) -> None:
    data, url = server
    busy = Message(code=SERVICE_UNAVAILABLE, max_age=1)
    data.codes = {100: [Message(code=BAD_REQUEST, payload=b"shape: 3 channels, not 6")], 200: [busy]}
    code, out, err = await replay(tmp_path, url, "--rows-per-message", "100")
    assert code == 1
    assert json.loads(out.removeprefix("replayed "))["refused"] == [[100, 199]]
    assert "shape: 3 channels" in err
    assert data.firsts == [0, 100, 200, 200, 300, 400, 500]


async def test_rows_without_a_route_wait_for_it(tmp_path: Path, server: tuple[Data, str]) -> None:
    data, url = server
    data.codes = {100: [Message(code=NOT_FOUND, payload=b"no_route: stream 'wrist' has no route")] * 2}
    code, _, err = await replay(tmp_path, url, "--rows-per-message", "100")
    assert code == 0, err
    assert err.count("stream wrist is not taken: no_route") == 1
    assert data.firsts == [0, 100, 100, 100, 200, 300, 400, 500]


@pytest.mark.parametrize("answer", [NOT_FOUND, BAD_REQUEST, UNSUPPORTED_CONTENT_FORMAT, METHOD_NOT_ALLOWED])
async def test_what_whoever_else_has_the_port_refuses_is_kept(
    tmp_path: Path, server: tuple[Data, str], answer: Code
) -> None:
    data, url = server
    data.codes = {100: [Message(code=answer, payload=b"no such resource"), Message(code=answer)]}
    code, _, err = await replay(tmp_path, url, "--rows-per-message", "100")
    assert code == 0, err
    assert sorted(data.rows) == list(range(600))
    assert err.count("whoever answered is no bridge, is the port right?") == 1


async def test_nobody_there(tmp_path: Path) -> None:
    code, out, err = await replay(tmp_path, f"coap://127.0.0.1:{free_port()}", "--timeout", "2")
    assert code == 1
    assert json.loads(out.removeprefix("replayed "))["missing"] == [[0, 599]]
    assert "missing: rows 0–599" in err
