"""Back to a protocol that did not get through: soon at first, later where it was in vain."""

from __future__ import annotations

from bridge.link.returns import MOST_RELAPSES, RELAPSE, RETURN, Returns


def test_only_of_the_protocol_that_was_left() -> None:
    returns = Returns()
    assert returns.dwell("coap") is None
    returns.left("coap", 100.0)
    returns.chosen("mqtt")
    assert (returns.dwell("coap"), returns.dwell("mqtt")) == (RETURN, None)
    returns.chosen("coap")
    assert returns.dwell("coap") is None


def test_each_return_in_vain_doubles_what_comes_next_and_one_that_lasts_ends_it() -> None:
    returns = Returns()
    returns.left("coap", 100.0)
    waits = []
    for _ in range(MOST_RELAPSES + 2):
        waits.append(returns.dwell("coap"))
        returns.chosen("coap")
        returns.left("coap", RELAPSE - 0.1)
    assert waits[:4] == [RETURN, 2 * RETURN, 4 * RETURN, 8 * RETURN]
    assert waits[-2:] == [2**MOST_RELAPSES * RETURN] * 2
    returns.chosen("coap")
    returns.left("coap", RELAPSE)
    assert returns.dwell("coap") == RETURN
