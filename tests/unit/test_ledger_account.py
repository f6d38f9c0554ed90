"""Accounts, questions and what agents tell, as bytes."""

from __future__ import annotations

import pytest

from bridge.errors import Refused
from bridge.ledger import account as messages
from bridge.ledger.account import Dropped, Part, StreamAccount
from tests.support.ledger import GOOD, page


def test_pages_and_questions() -> None:
    one = page(GOOD, streams=[StreamAccount("ward", "w1", "wrist", 3)], more=True, page=2)
    assert messages.decode_page(messages.encode_page(one)) == one
    assert messages.question_of({}).device is None
    assert messages.question_of({"device": "w1", "more": 1}).device == "w1"


@pytest.mark.parametrize("request_", [[], {"device": 1}, {"device": "a/b"}, None])
def test_bad_questions(request_: object) -> None:
    with pytest.raises(Refused):
        messages.question_of(request_)


@pytest.mark.parametrize(
    "stream",
    [
        '[{"epoch": "e"}]',
        '[{"epoch": "e", "accepted": -1}]',
        '[{"epoch": "e", "accepted": 1.5}]',
        '[{"epoch": "e", "accepted": 10, "kept": -1}]',
        '[{"epoch": "e", "accepted": 10, "kept": [[0]]}]',
        '[{"epoch": "e", "accepted": 10, "kept": "all"}]',
        '[{"epoch": "e", "accepted": 10, "dropped": [[0, 1]]}]',
        '{"epoch": "e"}',
    ],
)
def test_bad_parts_of_agents(stream: str) -> None:
    with pytest.raises(Refused):
        messages.decode_agent_status(f'{{"online": true, "t": 1, "streams": {{"wrist": {stream}}}}}'.encode())


def test_parts_of_agents() -> None:
    told = b'{"epoch": "e", "accepted": 10, "kept": [[2, 3]], "dropped": [[0, 1, "age"]]}, {"epoch": "", "accepted": 3}'
    found = messages.decode_agent_status(
        b'{"online": true, "t": 1.5, "more": 1, "streams": {"wrist": [' + told + b"]}}"
    )
    assert found.streams == {"wrist": [Part("e", 10, [(2, 3)], [Dropped(0, 1, "age")]), Part("", 3, 0, [])]}
    assert messages.decode_agent_status(b'{"online": false, "t": 1}').streams is None
