"""Which profile is chosen, when it changes, and what is said of it: minutes of weather in milliseconds."""

from __future__ import annotations

import math

import msgspec
import pytest

from bridge.errors import ConfigError
from bridge.link.choose import Chooser, Decision
from bridge.link.estimate import Estimate, Leg
from bridge.link.estimator import Estimator
from bridge.link.profiles import Encoding, Limits, Stream, enumerate_profiles
from tests.support.weather import Path, Weather

ENCODINGS = (
    Encoding("float32", 24.0, 60.0),
    Encoding("float16", 12.0, 60.0, 0.0005),
    Encoding("int8", 6.0, 190.0, 0.004),
    Encoding("int8+zstd", 5.0, 100.0, 0.004),
    Encoding("json", 62.0, 70.0),
)


def stream(freshness: float, budget: float = 0.01) -> Stream:
    """The watch: 50 rows a second of six channels."""
    return Stream(50.0, freshness, budget, ENCODINGS)


class Run:
    """A stream that goes as the chooser says, over a path whose weather changes."""

    def __init__(self, freshness: float, seed: int = 1) -> None:
        self.chooser = Chooser(stream(freshness), Limits())
        self.seed = seed
        self.switches: list[tuple[float, Decision]] = []

    def over(self, *weathers: tuple[float, Weather]) -> list[float]:
        """When it switched; each weather lasts until its time."""
        path = Path(Estimator(), lambda t: next((w for until, w in weathers if t < until), weathers[-1][1]), self.seed)
        now = self.chooser.choose(0.0, path.estimate())

        def decide() -> None:
            nonlocal now
            now = self.chooser.choose(path.now, path.estimate())
            if now.switched:
                self.switches.append((path.now, now))
            path.at(path.now + 0.1, decide)

        def send() -> None:
            path.send(int(now.profile.payload) + 79)
            path.at(path.now + now.profile.rows / 50.0, send)

        path.at(0.0, send)
        path.at(0.0, decide)
        path.run(weathers[-1][0])
        return [at for at, _ in self.switches]


GOOD = Weather(0.05, noise=0.1)
FAR = Weather(0.5, noise=0.1)
LOSSY = Weather(0.05, 0.15, noise=0.1)


@pytest.mark.parametrize("freshness", [0.1, 0.2, 0.5, 1.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_a_constant_link_with_noise_it_never_switches(freshness: float, seed: int) -> None:
    assert Run(freshness, seed).over((150.0, GOOD)) == []


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_constant_loss_is_no_reason_to_switch(loss: float) -> None:
    for seed in range(3):
        assert Run(0.5, seed).over((120.0, Weather(0.05, loss, noise=0.1))) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_step_of_the_round_trip_is_one_switch_and_soon(seed: int) -> None:
    run = Run(0.5, seed)
    at = run.over((20.0, GOOD), (40.0, FAR), (60.0, GOOD))
    assert len(at) == 2
    assert 20 < at[0] <= 22.5  # 5 round trips
    assert 40 < at[1] <= 42.5
    assert run.switches[0][1].profile.rows < 16
    assert run.switches[1][1].profile.rows == 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_brings_copies_and_its_end_saves_them_again(seed: int) -> None:
    run = Run(0.15, seed)
    at = run.over((20.0, GOOD), (60.0, LOSSY), (90.0, GOOD))
    assert [decision.profile.transport for _, decision in run.switches] == ["coap-non", "coap-con"]
    assert 20 < at[0] < 25
    assert 60 < at[1] < 70


def test_flapping_is_at_most_one_switch_a_change() -> None:
    at = Run(0.5).over(*[(10.0 * each, FAR if each % 2 else GOOD) for each in range(1, 13)])
    assert len(at) <= 12


def test_a_ramp_is_few_switches() -> None:
    ramp = [(20.0 + each, Weather(0.05 + 0.35 * each / 60, noise=0.1)) for each in range(60)]
    assert len(Run(0.5).over(*ramp)) <= 2


def test_an_outage_is_no_reason_to_switch() -> None:
    assert Run(0.5).over((20.0, GOOD), (50.0, Weather(out=True)), (70.0, GOOD)) == []


QUICK_OR_SMALL = (Encoding("quick", 200.0, 60.0), Encoding("small", 100.0, 60.0, 0.0, 0.0003))


@pytest.mark.parametrize(("freshness", "name"), [(0.011, "quick"), (0.04, "small"), (0.1, "small")])
def test_who_cannot_wait_does_not_compute_to_save_bytes(freshness: float, name: str) -> None:
    """0.3 ms are 0.055 of utility at 11 ms and 0.015 at 40; the bytes saved are 0.03."""
    chooser = Chooser(Stream(20.0, freshness, 0.01, QUICK_OR_SMALL), Limits())
    leg = Leg(samples=9, heard=0.0, rtt=0.001, min_rtt=0.001, base=0.001)
    assert chooser.choose(0.0, Estimate(mqtt=leg, coap=leg)).profile.encoding.name == name


def test_an_encoding_that_is_hardly_quicker_or_not_at_all_is_not_looked_at() -> None:
    def names(freshness: float, *encodings: Encoding) -> set[str]:
        of = Stream(20.0, freshness, 0.01, encodings)
        return {profile.encoding.name for profile in enumerate_profiles(of, Limits())}

    assert names(0.05, *QUICK_OR_SMALL) == {"quick", "small"}
    assert names(0.1, *QUICK_OR_SMALL) == {"small"}
    same = msgspec.structs.replace(QUICK_OR_SMALL[1], name="same", computing=0.0002)
    assert names(0.05, QUICK_OR_SMALL[1], same) == {"same"}


def test_a_thin_link_gets_packed_small_messages() -> None:
    run = Run(3.0)
    run.chooser = Chooser(stream(3.0), Limits(), pin="*/float32/[12]")  # forced to fill it
    run.over((10.0, Weather(0.2, rate=3500.0)))
    free = Chooser(stream(3.0), Limits()).choose(0.0, thin())
    assert free.prediction.up < 900
    assert free.profile.encoding.name == "int8+zstd"
    assert free.profile.rows >= 32


def leg(rtt: float = 0.05, *, heard: float = 0.0, up: bool = True, out: bool = False, silent: float = 0.0) -> Leg:
    return Leg(
        up=up, out=out, silent=silent, heard=heard, samples=99, rtt=rtt, min_rtt=rtt, base=rtt, srtt=rtt, rttvar=0.0
    )


def thin() -> Estimate:
    return Estimate(mqtt=leg(), coap=leg(), goodput=1000.0, goodput_known=True)


CLEAN = Estimate(mqtt=leg(), coap=leg(), loss=0.001)


def test_the_cheapest_that_meets_freshness_and_fidelity() -> None:
    chooser = Chooser(stream(0.5), Limits())
    chosen = chooser.choose(0.0, CLEAN)
    assert chosen.switched
    assert chosen.profile.name == "coap-con/int8+zstd/16"
    assert chosen.reason.startswith("first choice coap-con/int8+zstd/16: p95 0.3")
    assert len(chooser.profiles) <= 60
    strict = Chooser(stream(0.5, budget=0.001), Limits()).choose(0.0, CLEAN)
    assert strict.profile.name == "coap-con/float16/16"
    exact = Chooser(stream(0.5, budget=0.0), Limits()).choose(0.0, CLEAN)
    assert exact.profile.name == "coap-con/float32/16"


def test_where_nothing_meets_it_the_least_bad() -> None:
    far = Estimate(mqtt=leg(1.0), coap=leg(1.0), loss=0.001)
    chosen = Chooser(stream(0.2), Limits()).choose(0.0, far)
    assert chosen.prediction.p95 > 0.5
    assert chosen.profile.rows <= 8


def test_pins_and_exclusions() -> None:
    assert Chooser(stream(0.5), Limits(), pin="mqtt-1/json/8").profiles[0].name == "mqtt-1/json/8"
    left = Chooser(stream(0.5), Limits(), exclude=("coap-*", "*/int8*")).profiles
    assert {profile.protocol for profile in left} == {"mqtt"}
    assert {profile.encoding.name for profile in left} == {"float32", "float16"}
    assert {profile.transport for profile in enumerate_profiles(stream(0.5), Limits(), exclude=("mqtt-0*",))} == {
        "coap-con",
        "coap-non",
        "mqtt-1",
    }
    with pytest.raises(ConfigError, match="no profile matches 'mqtt-2'"):
        Chooser(stream(0.5), Limits(), pin="mqtt-2")


def test_limits_bound_what_is_tried() -> None:
    profiles = enumerate_profiles(stream(10.0), Limits(block_size=200, most_bytes=400))
    assert max(profile.payload for profile in profiles) <= 400
    assert max(profile.payload for profile in profiles if profile.transport == "coap-non") <= 200
    slow = Stream(0.1, 1.0, 0.01, ENCODINGS)
    assert {profile.rows for profile in enumerate_profiles(slow, Limits())} == {1}
    assert {profile.longest_wait for profile in enumerate_profiles(slow, Limits())} == {0.0}


def test_a_dead_protocol_is_left_for_one_that_was_heard_since() -> None:
    chooser = Chooser(stream(0.5), Limits())
    assert chooser.choose(0.0, CLEAN).profile.protocol == "coap"
    dead = leg(heard=3.0, out=True, silent=3.0)
    unheard = msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=60.0))
    assert not chooser.choose(3.0, unheard).switched
    everything = msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=60.0), outage=True)
    assert not chooser.choose(3.1, everything).switched
    heard = msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=0.5))
    assert not chooser.choose(3.2, heard).switched  # perhaps it is only heard a little earlier
    assert not chooser.choose(3.7, heard).switched
    away = chooser.choose(3.9, heard)
    assert away.switched
    assert away.profile.protocol == "mqtt"
    assert "coap does not get through" in away.reason
    back = chooser.choose(4.0, msgspec.structs.replace(CLEAN, mqtt=leg(heard=2.0, up=False)))  # it broke: at once
    assert back.profile.protocol == "coap"
    assert "→" in back.reason


def test_a_protocol_that_confirms_no_rows_is_left_with_the_words_that_say_so() -> None:
    chooser = Chooser(stream(0.5), Limits())
    assert chooser.choose(0.0, CLEAN).profile.protocol == "coap"
    said = "coap is heard, but confirmed none of 12 rows"
    deaf = msgspec.structs.replace(leg(heard=0.1, out=True, silent=3.2), unconfirmed=said)
    estimate = msgspec.structs.replace(CLEAN, coap=deaf, mqtt=leg(heard=0.2))
    assert not chooser.choose(3.2, estimate).switched
    away = chooser.choose(3.9, estimate)
    assert away.profile.protocol == "mqtt"
    assert f": {said}; expected" in away.reason


def test_last_words_of_before_an_outage_are_no_answer() -> None:
    chooser = Chooser(stream(0.5), Limits())
    chooser.choose(0.0, CLEAN)
    dead = leg(heard=1.0, out=True, silent=1.0)
    words = msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=0.7))
    assert not any(chooser.choose(1.0 + each, words).switched for each in range(5))
    answer = msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=0.5))
    assert [chooser.choose(9.0 + at, answer).switched for at in (0.0, 0.6)] == [False, True]


def test_who_was_never_heard_is_not_chosen_first_and_left_at_once() -> None:
    never = leg(heard=math.inf, out=True, silent=0.5)
    first = Chooser(stream(0.5), Limits())
    assert first.choose(0.0, msgspec.structs.replace(CLEAN, coap=never)).profile.protocol == "mqtt"
    late = Chooser(stream(0.5), Limits())
    asked = leg(heard=math.inf)
    assert late.choose(0.0, msgspec.structs.replace(CLEAN, coap=asked)).profile.protocol == "coap"
    unheard = msgspec.structs.replace(CLEAN, coap=never, mqtt=leg(heard=math.inf))
    assert not late.choose(0.4, unheard).switched
    assert late.choose(0.5, msgspec.structs.replace(CLEAN, coap=never)).switched


def test_back_to_what_did_not_get_through_soon_and_later_where_that_was_in_vain() -> None:
    chooser = Chooser(stream(0.5), Limits())
    blocked = msgspec.structs.replace(CLEAN, coap=leg(heard=9.0, out=True, silent=9.0))

    def until(estimate: Estimate, begin: float, protocol: str) -> float:
        looks = (begin + each / 10 for each in range(200))
        return next(at for at in looks if chooser.choose(at, estimate).profile.protocol == protocol)

    assert chooser.choose(0.0, CLEAN).profile.protocol == "coap"
    at, stays = 20.0, []
    for _ in range(3):
        left = until(blocked, at, "mqtt")
        at = until(CLEAN, left, "coap")
        stays.append(at - left)
    assert stays == pytest.approx([1.0, 2.0, 4.0], abs=0.11)
    left = until(blocked, at + 30.0, "mqtt")
    assert until(CLEAN, left, "coap") - left == pytest.approx(1.0, abs=0.11)


def test_of_two_silent_ways_that_which_is_heard_a_little_later_is_not_left() -> None:
    chooser = Chooser(stream(0.5), Limits())
    chooser.choose(0.0, CLEAN)
    dead = leg(heard=2.5, out=True, silent=2.5)
    chooser.choose(9.9, msgspec.structs.replace(CLEAN, coap=dead, mqtt=dead, outage=True))
    assert not chooser.choose(10.0, msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=0.1))).switched
    assert not chooser.choose(10.5, CLEAN).switched
    assert not chooser.choose(20.0, msgspec.structs.replace(CLEAN, coap=dead, mqtt=leg(heard=0.1))).switched


def test_a_saving_waits_is_confirmed_and_must_stand_more_loss() -> None:
    chooser = Chooser(stream(0.15), Limits())
    lossy = msgspec.structs.replace(CLEAN, loss=0.1)
    assert chooser.choose(0.0, lossy).profile.transport == "coap-non"
    assert not chooser.choose(5.0, msgspec.structs.replace(CLEAN, loss=0.03)).switched  # 0.045 would do, 0.8 s will not
    assert not chooser.choose(5.5, lossy).switched  # the wish is gone, and starts anew
    assert not chooser.choose(6.0, CLEAN).switched
    assert not chooser.choose(6.5, CLEAN).switched
    saved = chooser.choose(6.9, CLEAN)
    assert saved.switched
    assert "in time with fewer bytes" in saved.reason
    assert not chooser.choose(7.0, lossy).switched
    late = chooser.choose(8.0, lossy)
    assert late.switched
    assert "wanted 0.150 s" in late.reason
    barely = msgspec.structs.replace(CLEAN, loss=0.032)
    assert not any(chooser.choose(20.0 + each, barely).switched for each in range(5))


def test_a_clock_jump_neither_switches_nor_blocks_for_ever() -> None:
    chooser = Chooser(stream(0.15), Limits())
    chooser.choose(1e6, CLEAN)
    lossy = msgspec.structs.replace(CLEAN, loss=0.1)
    assert not chooser.choose(1e6 + 5, lossy).switched
    assert not chooser.choose(100.0, lossy).switched
    assert chooser.choose(101.0, lossy).switched


def test_a_late_profile_stays_where_no_other_is_much_better() -> None:
    chooser = Chooser(stream(0.2), Limits(), pin="coap-con/float16/*")
    assert chooser.choose(0.0, CLEAN).switched
    slow = Estimate(mqtt=leg(0.42), coap=leg(0.42), loss=0.001)
    first = [chooser.choose(10.0 + each / 10, slow).switched for each in range(100)]
    assert sum(first) <= 1
