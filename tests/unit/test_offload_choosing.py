"""Which profile questions leave by, on estimates made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.link import Estimate, Leg
from bridge.offload.arrivals import Rate, Step
from bridge.offload.choosing import FULL, HELD, REFUTED_AFTER, THIN_AFTER, Choices, names
from bridge.offload.sending import PLAIN, Sending
from bridge.wire.offload import Question

if TYPE_CHECKING:
    from bridge.wire.arrays import Packing

MODEL = "m"
VALUES = np.linspace(0, 1, 128 * 6, dtype=np.float32).reshape(128, 6)
MEASURED: dict[Packing, float] = {"float32": 0.0, "float16": 0.0, "int8": 0.004}
WIDE = Estimate(
    mqtt=Leg(heard=0.1, samples=50, rtt=0.05, min_rtt=0.05, base=0.05, srtt=0.05), loss=0.001, loss_trials=500.0
)
PATIENCE = 2.0


def thin(goodput: float) -> Estimate:
    return msgspec.structs.replace(WIDE, goodput=goodput, goodput_known=True)


class Scene:
    """Questions of one model come evenly; each tenth of a second somebody looks."""

    def __init__(self, sending: Sending = PLAIN, **options: Any) -> None:
        self.models = {MODEL: sending}
        self.told: list[str] = []
        self.choices = Choices(self.models, on_switch=lambda: self.told.append(self.profile), **options)
        self.values = VALUES
        self.now = 100.0
        self.due = 0.0

    @property
    def profile(self) -> str:
        found = self.choices.facts()["profiles"]
        assert isinstance(found, dict)
        return str(found[MODEL])

    @property
    def switches(self) -> list[dict[str, Any]]:
        found = self.choices.facts()["switches"]
        assert isinstance(found, list)
        return found

    def goes_on(self, seconds: float, estimate: Estimate, *, rate: float = 6.0) -> None:
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            self.due += 0.1 * rate
            while self.due >= 1:
                self.due -= 1
                question = Question("site/device/wrist/123", MODEL, self.values, PATIENCE)
                self.choices.came(question, 1, self.now, topic=30, beside=60)
            self.choices.look(self.now, 1e9 + self.now, estimate, 20)


def test_on_a_wide_link_each_question_leaves_at_once_and_nothing_is_switched() -> None:
    scene = Scene(Sending("int8", costs=MEASURED))
    noise = np.random.default_rng(1).uniform(0.9, 1.1, 300)
    for factor in noise:
        leg = msgspec.structs.replace(WIDE.mqtt, rtt=0.05 * factor, base=0.05 * factor)
        scene.goes_on(0.1, msgspec.structs.replace(WIDE, mqtt=leg))
    assert scene.profile == "mqtt-1/int8/1"
    assert scene.switches == []
    assert scene.choices.rows(MODEL) == 1
    assert scene.choices.reliable(MODEL)
    assert scene.choices.longest_wait(MODEL, PATIENCE) == 0.0
    assert scene.told == ["mqtt-1/int8/1"]  # the first choice
    assert scene.choices.facts()["reason"].startswith("first choice mqtt-1/int8/1: ")


def test_on_a_thin_link_they_wait_for_each_other_and_go_without_pubacks_and_back() -> None:
    scene = Scene(Sending("int8", costs=MEASURED))
    scene.goes_on(5, WIDE)
    scene.goes_on(THIN_AFTER + 0.2, thin(8_000))
    assert scene.profile.startswith("mqtt-0/int8/")
    rows = scene.choices.rows(MODEL)
    assert rows > 1
    assert not scene.choices.reliable(MODEL)
    assert 0 < scene.choices.longest_wait(MODEL, PATIENCE) <= HELD * PATIENCE
    assert scene.choices.longest_wait(MODEL, 0.1) <= HELD * 0.1
    (switch,) = scene.switches
    assert (switch["model"], switch["profile"]) == (MODEL, scene.profile)
    assert f"mqtt-1/int8/1 → {scene.profile}: lone questions would take" in switch["reason"]
    assert "round trip 0.050 s" in switch["reason"]
    scene.goes_on(20, thin(8_000))
    assert len(scene.switches) == 1

    scene.goes_on(REFUTED_AFTER - 0.1, WIDE)
    assert len(scene.switches) == 1  # it must last
    scene.goes_on(0.5, WIDE)
    assert scene.profile == "mqtt-1/int8/1"
    assert len(scene.switches) == 2
    facts = scene.choices.facts()
    assert (facts["profile"], facts["reason"]) == ("mqtt-1/int8/1", scene.switches[-1]["reason"])


def test_a_thin_spell_or_an_outage_changes_nothing() -> None:
    scene = Scene(Sending("int8", costs=MEASURED))
    scene.goes_on(5, WIDE)
    scene.goes_on(THIN_AFTER - 0.1, thin(8_000))
    scene.goes_on(1, WIDE)
    scene.goes_on(5, msgspec.structs.replace(thin(8_000), outage=True))
    assert scene.switches == []


def test_only_encodings_within_the_budget_are_offered_and_what_is_chosen_is_what_is_packed() -> None:
    scene = Scene(Sending("float16", costs={"float32": 0.0, "float16": 0.001}))
    scene.goes_on(2, WIDE)
    assert (scene.profile, scene.models[MODEL].packing) == ("mqtt-1/float16/1", "float16")
    unmeasured = Scene()
    unmeasured.goes_on(2, WIDE)
    assert (unmeasured.profile, unmeasured.models[MODEL]) == ("mqtt-1/float32/1", PLAIN)


def test_frames_are_offered_while_every_agent_takes_them() -> None:
    told = {MODEL: True}
    costs: dict[Packing, float] = {**MEASURED, "int4": 0.006}
    scene = Scene(Sending("int8", costs=costs), frames=told.__getitem__)
    scene.goes_on(2, WIDE)
    assert scene.profile == "mqtt-1/int4+zstd/1"
    sending = scene.models[MODEL]
    assert (sending.packing, sending.zstd, sending.plain.packing) == ("int4", True, "int8")
    assert scene.choices.coding(MODEL, sending) == ("int4", True)
    told[MODEL] = False  # an older agent came
    assert scene.choices.coding(MODEL, sending) == ("int8", False)
    scene.goes_on(2, WIDE)
    assert scene.profile == "mqtt-1/int8/1"
    assert scene.models[MODEL].zstd is False


def test_int4_is_offered_only_measured_and_what_was_asked_for_is_in_no_frame() -> None:
    scene = Scene(Sending("int8", costs=MEASURED), frames=lambda _: True, exclude=["*/int8*/*"])
    scene.goes_on(2, WIDE)
    assert scene.profile == "mqtt-1/float16+zstd/1"
    asked_for = Scene(Sending("int8"), frames=lambda _: True)
    asked_for.goes_on(2, WIDE)
    assert asked_for.profile == "mqtt-1/int8/1"


@pytest.mark.parametrize("pin", ["mqtt-1/float32/1", "mqtt-0/float16/*", "mqtt-1/int8/8"])
def test_a_pin_holds_on_every_link(pin: str) -> None:
    scene = Scene(Sending("int8", costs=MEASURED), pin=pin)
    start = pin.rstrip("*")
    for estimate in (WIDE, thin(8_000), WIDE):
        scene.goes_on(6, estimate)
        assert scene.profile.startswith(start)
    assert scene.models[MODEL].packing == pin.split("/")[1]


def test_what_is_excluded_is_not_used() -> None:
    scene = Scene(Sending("int8", costs=MEASURED), exclude=["mqtt-0/*", "*/int8/*"])
    scene.goes_on(5, WIDE)
    assert scene.profile == "mqtt-1/float16/1"
    scene.goes_on(5, thin(8_000))
    assert scene.profile.startswith("mqtt-1/float16/")
    assert scene.choices.rows(MODEL) > 1


@pytest.mark.parametrize(("pin", "encoding"), [("*", "int8"), ("*/float32/*", "float32")])
def test_a_question_larger_than_a_message_of_several_leaves_alone(
    pin: str, encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(Sending("int8", costs=MEASURED), pin=pin)
    scene.values = np.linspace(0, 1, 300_000, dtype=np.float32).reshape(-1, 1)
    for estimate in (WIDE, thin(800_000), WIDE):
        scene.goes_on(3, estimate)
        assert scene.profile.endswith(f"/{encoding}/1")
    assert "not heeded" not in caplog.text


def test_an_exclusion_that_excludes_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Scene(exclude=["nosuch*", "mqtt-0/*"])
    assert [line for line in caplog.messages if "excludes nothing" in line] == [
        "cloud.exclude: 'nosuch*' excludes nothing; profiles are called like mqtt-1/float32/1"
    ]


def test_a_pin_that_a_model_cannot_meet_is_told_and_not_heeded(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(pin="*/int8/*")
    scene.goes_on(2, WIDE)
    assert scene.profile == "mqtt-1/float32/1"
    assert "not heeded" in caplog.text


def test_names_are_those_that_a_pin_may_say() -> None:
    assert "mqtt-1/float32/1" in names("mqtt-1/*", [])
    with pytest.raises(ConfigError, match="no profile matches 'coap"):
        names("coap-con/*", [])
    with pytest.raises(ConfigError, match="without"):
        names("*", ["mqtt-*"])


def test_another_version_of_a_model_is_measured_anew() -> None:
    scene = Scene(Sending("int8", costs=MEASURED))
    scene.goes_on(2, WIDE)
    scene.models[MODEL] = Sending()
    scene.goes_on(2, WIDE)
    assert scene.profile == "mqtt-1/float32/1"


def test_the_broker_s_receive_maximum_makes_a_link_thin_too() -> None:
    scene = Scene(Sending("int8", costs=MEASURED))
    far = msgspec.structs.replace(WIDE, mqtt=msgspec.structs.replace(WIDE.mqtt, rtt=0.6, base=0.6, srtt=0.6))
    scene.goes_on(5, far, rate=2 * 20 * FULL / 0.6)
    assert len(scene.switches) >= 1
    assert scene.profile.startswith("mqtt-0/")


def test_rates_are_without_the_bias_of_the_beginning() -> None:
    rate = Rate()
    for n in range(20):
        rate.took(50.0 + 0.1 * n, 1)
    assert 8.0 < rate.at(52.0) < 13.0
    assert rate.at(1_000.0) < 1.0


def test_steps_are_not_taken_for_noise() -> None:
    step = Step()
    assert step.take(8.0)
    assert not any(step.take(8.0 * factor) for factor in (0.6, 1.7, 1.0))
    assert step.take(30.0)
    assert step.value == 32.0
