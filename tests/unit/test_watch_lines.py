"""What `watch` prints of a Result: which of two it is, and each once."""

from __future__ import annotations

from typing import Any

import aiomqtt
import msgspec
import pytest

from bridge.messages import Result
from bridge.watch import _show
from bridge.wire.answers import encode_answer

RESULT = Result(
    "id-1", "w1", "wrist", 64, "e", 0.0, "activity", "1", "sit", 0.51, "bridge", False, 0, 3.25, "unsure", "live"
)  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *results: Result) -> list[str]:
    seen: dict[str, None] = {}
    for result in results:
        message = aiomqtt.Message("edge/v1/ward/w1/result/activity", encode_answer(result), 1, False, 1, None)
        _show(message, seen, as_json=False)
    return [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("fields", "word"), [({}, ""), ({"provisional": True}, "  provisional"), ({"rev": 1, "tier": "cloud"}, "  final")]
)
def test_a_line_says_which_of_two_results_it_is(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], word: str
) -> None:
    one = msgspec.structs.replace(RESULT, **fields)
    assert shown(capsys, one) == [f"ward/w1/wrist  sit 51%  {one.tier}{word}  3.2 ms  unsure"]


def test_a_repeat_is_not_shown_and_a_revision_is(capsys: pytest.CaptureFixture[str]) -> None:
    first, final = msgspec.structs.replace(RESULT, provisional=True), msgspec.structs.replace(RESULT, rev=1)
    assert len(shown(capsys, first, first, final, first, final)) == 2
