"""What a stream chooses, on a simulated link, and what that means for its messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.link import Estimator, Limits
from bridge.link.events import Disconnected
from bridge.messages import Observation
from bridge.settings import InvalidKey
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.choice import CODINGS, Choice, measured
from edge_agent.config import Stream
from edge_agent.link_settings import Link
from tests.support.weather import Path, Weather

if TYPE_CHECKING:
    from bridge.link.events import Protocol

RNG = np.random.default_rng(1)
LOSSY = {"float16": 0.0, "int8": 0.004, "int4": 0.006}


def rows(count: int = 8, channels: int = 6) -> Observation:
    values = RNG.normal(size=(count, channels)).astype(np.float32)
    return Observation(values, seq=1000, epoch="e1", t=1.7e9, dt=0.02, receipt=True)


def choice(ways: tuple[Protocol, ...] = ("mqtt", "coap"), *, link: Link | None = None, **stream: Any) -> Choice:
    made = Stream(**{"name": "wrist", "source": "stdin", "rate": 50.0, **stream})
    return Choice(made, link or Link(freshness=0.2, fidelity=LOSSY), Limits(), ways=ways, name_bytes=30)


def written(made: Choice) -> tuple[Format, str, int, float]:
    found = made.writing()
    assert found is not None
    return found.form, found.packing, found.rows, round(found.longest_wait, 6)


def test_sizes_are_those_of_real_messages() -> None:
    found = {one.name: one for one in measured(rows(), Link(fidelity=LOSSY))}
    plain = ["float32", "float16", "int8", "int4", "json"]
    assert list(found) == plain + [f"{name}+zstd" for name in plain]
    assert found["float32"].row_bytes == pytest.approx(24, abs=0.5)
    assert found["float16"].row_bytes == pytest.approx(12, abs=0.5)
    assert found["int8"].row_bytes == pytest.approx(6, abs=0.5)
    assert found["json"].row_bytes > 100
    assert found["int8"].accuracy_cost == found["int8+zstd"].accuracy_cost == 0.004
    assert 60 < found["float32"].message_bytes < 130
    assert measured(rows(), Link(), unit=5)[0].row_bytes == pytest.approx(120, abs=3)


def test_what_loses_something_is_offered_only_if_that_was_measured() -> None:
    assert [one.name for one in measured(rows(), Link())] == ["float32", "json", "float32+zstd", "json+zstd"]


@pytest.mark.parametrize("name", ["json", "float32", "float16", "int8", "int4"])
def test_what_zstd_saves_counts_as_saved_of_the_message_once(name: str) -> None:
    sent = rows()
    found = {one.name: one for one in measured(sent, Link(fidelity=LOSSY))}
    plain, small = found[name], found[f"{name}+zstd"]
    form, packing, _ = CODINGS[name]
    frame = encode_observation(sent, form, packing=packing, zstd=True)
    assert small.row_bytes == plain.row_bytes
    assert small.message_bytes == pytest.approx(max(0.0, len(frame) - len(sent.values) * plain.row_bytes))
    assert small.message_bytes < plain.message_bytes


def test_a_sensor_at_rest_does_not_make_text_look_small() -> None:
    still = msgspec.structs.replace(rows(), values=np.zeros((8, 6), np.float32))
    found = {one.name: one for one in measured(still, Link(fidelity=LOSSY))}
    sizes = {name: one.message_bytes + 8 * one.row_bytes for name, one in found.items()}
    assert min(sizes, key=lambda name: sizes[name]) in {"int8+zstd", "int4+zstd"}
    assert sizes["json+zstd"] > sizes["float32+zstd"]


def test_zstd_is_written_where_the_profile_says_so() -> None:
    made = choice(link=Link(freshness=0.5, fidelity=LOSSY, pin="coap-con/int8*/8"))
    made.seen(rows())
    made.look(0.0, Estimator().estimate(0.0))
    found = made.writing()
    assert made.profile is not None
    assert made.profile.name == "coap-con/int8+zstd/8", "the smaller of two that lose the same"
    assert found is not None
    assert (found.packing, found.zstd) == ("int8", True)


def test_nothing_is_chosen_before_rows_tell_their_size() -> None:
    made = choice()
    assert made.look(0.0, Estimator().estimate(0.0)) is None
    assert made.writing() is None
    made.seen(rows())
    decision = made.look(0.1, Estimator().estimate(0.1))
    assert decision is not None
    assert decision.switched
    assert made.look(0.2, Estimator().estimate(0.2)) is None
    assert made.profile == decision.profile


def test_it_is_written_as_the_profile_says() -> None:
    made = choice(link=Link(freshness=0.5, fidelity=LOSSY, pin="coap-con/int8/8"))
    made.seen(rows())
    made.look(0.0, Estimator().estimate(0.0))
    assert written(made) == (Format.CBOR, "int8", 8, 0.16)


def test_bursts_are_packed_whole_and_windows_stay_messages() -> None:
    bursts = choice(link=Link(freshness=0.5, pin="coap-con/float32/2", burst=5), rate=100.0)
    bursts.seen(rows())
    bursts.look(0.0, Estimator().estimate(0.0))
    assert written(bursts) == (Format.CBOR, "float32", 10, 0.11)
    whole = choice(windows="whole", rows_per_message=128)
    whole.seen(rows(128))
    decision = whole.look(0.0, Estimator().estimate(0.0))
    assert decision is not None
    assert decision.profile.rows == 1
    assert written(whole)[2] == 128


def test_pins_and_exclusions() -> None:
    assert choice(link=Link(pin="mqtt-*")).protocols == {"mqtt"}
    assert choice(link=Link(exclude=["coap-non*"])).protocols == {"mqtt", "coap"}
    assert choice(("mqtt",)).protocols == {"mqtt"}
    assert choice(("coap",)).protocols == {"coap"}
    with pytest.raises(InvalidKey, match=r"pin: no profile matches 'coap-\*'"):
        choice(("mqtt",), link=Link(pin="coap-*"))
    with pytest.raises(InvalidKey, match=r"exclude: nothing is left of what pin 'coap-\*' matches without \['\*-con"):
        choice(link=Link(pin="coap-*", exclude=["*-con/*", "*-non*"]))


@pytest.mark.parametrize(
    ("link", "stream", "channels", "sent"),
    [
        (Link(freshness=5.0, pin="coap-non2/float32/64"), {}, 6, "coap-non2/float32/64"),
        (Link(exclude=["coap-con*", "mqtt*"]), {"windows": "whole", "rows_per_message": 128}, 6, "coap-non2/"),
        (Link(), {"windows": "whole", "rows_per_message": 4096}, 20, "mqtt-0/float32+zstd/1"),
    ],
)
def test_what_is_too_large_for_all_that_is_left_goes_all_the_same(
    link: Link, stream: dict[str, Any], channels: int, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = choice(link=link, **stream)
    made.seen(rows(stream.get("rows_per_message", 64), channels))
    decision = made.look(0.0, Estimator().estimate(0.0))
    assert decision is not None
    assert decision.profile.name.startswith(sent)
    assert made.writing() is not None
    assert "too large for every profile" in caplog.text


def test_a_pin_that_needs_a_fidelity_says_so() -> None:
    with pytest.raises(InvalidKey, match=r"pin: no profile matches '\*/int8/\*': .* needs link.fidelity"):
        choice(link=Link(pin="*/int8/*"))


@pytest.mark.parametrize(
    ("link", "stream", "counted"),
    [
        (Link(pin="*/5"), {}, "rows a message 1, 2, 4 … 128, as far as"),
        (Link(pin="*/5", burst=5), {}, "bursts of 5 rows a message 1, 2, 4 … 128, as far as"),
        (Link(pin="*/128"), {"windows": "whole", "rows_per_message": 128}, "one whole window a message, 1"),
    ],
)
def test_a_pin_that_leaves_nothing_says_what_a_profile_s_last_part_counts(
    link: Link, stream: dict[str, Any], counted: str
) -> None:
    with pytest.raises(InvalidKey, match=re.escape(counted)):
        choice(link=link, **stream)


def test_a_link_that_becomes_lossy_and_thin_changes_the_profile_and_says_why() -> None:
    def weather(now: float) -> Weather:
        return Weather(rtt=0.05, loss=0.0 if now < 30 else 0.2)

    estimator = Estimator()
    path = Path(estimator, weather, seed=3)
    estimator.on(Disconnected("mqtt", 0.0))
    made = choice(link=Link(freshness=0.22, fidelity=LOSSY, exclude=["coap-non*"]))
    made.seen(rows())
    path.stream(0.0, 60.0)
    reasons = []
    while path.now < 60:
        path.run(path.now + 0.1)
        decision = made.look(path.now, path.estimate())
        if decision is not None:
            reasons.append((path.now, decision.profile.rows, decision.reason))
    before = [packed for at, packed, _ in reasons if at < 30]
    after = [packed for at, packed, _ in reasons if at > 30]
    assert before[-1] > 1, "on a good link rows wait for each other"
    assert after[-1] < before[-1], "on a lossy one there is no time for that"
    assert "too late or too coarse: p95" in reasons[-1][2]
    assert "loss" in reasons[-1][2]
