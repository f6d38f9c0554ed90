"""Tables, report.json and pictures of outcomes made by hand; what is asked on the command line."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from bridge.demo import drawing
from tests.netlab import __main__ as command
from tests.netlab import costs, report, rows, timeline
from tests.netlab.costs import Measured
from tests.netlab.lab import Look, Switch
from tests.netlab.outcomes import outcome
from tests.netlab.record import Return
from tests.netlab.results import Results
from tests.netlab.scenarios import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from tests.netlab.lab import Outcome

SVG = "{http://www.w3.org/2000/svg}"
WHY = "a → b: too late & < before"


def cells(table: Table, column: int) -> list[str]:
    return [str(cell) for cell in table.columns[column].cells]


def text_of(table: Table) -> str:
    console = Console(width=120)
    with console.capture() as said:
        console.print(table)
    return said.get()


def run(scenario: str, contestant: str, *, utility: float = 0.8, lost: int = 0) -> Outcome:
    told = contestant in ("ours", "oracle")
    return outcome(
        scenario, contestant, lost=lost, utility=utility, worst=[25.0, None, 9_000.0, 0.0],
        p95_by_second=[20.0, None, 90.0, None], bytes_by_second=[4_000, 4_100, 0, 900],
        utility_by_second=[0.8, -0.4, 0.1, 0.9], returns=[Return(2.0, 0.3, None if lost else 0.7)],
        looks=[Look(n / 2, 0.06, 0.1, 8e3 if n > 4 else None, outage=n == 3) for n in range(8)] if told else [],
        switches=[Switch(-0.1, "coap-con/int8/1", "first & best"), Switch(2.0, "mqtt-0/int8/2", WHY)] if told else [],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["lte", "fades", "outage-4", "lan"])
def test_the_picture_shows_link_contestants_estimates_and_reasons(name: str) -> None:
    drawn = timeline.picture(SCENARIOS[name], [run(name, by) for by in ("mqtt", "oracle", "ours")])
    root = ET.fromstring(drawn)  # noqa: S314 # we drew it
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert {"mqtt", "ours", "oracle", "round trip", "loss", "rate", "utility", "bytes", "ours 0.800"} <= set(texts)
    assert texts.index("ours") < texts.index("oracle") < texts.index("mqtt")
    titles = [node.text for node in root.iter(f"{SVG}title")]
    assert titles.count(f"2.0 s: mqtt-0/int8/2: {WHY}") == 2
    assert f"switch 1, 2.0 s: {WHY}" in texts
    believed = [node for node in root.iter(f"{SVG}path") if node.get("stroke") == timeline.BELIEVED]
    assert len(believed) == 3
    assert believed[0].get("d", "").count("M") == 2  # broken by the outage it believed in
    never = [node for node in root.iter(f"{SVG}path") if node.get("fill") == drawing.LOST]
    assert len(never) == 3


def test_all_that_is_drawn_lies_within_the_picture() -> None:
    drawn = timeline.picture(SCENARIOS["step"], [run("step", by, utility=-0.4) for by in ("ours", "coap")])
    root = ET.fromstring(drawn)  # noqa: S314 # we drew it
    high = float(root.get("height", "0"))
    assert all(0 < float(node.get("y", "0")) <= high for node in root.iter(f"{SVG}text"))
    assert all(0 <= float(node.get("y", "0")) <= high for node in root.iter(f"{SVG}rect"))


def test_many_switches_are_named_up_to_a_dozen() -> None:
    switches = [Switch(float(n), f"coap-con/int8/{n}", f"why {n}") for n in range(30)]
    drawn = timeline.picture(SCENARIOS["step"], [outcome("step", worst=[1.0] * 40, switches=switches)])
    assert "why 12</text>" in drawn
    assert "why 13</text>" not in drawn
    assert "… more in report.json" in drawn


def test_the_report_holds_rows_outcomes_and_pictures(tmp_path: Path) -> None:
    runs = [run("lte", "ours"), run("lte", "mqtt")]
    results, measured = Results(runs), Measured({"lan": 12.0})
    found = rows.judge(results, measured)
    report.save(tmp_path / "r", [SCENARIOS["lte"], SCENARIOS["lan"]], results, found, measured, {"date": "x"})
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["lte.svg", "report.json"]
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    verdicts = {one["name"]: one["verdict"] for one in told["rows"]}
    assert len(verdicts) == len(told["rows"]) == len(found)
    assert (verdicts["lost"], verdicts["loss-10-p98"]) == ("pass", "not judged")
    assert {one["contestant"] for one in told["outcomes"]} == {"ours", "mqtt"}
    assert "1 seed(s), 3000 messages" in told["enough"]


def test_an_infinite_figure_is_told_in_words(tmp_path: Path) -> None:
    results = Results([outcome("loss-10", latency=None), outcome("loss-10", "mqtt")])
    found = rows.judge(results, Measured())
    report.save(tmp_path, [], results, found, Measured(), {})
    told = {one["name"]: one for one in json.loads((tmp_path / "report.json").read_text())["rows"]}
    assert (told["loss-10-p98"]["figure"], told["loss-10-p98"]["verdict"]) == ("infinite", "short")
    assert told["loss-10-p98"]["raw"] == ["infinite"]


def test_tables() -> None:
    results = Results([run("lte", "ours", utility=0.7), run("lte", "oracle"), run("lte", "mqtt", lost=1)])
    assert cells(report.contest(results), 1) == ["ours", "oracle", "mqtt"]
    after = report.after_outages(results)
    assert after is not None
    assert cells(after, 2) == ["0.30"] * 3
    assert cells(after, 3) == ["0.70", "0.70", "never"]
    assert [cells(report.utilities(results), n) for n in range(1, 5)] == [["0.700"], ["0.800"], ["0.800"], ["0.875"]]
    switches = report.switches(results)
    assert cells(switches, 1) == ["coap-con/int8/1 2, mqtt-0/int8/2 2"]
    assert [cells(switches, n) for n in (2, 3, 4)] == [["1"], [str(len(SCENARIOS["lte"].stages) - 1)], ["0"]]


def test_what_is_short_or_has_no_figure_is_named() -> None:
    results = Results([outcome("lan", lost=1)])
    found = rows.judge(results, Measured())
    console = Console(width=200)
    with console.capture() as said:
        command.tell(console, results, found, {"contestants": {"ours": "what it is"}})
    told = said.get()
    assert "falls short: lost" in told
    assert "no figure: memory-agent, memory-bridge" in told
    assert "not judged: memory-agent: memory of the agent was not measured in lan" in told
    assert "not judged, since not run: loss-10-p98, loss-10-p99.9" in told
    assert "a look, no measurement: 1 seed(s)" in told
    assert "beyond it: lan" in text_of(report.verdicts(found))


def test_enough_is_three_seeds_of_three_thousand() -> None:
    assert report.enough(Results([outcome("lan", seed=n) for n in range(3)])) is None
    assert report.enough(Results([outcome("lan", seed=n, messages=2_999) for n in range(3)])) is not None
    assert report.enough(Results([outcome("lan", seed=n) for n in range(2)])) is not None


def test_the_oracle_runs_only_where_the_link_changes() -> None:
    asked = command.arguments(["clean", "lte"])
    assert asked.scenarios == ["lan", "lte"]
    assert "oracle" not in command.contestants(asked, "lan")
    assert "ours" in command.contestants(asked, "lan")
    assert command.contestants(command.arguments(["--contestants", "mqtt"]), "lte") == ["mqtt"]
    with pytest.raises(SystemExit):
        command.arguments(["nowhere"])


@pytest.mark.parametrize("option", ["--messages", "--seeds", "--parallel"])
@pytest.mark.parametrize("count", ["0", "-5", "1.5"])
def test_counts_are_at_least_one(option: str, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.arguments([option, count])
    assert f"argument {option}: " in capsys.readouterr().err
    assert vars(command.arguments([option, "1"]))[option[2:]] == 1


def test_what_is_measured_on_this_machine() -> None:
    used = ("coap-con/int8/4", "mqtt-0/float32+zstd/2", "mqtt-0/int8/1", "mqtt-0/morse/2")
    results = Results([outcome("thin-patient", switches=[Switch(0.0, name) for name in used])])
    found = costs.measure(results)
    assert set(found.decision_us) >= set(rows.CONSTANT)
    assert min(found.decision_us.values()) > 0
    assert found.accuracy_cost.keys() == {"int8", "float32+zstd"}
    assert found.accuracy_cost["float32+zstd"] == 0
    assert costs.measure(Results([])).accuracy_cost == {}
