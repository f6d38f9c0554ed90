"""The agent without a network: sources, outbox, sender and a fake uplink."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.messages import Receipt
from bridge.settings import InvalidKey
from bridge.wire.formats import Format
from edge_agent import config
from edge_agent import replay as replaying
from edge_agent.adaptive import AdaptiveUplink
from edge_agent.app import App
from edge_agent.coap import CoapUplink
from edge_agent.config import Agent, Settings, Stream
from edge_agent.fake import FakeUplink
from edge_agent.link_settings import Link
from edge_agent.mqtt import MqttUplink
from edge_agent.uplink import SAFE, TAKEN, Outcome, Writing
from edge_agent.uplinks import make_uplink

if TYPE_CHECKING:
    from bridge.messages import Observation

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1000


def app(tmp_path: Path, uplink: FakeUplink, **stream: object) -> App:
    np.savez(tmp_path / "a.npz", values=np.arange(float(ROWS)), rate=50.0)
    agent = Agent(site="s", device="d", url="mqtt://x")
    made = Stream(name="wrist", source="replay", files=[str(tmp_path / "a.npz")], speed=0, **stream)  # type: ignore[arg-type] # the test's own keywords
    return App(agent, [made], store=tmp_path / "state" / "a.db", uplink=uplink)


def firsts(uplink: FakeUplink) -> list[float]:
    rows = {o.seq + i: row[0] for _, o in uplink.sent for i, row in enumerate(o.values.tolist()) if o.seq is not None}
    return [rows[number] for number in sorted(rows)]


async def test_all_rows_go_at_most_sixteen_messages_at_once(tmp_path: Path) -> None:
    uplink = FakeUplink()
    agent = app(tmp_path, uplink)
    await agent.run()
    assert firsts(uplink) == list(range(ROWS))
    assert uplink.most_under_way <= 16
    assert all(o.receipt and o.epoch.endswith(".0.a") for _, o in uplink.sent)


async def test_one_at_a_time_where_messages_overtake_each_other(tmp_path: Path) -> None:
    uplink = FakeUplink()
    uplink.in_order = True
    await app(tmp_path, uplink, rows_per_message=50).run()
    assert uplink.most_under_way == 1
    assert [o.seq for _, o in uplink.sent] == list(range(0, ROWS, 50))


async def test_unknown_outcomes_and_bad_times_are_tried_again(tmp_path: Path) -> None:
    asked: dict[int | None, int] = {}

    def answer(_: str, message: Observation) -> Outcome | None:
        asked[message.seq] = asked.get(message.seq, 0) + 1
        if message.seq == 100 and asked[100] == 1:
            return None
        return Outcome("wait", "overload", 0.01) if message.seq == 200 and asked[200] < 3 else SAFE

    uplink = FakeUplink(answer)
    await app(tmp_path, uplink, rows_per_message=100).run()
    assert (asked[100], asked[200], asked[300]) == (2, 3, 1)
    assert firsts(uplink) == list(range(ROWS))


async def test_a_status_is_weighed_against_what_came_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, int]] = []  # bytes of messages, and of the status

    class Weighing:
        def are(self, _facts: dict[str, Any], _now: float, *, sent: int) -> bool:
            heard.append((sent, 0))
            return True

        def told(self, size: int) -> None:
            heard[-1] = heard[-1][0], size

    monkeypatch.setattr("edge_agent.app.News", Weighing)
    monkeypatch.setattr("edge_agent.app.TELL", 0.0)
    failed: set[int | None] = set()

    def answer(_: str, message: Observation) -> Outcome | None:
        lost = message.seq == 100 and 100 not in failed
        failed.add(message.seq)
        return None if lost else SAFE

    uplink, passed = FakeUplink(answer), 0
    send = uplink.send

    async def weighed(stream: str, payload: bytes, form: Format, **how: Any) -> Outcome:
        nonlocal passed
        outcome = await send(stream, payload, form, **how)
        passed += len(payload)
        return outcome

    monkeypatch.setattr(uplink, "send", weighed)
    agent = app(tmp_path, uplink, rows_per_message=100)
    await agent.run()
    assert agent.sender.passed_bytes == passed > 4 * ROWS, "what is lost pays for nothing"
    assert [sent for sent, _ in heard] == sorted(sent for sent, _ in heard)
    assert all(size > len(b'{"streams":{}}') for _, size in heard)


async def test_too_large_messages_are_halved(tmp_path: Path) -> None:
    uplink = FakeUplink()
    uplink.most_bytes = 600
    await app(tmp_path, uplink, rows_per_message=500).run()
    assert firsts(uplink) == list(range(ROWS))
    assert max(len(o.values) for _, o in uplink.sent) == 125


async def test_rows_are_written_as_the_uplink_says(tmp_path: Path) -> None:
    uplink = FakeUplink()
    forms: list[Format] = []

    def answer(_stream: str, _message: Observation) -> Outcome:
        forms.append(uplink.forms[-1])
        uplink.now = Writing(Format.JSON, "float32", 100, 1.0)
        return SAFE

    uplink._answer = answer
    uplink.window = 1
    uplink.now = Writing(Format.CBOR, "int8", 40, 1.0)
    await app(tmp_path, uplink, rows_per_message=500).run()
    assert [len(o.values) for _, o in uplink.sent][:3] == [40, 60, 100]
    assert forms[0] is Format.CBOR
    assert set(forms[1:]) == {Format.JSON}
    assert [round(row) for row in firsts(uplink)] == list(range(ROWS))


async def test_refused_rows_are_dropped_and_the_rest_goes_on(tmp_path: Path) -> None:
    uplink = FakeUplink(lambda _, o: Outcome("refused", "no_route") if o.seq == 0 else SAFE)
    agent = app(tmp_path, uplink, rows_per_message=100)
    await agent.run()
    assert agent.sender.routes[0].refused == [(0, 99)]


async def test_a_replay_gives_up_where_only_what_was_given_up_is_not_receipted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uplink = FakeUplink(skipped=lambda _stream, _skip: TAKEN)
    monkeypatch.setattr(replaying, "make_uplink", lambda *_args, **_more: uplink)
    np.savez(tmp_path / "a.npz", values=np.array([1.0, np.nan, 3.0]))
    agent = Agent(site="s", device="d", url="mqtt://x", state=str(tmp_path / "state"))
    stream = Stream(name="wrist", source="replay", files=[str(tmp_path / "a.npz")], speed=0)
    settings = Settings(agent=agent, streams=[stream])
    report = await asyncio.wait_for(replaying.replay(settings, epoch="e", timeout=0.3), 10)
    assert report.missing == []
    assert report.stopped == "no receipt for 0 s for rows that were given up"
    assert not report.complete
    assert (tmp_path / "state" / "replay-s-d-wrist-e.db").exists()


async def test_a_receipt_for_another_numbering_frees_nothing(tmp_path: Path) -> None:
    uplink = FakeUplink(lambda _stream, _message: Outcome("taken"))
    agent = app(tmp_path, uplink)
    work = asyncio.create_task(agent.run())
    await uplink.until(40)
    listener = uplink.listener
    assert listener is not None
    listener.receipt("wrist", Receipt("another", [(0, 999)]))
    listener.receipt("ankle", Receipt(uplink.sent[0][1].epoch, [(0, 999)]))
    await asyncio.sleep(0.1)
    assert await agent.missing() == [(0, 999)]
    listener.receipt("wrist", Receipt(uplink.sent[0][1].epoch, [(0, 999)]))
    await asyncio.wait_for(work, 5)


async def test_a_cancelled_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    first = FakeUplink(lambda _, o: SAFE if o.seq is not None and o.seq < 500 else None)
    work = asyncio.create_task(app(tmp_path, first).run())
    await first.until(25)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    second = FakeUplink()
    await app(tmp_path, second).run()
    assert {o.epoch for _, o in second.sent} == {o.epoch for _, o in first.sent}
    assert firsts(second)[-1] == ROWS - 1
    assert sorted({*firsts(first), *firsts(second)}) == list(range(ROWS))


def test_the_example_and_the_contracts_smallest_config(tmp_path: Path) -> None:
    assert config.load(ROOT / "config" / "edge_agent.toml").agent.state == str(ROOT / "config" / "state")
    file = tmp_path / "edge_agent.toml"
    file.write_text(
        '[agent]\nsite = "plant-a"\ndevice = "wrist-8"\nurl = "mqtt://127.0.0.1:1883"\n'
        '[[streams]]\nname = "wrist"\nsource = "stdin"\nrate = 50\n'
    )
    assert config.load(file).streams[0].rate == 50


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('rate = "x"', "streams[0].rate: Expected `float | null`, got `str`"),
        ("rows_per_mesage = 3", "streams[0].rows_per_mesage: unknown key; did you mean `rows_per_message`?"),
        ('source = "replay"', "streams[0].files: missing"),
        ("rate = 5\n[agent.x]\n", "agent.x: unknown key"),
        ("rate = 5\n[link]\nfreshnes = 1", "link.freshnes: unknown key; did you mean `freshness`?"),
        ("rate = 5\n[link]\nburst = 65", "link.burst: 65 rows at once are more than a message may hold (hop, 64)"),
        ("rate = 5\n[link.fidelity]\nfloat8 = 0", "link.fidelity.float8: unknown encoding; there are json,"),
        ('exclude = [""]\n[link]', "streams[0].exclude[0]: Expected `str` of length >= 1"),
        ("rate = 5\n[link]\nfidelity = {float16 = 0, int8 = 2}", "link.fidelity.int8: Expected `float` <= 1.0"),
        ('encoding = "xml"', "streams[0].encoding: Invalid enum value 'xml'; there are cbor, json"),
        ('files = ["x.csv"]', 'streams[0].files: is of recordings: leave it out, or take source = "replay"'),
        ('columns = ["a"]', 'streams[0].columns: is of recordings: leave it out, or take source = "replay"'),
        ('packing = "int8"\nencoding = "json"', "streams[0].packing: only cbor is packed"),
        ('[[streams]]\nname = "wrist"\nsource = "stdin"', "streams[1].name: 'wrist' is there twice"),
        ('[[streams]]\nname = "ankle"\nsource = "stdin"', "streams[1].source: only one stream can read stdin"),
        ('[[streams]]\nname = "a/b"\nsource = "stdin"', "streams[1].name: 'a/b' is no name"),
    ],
)
def test_a_bad_config_names_file_key_and_why(tmp_path: Path, change: str, says: str) -> None:
    file = tmp_path / "edge_agent.toml"
    source = "" if change.startswith("source") else 'source = "stdin"\n'
    file.write_text(
        f'[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://h"\n[[streams]]\nname = "wrist"\n{source}{change}\n'
    )
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert str(caught.value).startswith(f"{file}: {says}")


def test_what_the_example_says_of_the_link_can_be_used(tmp_path: Path) -> None:
    example = (ROOT / "config" / "edge_agent.toml").read_text()
    link = "\n".join(line.removeprefix("# ") for line in example[example.index("# [link]") :].splitlines())
    file = tmp_path / "edge_agent.toml"
    file.write_text(
        '[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://h"\ncoap = "coap://h"\n'
        f'[[streams]]\nname = "wrist"\nsource = "stdin"\n{link}\n'
    )
    assert config.load(file).link == Link(
        exclude=["coap-non*"], fidelity={"float16": 0.0, "int8": 0.0018, "int4": 0.0044}
    )


@pytest.mark.parametrize(
    ("url", "coap", "says"),
    [
        ("mqtt://h", "mqtt://h", "agent.coap: is the second way"),
        ("coap://h", "coap://h", "agent.coap: is the second way"),
        ("mqtt://h", "coap://h/x", "agent.coap: nothing may follow the port"),
        ("mqtt://h/hunter2", "coap://h", "agent.url: nothing may follow the port"),
        ("mqtt://h:hunter2", "coap://h", "agent.url: must be mqtt://host"),
        ("mqtt://me:hunter2/3@h", "coap://h", "agent.url: must not hold credentials"),
        ("mqtt://me:1/hunter2@h", "coap://h", "agent.url: must not hold credentials"),
        ("mqtt://h", "coap://me:[hunter2@h", "agent.coap: must not hold credentials"),
    ],
)
def test_a_second_way_is_coap_and_no_url_is_repeated(tmp_path: Path, url: str, coap: str, says: str) -> None:
    file = tmp_path / "edge_agent.toml"
    file.write_text(
        f'[agent]\nsite = "s"\ndevice = "d"\nurl = "{url}"\ncoap = "{coap}"\n'
        '[[streams]]\nname = "wrist"\nsource = "stdin"\n'
    )
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("more", [{"ca": "ca.pem"}, {"cert": "c.pem", "key": "k.pem"}])
@pytest.mark.parametrize("scheme", ["mqtt", "coap"])
def test_certificates_need_tls(scheme: str, more: dict[str, str]) -> None:
    with pytest.raises(InvalidKey, match=rf"url: {scheme}:// has no TLS; take mqtts://"):
        Agent(site="s", device="d", url=f"{scheme}://h", **more)  # type: ignore[arg-type] # none of these is a number
    assert Agent(site="s", device="d", url="mqtts://h", **more).window == 16  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agent", "link", "kind"),
    [
        ({}, None, MqttUplink),
        ({"url": "coap://h"}, None, CoapUplink),
        ({"coap": "coap://h"}, None, AdaptiveUplink),
        ({}, Link(), AdaptiveUplink),
        ({"url": "coap://h"}, Link(), AdaptiveUplink),
    ],
)
async def test_the_link_decides_where_there_is_something_to_decide(
    agent: dict[str, Any], link: Link | None, kind: type
) -> None:
    settings = Settings(
        agent=Agent(**{"site": "s", "device": "d", "url": "mqtt://h", **agent}),
        streams=[Stream(name="wrist", source="stdin")],
        link=link,
    )
    uplink = make_uplink(settings, client_id="x", keep_session=True)
    assert isinstance(uplink, kind)
    await uplink.close()


def test_pins_that_leave_nothing_are_told_at_the_start() -> None:
    settings = Settings(
        agent=Agent(site="s", device="d", url="mqtt://h"),
        streams=[Stream(name="wrist", source="stdin")],
        link=Link(pin="coap-*"),
    )
    with pytest.raises(ConfigError, match="no profile matches"):
        make_uplink(settings, client_id="x", keep_session=True)


@pytest.mark.parametrize("kind", [Settings, Agent, Stream, Link])
def test_every_setting_is_documented(kind: type) -> None:
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined] # these are structs
        described = field.type
        assert isinstance(described, msgspec.inspect.Metadata) or "Meta" in str(kind.__annotations__[field.name]), field
