"""The ledger for people, as JSON, and what the command line says of times and places."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge import config
from bridge.errors import ConfigError
from bridge.ledger import command, report
from bridge.ledger.account import AgentStatus, Dropped, GivenUp, Page, Part, StreamAccount, Windows
from bridge.ledger.statement import Statement, state
from bridge.messages import SeriesKey
from bridge.topics import AgentTopic
from tests.support.ledger import GOOD, PART, agent

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_000.0
TABLE = """\
bridge gw-1: runs since 1970-01-01 00:00:50; answered, waiting and refused are counted from then on
bridge gw-2: does not answer
agent ward/w2: OFFLINE; last connected an unknown time, does not tell what it accepted until it is back

stream         epoch  accepted  safe  in flight  dropped  windows  answered  waiting  refused    seen  adds up
ward/pu/hum    b-1           –   128          –        0        1    1 (+2)        0        0       –      yes
ward/w1/wrist  e1         1050   900         50      100       10         7        2  1 shape  15 min      yes

stream       duplicates  late  refused  answered  waiting  without   seen  adds up
ward/w1/far           3     2  1 shape         5        0  1 stale  1 min      yes

dropped  ward/w1/wrist e1: rows 300–399 (age)

adds up: 2 series; of 1 no agent tells what it accepted
"""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def statement(**changed: Any) -> Statement:
    plain = msgspec.structs.replace(GOOD, key=SeriesKey("ward", "pu", "hum", "b-1"), given_up=[], given_up_rows=0,
                                    came=[(0, 127)], cut=1, ended=[(0, 0)], waiting=[], kept=None, seen=None,
                                    windows=Windows(1, 2, astray=[]))  # fmt: skip
    streams = [
        StreamAccount(
            "ward", "w1", "far", 3, {"stale": 2, "shape": 1}, Windows(5, refused={"stale": 1}, astray=[]), 940.0
        )
    ]
    page = Page("gw-1", NOW, 50.0, series=[msgspec.structs.replace(GOOD, **changed), plain], streams=streams)
    return state([page], {**agent(PART), AgentTopic("ward", "w2"): AgentStatus(online=False, t=1e300)}, silent=["gw-2"])


def test_a_table_for_people() -> None:
    assert report.as_text(statement(), NOW) == TABLE


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            AgentStatus(False, 60.0),
            "OFFLINE; last connected 1970-01-01 00:01:00, does not tell what it accepted until it is back",
        ),
        (AgentStatus(False, 60.0, {}), "OFFLINE since 1970-01-01 00:01:00"),
        (AgentStatus(True, 60.0), "online, said so 1970-01-01 00:01:00, does not tell what it accepted"),
    ],
    ids=["will", "goodbye", "another's"],
)
def test_when_an_agent_went_is_not_said_by_its_will(status: AgentStatus, said: str) -> None:
    found = state([Page("gw-1", NOW, 50.0)], {AgentTopic("ward", "w2"): status})
    assert f"\nagent ward/w2: {said}\n" in report.as_text(found, NOW)


def test_a_bridge_that_knows_more_than_the_agent_told() -> None:
    page = Page("gw-1", NOW, 50.0, series=[GOOD])
    said = report.as_text(state([page], agent(Part("e1", 500, [], [Dropped(300, 399, "age")]))), NOW)
    assert (
        "newer  ward/w1/wrist e1: 900 rows are safe, more than accepted: the agent told that at 1970-01-01 00:01:30"
        in said
    )


def test_rows_given_up_that_came_all_the_same() -> None:
    page = Page("gw-1", NOW, 50.0, series=[GOOD])
    told = Part("e1", 1_050, [(950, 1_049)], [Dropped(250, 399, "size")])
    assert "came     ward/w1/wrist e1: 50 of these rows all the same" in report.as_text(state([page], agent(told)), NOW)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("series", "(series: pushed out of the bridge's memory, last at 1970-01-01 00:15:00)"),
        ("forgotten", "(forgotten: the bridge's journal was lost)"),
        ("model", "(model: the bridge's model takes other channels since)"),
    ],
)
def test_why_rows_were_given_up(rule: str, said: str) -> None:
    one = msgspec.structs.replace(GOOD, given_up=[GivenUp(300, 399, rule)], pushed_out=900.0)
    told = report.as_text(state([Page("gw-1", NOW, 50.0, series=[one])], {}), NOW)
    assert f"dropped  ward/w1/wrist e1: rows 300–399 {said}" in told


def test_what_contradicts_is_told_last() -> None:
    assert report.as_text(statement(waiting=[(12, 12)]), NOW).endswith(
        "DOES NOT ADD UP:\n  ward/w1/wrist e1: answers (gw-1): rows 832–959: "
        "1 window cut, and neither answered, nor refused, nor on the way\n"
    )


def test_what_could_not_be_checked_is_told_once() -> None:
    stopped = msgspec.structs.replace(GOOD, windows=None, seen=None)
    other = msgspec.structs.replace(stopped, key=SeriesKey("ward", "w2", "wrist", "e1"))
    said = report.as_text(state([Page("gw-1", NOW, None, series=[stopped, other], forgotten=3)], {}), NOW)
    assert "bridge gw-1: stopped; this is what its state folder holds" in said
    assert "not checked, 2 ×  answers: the bridge does not run" in said
    assert "not checked: 3 streams, forgotten" in said
    assert "nothing contradicts; checked in full: 0 of 2" in said


def test_without_series_nothing_is_said_to_add_up_that_is_not_there() -> None:
    nothing = state([Page("gw-1", NOW, 50.0)], {})
    assert report.as_text(nothing, NOW).endswith("nothing is known of what was asked for\n")
    streams = [StreamAccount("ward", "w1", "whole")]
    assert report.as_text(state([Page("gw-1", NOW, 50.0, streams=streams)], {}), NOW).endswith(": 1 streams\n")


def test_two_bridges_have_a_row_each() -> None:
    pages = [Page(name, NOW, 50.0, series=[GOOD]) for name in ("gw-1", "gw-2")]
    rows = report.as_text(state(pages, {}), NOW).split("\n\n")[1].splitlines()
    assert len(rows) == 3
    assert rows[2].split() == ["10", "7", "2", "1", "shape"]


def test_json() -> None:
    found = json.loads(report.as_json(statement(waiting=[(12, 12)])))
    assert list(found) == ["adds_up", "problems", "bridges", "silent", "agents", "series", "streams", "forgotten"]
    assert (found["adds_up"], found["silent"]) == (False, ["gw-2"])
    line = found["series"][1]
    assert line["dropped"] == [[300, 399, "age"]]
    assert line["bridges"]["gw-1"]["refused"] == {"shape": 1}
    assert [check for check in line["checks"] if not check["holds"]] == [
        {
            "name": "answers", "holds": False, "rows": [[832, 959]], "bridge": "gw-1",
            "says": "1 window cut, and neither answered, nor refused, nor on the way",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "said"), [(None, "–"), (NOW, "0 s"), (NOW + 9, "0 s"), (NOW - 7_200, "2 h"), (NOW - 200_000, "2 d")]
)
def test_how_long_ago(seen: float | None, said: str) -> None:
    assert report._ago(seen, NOW) == said


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("90s", NOW - 90),
        ("10min", NOW - 600),
        ("1.5h", NOW - 5_400),
        ("1d", NOW - 86_400),
        ("500.5", 500.5),
        ("1970-01-01T00:10:00", 600.0),
        ("1970-01-01T00:10:00+00:05", 300.0),
    ],
)
def test_since(text: str, t: float) -> None:
    assert command.since_of(text, NOW) == t


@pytest.mark.parametrize("text", ["", "yesterday", "10 min", "10m", "nan", "inf", "2026-13-01"])
def test_not_a_time(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        command.since_of(text, NOW)


def options(**given: Any) -> argparse.Namespace:
    names = ("config", "url", "username", "password_file", "ca", "device", "since", "json")
    return argparse.Namespace(**{**dict.fromkeys(names), **given})


def test_where_it_asks(tmp_path: Path) -> None:
    (tmp_path / "embedded.toml").write_text('[bridge]\nid = "gw"\n[mqtt]\nlisten = "127.0.0.9"\nport5 = 9\n')
    (tmp_path / "broker.toml").write_text('[bridge]\nid = "gw"\n[mqtt]\nurl = "mqtt://b:9"\nusername = "gw"\n')
    (tmp_path / "password").write_text("secret\n")
    embedded, own = config.load(tmp_path / "embedded.toml"), config.load(tmp_path / "broker.toml")
    me = {"username": "operator", "password_file": tmp_path / "password"}
    asked = command._endpoint
    assert str(asked(options(), None, tmp_path)) == "mqtt://127.0.0.1:1883"
    assert str(asked(options(), *embedded)) == "mqtt://127.0.0.9:9"
    assert asked(options(), *own).username == "gw"
    mine = asked(options(**me), *own)
    assert (str(mine), mine.username, mine.password) == ("mqtt://b:9", "operator", b"secret")
    assert str(asked(options(url="mqtts://c"), *own)) == "mqtts://c:8883"
    with pytest.raises(ConfigError, match="--ca"):
        asked(options(url="mqtt://c", ca=tmp_path / "ca.pem"), None, tmp_path)
