"""When a silent cloud is left alone, and when it is asked again."""

from __future__ import annotations

from bridge.offload.breaker import Breaker


def opened(at: float = 10.0) -> Breaker:
    breaker = Breaker(failures=3, rest=5.0)
    for _ in range(3):
        assert breaker.allows(at)
        breaker.asked(at)
        breaker.silent(at)
    return breaker


def test_silences_in_a_row_open_it() -> None:
    breaker = opened(10.0)
    assert not breaker.allows(10.0)
    assert not breaker.allows(14.9)
    assert breaker.allows(15.0)


def test_an_answer_between_silences_keeps_it_closed() -> None:
    breaker = Breaker(failures=3, rest=5.0)
    for _ in range(9):
        breaker.silent(0.0)
        breaker.silent(0.0)
        breaker.answered()
    assert breaker.allows(0.0)


def test_after_the_rest_one_question_goes_ahead() -> None:
    breaker = opened(10.0)
    breaker.asked(15.0)
    assert not breaker.allows(15.0)
    breaker.answered()
    assert breaker.allows(15.0)
    breaker.silent(15.0)
    assert breaker.allows(15.0)


def test_a_silent_question_ahead_means_another_rest() -> None:
    breaker = opened(10.0)
    breaker.asked(15.0)
    breaker.silent(17.0)
    assert not breaker.allows(21.9)
    assert breaker.allows(22.0)


def test_a_question_ahead_whose_end_is_never_told_does_not_shut_the_cloud_out_for_ever() -> None:
    breaker = opened(10.0)
    breaker.asked(15.0)
    assert not breaker.allows(19.9)
    assert breaker.allows(20.0)
    breaker.asked(20.0)
    assert not breaker.allows(20.0)
    breaker.answered()
    assert breaker.allows(20.0)


def test_it_says_whether_silence_was_the_last_thing_known() -> None:
    assert not Breaker().open
    breaker = opened(10.0)
    assert breaker.open
    breaker.answered()
    assert not breaker.open
