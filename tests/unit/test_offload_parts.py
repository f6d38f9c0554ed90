"""The small parts of the offload client: budget of second copies, cache, privacy, packing, breaker's rests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bridge
from bridge.catalog.manifest import Manifest, load_manifest
from bridge.errors import ConfigError
from bridge.offload.breaker import Breaker
from bridge.offload.cache import Cache
from bridge.offload.hedging import Budget, overdue
from bridge.offload.privacy import mask, private_channels
from bridge.offload.sending import Sending, packing_for, sending, smallest
from bridge.place.cost import Prediction
from bridge.wire.offload import Reply

Loss: TypeAlias = dict[Literal["float16", "int8", "int4"], float]
ACTIVITY = Path(bridge.__file__).parents[1] / "models" / "activity"
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(ACTIVITY)


def reply(label: str) -> Reply:
    return Reply("w", "gpu-1", label, 0.9)


# ---- second copies


@given(share=st.floats(0, 1), questions=st.integers(0, 400), burst=st.integers(0, 10))
def test_second_copies_stay_within_their_share(share: float, questions: int, burst: int) -> None:
    budget = Budget(share, burst)
    spent = sum(budget.spend() for _ in range(20))
    for _ in range(questions):
        budget.asked()
        spent += budget.spend()
    assert spent <= share * questions + burst + 1e-6
    assert share > 0 or not spent


def test_a_budget_that_was_spent_comes_back_with_questions() -> None:
    budget = Budget(0.25, burst=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        assert not budget.spend()
        budget.asked()
    assert budget.spend()


def test_late_is_what_takes_far_longer_than_expected_or_half_the_patience() -> None:
    assert overdue(Prediction(0.0, 0.0, 0), 1.0) == 0.5
    assert overdue(Prediction(0.1, 0.025, 9), 1.0) == pytest.approx(0.2)
    assert overdue(Prediction(0.4, 0.3, 9), 1.0) == 0.5
    assert overdue(Prediction(0.001, 0.0001, 9), 1.0) == 0.02
    assert overdue(Prediction(0.001, 0.0001, 9), 0.03) == 0.015


# ---- cache


def test_an_answer_is_used_again_for_the_same_values_and_model_until_it_is_too_old() -> None:
    cache = Cache(10.0)
    key = cache.key("m", ROWS)
    assert cache.find(key, 0.0) is None
    cache.keep(key, "m", reply("sit"), 1.0)
    assert cache.find(cache.key("m", ROWS.copy()), 3.5) == (reply("sit"), 2.5)
    assert cache.find(cache.key("n", ROWS), 3.5) is None
    assert cache.find(cache.key("m", ROWS.reshape(3, 4)), 3.5) is None
    changed = ROWS.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], np.float32(0))
    assert cache.find(cache.key("m", changed), 3.5) is None
    assert cache.find(key, 11.0) is None
    assert len(cache) == 0


def test_a_cache_is_bounded_and_the_longest_unused_goes_first() -> None:
    cache = Cache(10.0, most=2)
    keys = [cache.key("m", ROWS + n) for n in range(3)]
    cache.keep(keys[0], "m", reply("0"), 0.0)
    cache.keep(keys[1], "m", reply("1"), 0.0)
    assert cache.find(keys[0], 0.0) is not None
    cache.keep(keys[2], "m", reply("2"), 0.0)
    assert [cache.find(key, 0.0) is not None for key in keys] == [True, False, True]


def test_answers_of_another_version_are_forgotten() -> None:
    cache = Cache(10.0)
    ours, others = cache.key("m", ROWS), cache.key("n", ROWS)
    cache.keep(ours, "m", reply("old"), 0.0)
    cache.keep(others, "n", reply("other"), 0.0)
    cache.forget("m")
    assert cache.find(ours, 0.0) is None
    assert cache.find(others, 0.0) is not None


def test_without_a_lifetime_nothing_is_kept() -> None:
    cache = Cache(0.0)
    key = cache.key("m", ROWS)
    assert key is None
    cache.keep(key, "m", reply("sit"), 0.0)
    assert len(cache) == 0
    assert cache.find(key, 0.0) is None


# ---- privacy


def test_a_masked_channel_holds_nothing_of_the_window() -> None:
    masked = mask(ROWS, (0, 2), (5.5,))
    assert masked.dtype == np.float32
    assert masked[:, 0].tolist() == [5.5] * 4
    assert masked[:, 1].tolist() == ROWS[:, 1].tolist()
    assert masked[:, 2].tolist() == [0.0] * 4
    assert ROWS[1, 0] == 3.0, "the bridge's own rows were changed"


def test_private_channels_are_found_by_name(manifest: Manifest) -> None:
    assert private_channels(manifest, ["gyro_x", "acc_y", "gyro_x"]) == (1, 3)
    assert private_channels(manifest, []) == ()
    with pytest.raises(ConfigError, match=r"no channel 'gyro' in model activity; there are: 'acc_x', 'acc_y'"):
        private_channels(manifest, ["gyro"])


# ---- packing


@pytest.mark.parametrize(
    ("loss", "budget", "packing"),
    [
        ({}, 1.0, "float32"),
        ({"float16": 0.0, "int8": 0.003}, 0.01, "int8"),
        ({"float16": 0.0, "int8": 0.003}, 0.003, "int8"),
        ({"float16": 0.0, "int8": 0.003}, 0.002, "float16"),
        ({"int8": 0.003}, 0.002, "float32"),
        ({"float16": 0.0, "int4": 0.003}, 0.01, "float16"),  # as large as int8 where no frame may be around it
    ],
)
def test_the_smallest_packing_within_the_budget_is_chosen(loss: Loss, budget: float, packing: str) -> None:
    assert smallest(loss, budget) == packing


def test_a_declared_packing_is_taken_whatever_it_costs(manifest: Manifest) -> None:
    strict = msgspec.structs.replace(manifest, fidelity={"float16": 0.5, "int8": 0.5})
    assert packing_for(strict, "auto") == "float32"
    assert packing_for(strict, "int8") == "int8"
    unknown = msgspec.structs.replace(manifest, fidelity={}, normalisation=None)
    assert sending(unknown, "auto") == Sending("float32", (), frozenset(manifest.output.labels))


def test_private_channels_are_masked_with_the_means_of_the_manifest(manifest: Manifest) -> None:
    assert manifest.normalisation is not None
    assert sending(manifest, "float16").mean == manifest.normalisation.mean
    assert Sending("int8").size(4_000) < Sending("float16").size(4_000) < Sending().size(4_000)


# ---- rests


def test_each_probe_without_an_answer_doubles_the_rest() -> None:
    breaker = Breaker(failures=1, rest=1.0, longest=5.0)
    assert breaker.silent(0.0)
    now, rests = 0.0, []
    for _ in range(4):
        rests.append(breaker.rest)
        now += breaker.rest
        assert breaker.allows(now)
        breaker.asked(now)
        assert breaker.silent(now)
    assert rests == [1.0, 2.0, 4.0, 5.0]
    breaker.answered()
    assert breaker.rest == 1.0


def test_silences_of_questions_asked_before_do_not_prolong_the_rest() -> None:
    breaker = Breaker(failures=2, rest=1.0)
    assert not breaker.silent(0.0)
    assert breaker.silent(0.0)
    assert not breaker.silent(0.9)
    assert breaker.allows(1.0)
