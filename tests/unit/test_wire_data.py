"""What devices publish: Observations and Skips."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest

from bridge.errors import Refused
from bridge.messages import Observation, Skip
from bridge.wire.data import MAX_RANGES, decode_data, encode_skip
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation

FORMS = (Format.JSON, Format.CBOR)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("skip", [Skip([(3, 9), (20, 20)], "age", "e1", receipt=True), Skip([(0, 0)], "size")])
def test_a_skip_comes_back(skip: Skip, form: Format) -> None:
    assert decode_data(encode_skip(skip, form), form) == skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("live_from", [None, 64])
def test_an_observation_comes_back(form: Format, live_from: int | None) -> None:
    sent = Observation(np.zeros((2, 1), np.float32), seq=70, live_from=live_from)
    got = decode_data(encode_observation(sent, form), form)
    assert isinstance(got, Observation)
    assert (got.seq, got.live_from, got.values.tolist()) == (70, live_from, [[0.0], [0.0]])


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"skip": [[1, 2]], "values": [[1]]}, "not both"),
        ({"skip": []}, "length"),
        ({"skip": [[0, 1]] * (MAX_RANGES + 1)}, "length"),
        ({"skip": [[2, 1]]}, "row 1 comes before row 2"),
        ({"skip": [[-1, 1]]}, "`$.skip[0][0]`"),
        ({"skip": [[0, 2**60]]}, "`$.skip[0][1]`"),
        ({"skip": [[1, 2, 3]]}, "length"),
        ({"skip": {"1": 2}}, "array"),
        ({"skip": [[1, 2]], "why": ""}, "`$.why`"),
        ({"skip": [[1, 2]], "why": "a\nb"}, "printable"),
        ({"skip": [[1, 2]], "epoch": "x" * 65}, "`$.epoch`"),
        ({"skip": [[1, 2]], "receipt": 1}, "`$.receipt`"),
    ],
)
def test_a_bad_skip_is_refused_with_what_is_wrong(value: dict[str, Any], detail: str) -> None:
    for form, payload in zip(FORMS, (msgspec.json.encode(value), cbor2.dumps(value)), strict=True):
        with pytest.raises(Refused) as why:
            decode_data(payload, form)
        assert why.value.reason == "malformed"
        assert detail in why.value.detail


def test_a_bad_live_from_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match="live_from must be a row number"):
        decode_data(b'{"values": [[1]], "live_from": -1}', Format.JSON)
