"""What may be sent beyond the timers."""

from __future__ import annotations

from bridge.coap.budget import Budget


def test_it_is_earned_spent_bounded_and_forfeited() -> None:
    budget = Budget(0.5, 2.0)
    assert not budget.spend()
    budget.earn()
    assert not budget.spend()  # half a datagram stays what it is
    for _ in range(9):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.earn()
    assert budget.is_left
    budget.forfeit()
    assert not budget.spend()
