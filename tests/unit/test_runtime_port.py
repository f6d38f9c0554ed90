"""One behavioural suite for every engine, so that the fake and the real one cannot drift apart."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.errors import Refused
from bridge.messages import Answer
from bridge.runtime.fake import FakeEngine
from bridge.runtime.load import load

if TYPE_CHECKING:
    from bridge.runtime.port import Engine, Outcome, Windows


@pytest.fixture(params=["fake", "small-int8", "big-int8"], scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fake":
        return FakeEngine(["rest", "walk", "run"], max_batch=8, lanes=3)
    manifest = Catalog()["activity"]
    return load(manifest, manifest.variant(request.param), max_batch=8, lanes=3)


def windows_for(engine: Engine, count: int, seed: int = 0) -> Windows:
    rng = np.random.default_rng(seed)
    poses = 2 * rng.standard_normal((count, 1, engine.channels))
    return (poses + rng.standard_normal((count, engine.rows, engine.channels))).astype(np.float32)


def answered(outcome: Outcome) -> Answer:
    assert isinstance(outcome, Answer)
    return outcome


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
def test_logits_have_a_row_a_window(engine: Engine, count: int) -> None:
    logits = engine.run(windows_for(engine, count))
    assert logits.shape == (count, len(engine.labels))
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_a_batch_says_what_its_windows_say_one_by_one(engine: Engine) -> None:
    windows = windows_for(engine, 50)
    together = [answered(one) for one in engine.answers(windows)]
    alone = [answered(engine.answers(window[None])[0]) for window in windows]
    assert [one.label for one in together] == [one.label for one in alone]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-4)
    assert len({one.label for one in together}) > 1


def test_answers_are_signed_and_probable(engine: Engine) -> None:
    for answer in map(answered, engine.answers(windows_for(engine, 20))):
        assert answer.label in engine.labels
        assert 1 / len(engine.labels) <= answer.score <= 1.0
        assert (answer.version, answer.variant) == (engine.version, engine.variant)


def test_earlier_answers_are_not_overwritten_by_later_ones(engine: Engine) -> None:
    first = engine.run(windows_for(engine, 3, seed=1))
    kept = first.copy()
    engine.run(windows_for(engine, 3, seed=2))
    assert np.array_equal(first, kept)


def test_windows_need_not_be_contiguous(engine: Engine) -> None:
    windows = windows_for(engine, 6)
    assert np.array_equal(engine.run(windows[::2]), engine.run(windows[::2].copy()))
    assert np.array_equal(engine.run(windows[:, ::-1]), engine.run(windows[:, ::-1].copy()))


@pytest.mark.parametrize("wrong", ["rows", "channels", "flat"])
def test_another_shape_is_refused(engine: Engine, wrong: str) -> None:
    rows, channels = engine.rows, engine.channels
    shape = {"rows": (2, rows - 1, channels), "channels": (2, rows, channels + 1), "flat": (rows, channels)}[wrong]
    with pytest.raises(Refused, match=f"{rows} × {channels}") as caught:
        engine.answers(np.zeros(shape, np.float32))
    assert caught.value.reason == "shape"


def test_a_list_says_what_one_array_says(engine: Engine) -> None:
    windows = windows_for(engine, 20)
    assert engine.answers(list(windows)) == engine.answers(windows)
    assert engine.answers([]) == []


def test_windows_of_a_list_may_be_read_only_and_lie_anywhere(engine: Engine) -> None:
    series = windows_for(engine, 1)[0].repeat(4, axis=0)
    series.setflags(write=False)
    views = [series[start:][: engine.rows] for start in range(0, 3 * engine.rows, 7)]
    views += [series[: 2 * engine.rows : 2], series[engine.rows - 1 :: -1], np.asfortranarray(views[0])]
    assert engine.answers(views) == engine.answers([np.array(view) for view in views])


@pytest.mark.parametrize("wrong", ["rows", "one row", "channels", "one channel", "flat", "number"])
def test_one_window_of_another_shape_refuses_the_call(engine: Engine, wrong: str) -> None:
    """Also where numpy would broadcast it."""
    rows, channels = engine.rows, engine.channels
    shapes = {
        "rows": (rows + 1, channels),
        "one row": (1, channels),
        "channels": (rows, channels - 1),
        "one channel": (rows, 1),
        "flat": (channels,),
        "number": (),
    }
    windows = list(windows_for(engine, 20))
    windows[17] = np.zeros(shapes[wrong], np.float32)
    with pytest.raises(Refused, match=re.escape(f"{rows} × {channels}, not {shapes[wrong]}")) as caught:
        engine.answers(windows)
    assert caught.value.reason == "shape"


def test_threads_do_not_disturb_each_other(engine: Engine) -> None:
    """More threads than lanes, and calls of more windows than fit at once."""
    batches = [windows_for(engine, 1 + seed % 11, seed) for seed in range(60)]
    logits = [engine.run(batch) for batch in batches]
    answers = [engine.answers(batch) for batch in batches]
    with ThreadPoolExecutor(5) as pool:
        for _ in range(3):
            answering = pool.map(engine.answers, [list(batch) for batch in batches])
            for got, wanted in zip(pool.map(engine.run, batches), logits, strict=True):
                assert np.array_equal(got, wanted)
            assert list(answering) == answers


def test_it_tells_how_to_use_it(engine: Engine) -> None:
    assert engine.lanes == 3
    assert engine.max_batch == 8
    assert engine.below is None or 0.0 < engine.below < 1.0


def test_more_windows_take_longer(engine: Engine) -> None:
    assert engine.run_seconds(0) == 0.0
    assert engine.run_seconds(8) == pytest.approx(engine.run_seconds(4) + engine.run_seconds(4), rel=1.0)
    assert engine.run_seconds(20) == pytest.approx(2 * engine.run_seconds(8) + engine.run_seconds(4))
