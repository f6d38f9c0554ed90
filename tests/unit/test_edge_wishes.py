"""What streams of one agent declare for themselves, in place of what `[link]` says for all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.link import Estimator
from bridge.messages import Observation
from edge_agent import cli, config
from edge_agent.adaptive import AdaptiveUplink
from edge_agent.config import Agent, Settings, Stream
from edge_agent.link_settings import Link
from edge_agent.uplinks import make_uplink

if TYPE_CHECKING:
    from bridge.link import Profile

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(2)


def rows() -> Observation:
    values = RNG.normal(size=(8, 6)).astype(np.float32)
    return Observation(values, seq=0, epoch="e1", t=1.7e9, dt=0.02, receipt=True)


async def chosen(link: Link | None, *streams: Stream) -> list[Profile]:
    """What the uplink of such an agent chooses for each stream on a link of which it knows nothing yet."""
    agent = Agent(site="s", device="d", url="mqtt://h", coap="coap://h")
    uplink = make_uplink(
        Settings(agent=agent, streams=list(streams), link=link), client_id="x", keep_session=True, estimator=Estimator()
    )
    assert isinstance(uplink, AdaptiveUplink)
    found = []
    for choice in uplink._choices.values():
        choice.seen(rows())
        decision = choice.look(0.0, Estimator().estimate(0.0))
        assert decision is not None
        found.append(decision.profile)
    await uplink.close()
    return found


async def test_a_stream_that_can_wait_packs_more_than_one_that_cannot() -> None:
    hasty, patient, plain = await chosen(
        Link(freshness=0.5),
        Stream(name="hasty", source="replay", files=["a.csv"], freshness=0.1),
        Stream(name="patient", source="replay", files=["a.csv"], freshness=5.0),
        Stream(name="plain", source="stdin"),
    )
    assert hasty.rows < plain.rows < patient.rows == 64


async def test_a_stream_that_may_lose_something_is_written_smaller() -> None:
    exact, plain = await chosen(
        Link(budget=0.01, fidelity={"int8": 0.004, "float16": 0.001}, pin="coap-con/*/8"),
        Stream(name="exact", source="replay", files=["a.csv"], budget=0.0),
        Stream(name="plain", source="stdin"),
    )
    assert (exact.encoding.accuracy_cost, plain.encoding.accuracy_cost) == (0.0, 0.004)


async def test_a_stream_s_pin_and_exclusions_stand_in_place_of_the_link_s() -> None:
    pinned, left, free = await chosen(
        Link(pin="coap-con/float32/4", exclude=["mqtt-*"]),
        Stream(name="pinned", source="replay", files=["a.csv"], pin="mqtt-0/json/2", exclude=[]),
        Stream(name="left", source="replay", files=["a.csv"], pin="*/json/*", exclude=["coap-*", "*/2"]),
        Stream(name="free", source="stdin"),
    )
    assert (pinned.name, free.name) == ("mqtt-0/json/2", "coap-con/float32/4")
    assert left.name.startswith("mqtt-0/json/")
    assert left.rows != 2


async def test_a_stream_s_wishes_need_no_link_section_beside_a_second_way() -> None:
    (only,) = await chosen(None, Stream(name="wrist", source="stdin", pin="mqtt-0/json/2"))
    assert only.name == "mqtt-0/json/2"


def written(folder: Path, *, coap: bool, streams: str, link: str = "") -> Path:
    file = folder / "edge_agent.toml"
    second = 'coap = "coap://127.0.0.1:1"\n' if coap else ""
    file.write_text(
        f'[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://127.0.0.1:1"\n{second}'
        f'[[streams]]\nname = "a"\nsource = "stdin"\n'
        f'[[streams]]\nname = "b"\nsource = "replay"\nfiles = ["b.csv"]\n{streams}\n{link}\n'
    )
    return file


@pytest.mark.parametrize("wish", ["freshness = 1", "budget = 0.1", 'pin = "*"', "exclude = []"])
def test_a_wish_where_nothing_decides_is_an_error(tmp_path: Path, wish: str) -> None:
    file = written(tmp_path, coap=False, streams=wish)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    key = wish.split()[0]
    assert str(caught.value).startswith(f"{file}: streams[1].{key}: no effect where the link does not decide: add")
    assert config.load(written(tmp_path, coap=True, streams=wish)).streams[1].wishes.keys() == {key}
    assert config.load(written(tmp_path, coap=False, streams=wish, link="[link]")).streams[1].wishes.keys() == {key}


@pytest.mark.parametrize(
    ("streams", "link", "says"),
    [
        ("freshness = 0", "", "streams[1].freshness: Expected `float` > 0.0"),
        ("budget = 2", "", "streams[1].budget: Expected `float` <= 1.0"),
        ('pin = ""', "", "streams[1].pin: Expected `str` of length >= 1"),
        ("freshnes = 1", "", "streams[1].freshnes: unknown key; did you mean `freshness`?"),
        ('pin = "coap-con/floot16/8"', "", "streams[1].pin: no profile matches 'coap-con/floot16/8': ways are coap"),
        ('exclude = ["*"]', "", "streams[1].exclude: nothing is left of what pin '*' matches without ['*']: ways"),
        ("", '[link]\nexclude = ["coap-*", "mqtt-*"]', "link.exclude: nothing is left of what pin '*' matches"),
        ("", '[link]\npin = "mqtt-2/*"', "link.pin: no profile matches 'mqtt-2/*': ways"),
        ('pin = "mqtt-0/*"', '[link]\nexclude = ["mqtt-*"]', "link.exclude: nothing is left of what pin 'mqtt-0/*'"),
        (
            'pin = "*/int8/*"', "[link]\nbudget = 0.001\nfidelity.int8 = 0.004",
            "streams[1].pin: stream 'b': pin '*/int8/*' leaves int8 at best, which costs 0.004 of accuracy by link.fid",
        ),
        (
            "budget = 0.003", '[link]\npin = "*/int[48]*/*"\nfidelity = { int8 = 0.004, int4 = 0.005 }',
            "link.pin: stream 'b': pin '*/int[48]*/*' leaves int8 at best, which costs 0.004 of accuracy by link.fide",
        ),
        (
            'exclude = ["*/json*", "*/float32*"]', "[link]\nbudget = 0.0\nfidelity.int4 = 0.01",
            "streams[1].exclude: stream 'b': exclude ['*/json*', '*/float32*'] leaves int4 at best, which costs 0.01",
        ),
    ],
)  # fmt: skip
def test_a_mistake_ends_the_agent_with_file_key_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], streams: str, link: str, says: str
) -> None:
    file = written(tmp_path, coap=True, streams=streams, link=link)
    assert cli.main(["run", "--config", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"edge-agent: {file}: {says}")


async def test_an_exclusion_that_excludes_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    await chosen(
        Link(exclude=["nosuch*", "coap-non*"]),
        Stream(name="a", source="replay", files=["a.csv"], exclude=["mqtt-1/*/8", "mqtt-1/*/9"]),
        Stream(name="b", source="stdin"),
    )
    told = [line.partition(" excludes nothing")[0] for line in caplog.messages if "excludes nothing" in line]
    assert told == ["link.exclude: 'nosuch*'", "streams[0].exclude: 'mqtt-1/*/9'"]


def test_the_example_shows_every_key() -> None:
    text = (ROOT / "config" / "edge_agent.toml").read_text()
    shown = {line.removeprefix("# ").partition(" = ")[0] for line in text.splitlines() if " = " in line}
    for section in (Agent, Stream, Link):
        assert shown >= set(section.__struct_fields__), set(section.__struct_fields__) - shown
