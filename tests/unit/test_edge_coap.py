"""What an answer over CoAP means: only a bridge's own word gives rows up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.coap.messages import CoapReply, ReplyCode
from bridge.errors import LinkError, RemoteProtocolError
from bridge.wire.formats import Format
from edge_agent.coap import CoapUplink
from edge_agent.config import Url
from edge_agent.uplink import SAFE, Outcome

if TYPE_CHECKING:
    from bridge.coap.client import CoapClient

REFUSED: list[ReplyCode] = ["malformed", "no_route", "too_large", "unknown_format"]


class Client:
    """As a CoapClient: answers in turn."""

    def __init__(self, *answers: CoapReply | Exception) -> None:
        self._answers = list(answers)

    async def post(self, _path: str, _payload: bytes, _form: int, **_how: Any) -> CoapReply:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def uplink(*answers: CoapReply | Exception) -> CoapUplink:
    made = CoapUplink(Url("coap", "127.0.0.1", 1), site="s", device="d")
    made._client = cast("CoapClient", Client(*answers))
    return made


async def sent(made: CoapUplink) -> Outcome:
    return await made.send("wrist", b"x", Format.CBOR)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("malformed", "shape: 3 channels, not 6"),
        ("unknown_format", "unknown_format: 42"),
        ("too_large", "too_large: at most 65536 bytes a message"),
    ],
)
async def test_a_bridge_s_refusal_is_final_and_says_its_reason(code: ReplyCode, text: str) -> None:
    assert await sent(uplink(CoapReply(code, text.encode()))) == Outcome("refused", text)


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("payload", [b"", b"Not found", b"\xff\xfe", b'{"reason":"shape"}', b"oh: no", b"shape"])
async def test_the_same_codes_of_whoever_else_are_no_word_on_rows(code: ReplyCode, payload: bytes) -> None:
    with pytest.raises(LinkError, match="whoever answered is no bridge"):
        await sent(uplink(CoapReply(code, payload)))


@pytest.mark.parametrize("code", ["changed", "content"])
async def test_rows_are_safe_whatever_the_answer_says(code: ReplyCode) -> None:
    reply = CoapReply(code, b"shape: of a result")
    assert reply.refusal is None
    assert await sent(uplink(reply)) == SAFE


async def test_rows_without_a_route_wait_for_it() -> None:
    text = "no_route: stream 'x' has no route; there are: y"
    assert await sent(uplink(CoapReply("no_route", text.encode()))) == Outcome("barred", text)


async def test_it_waits_for_what_is_asked() -> None:
    assert await sent(uplink(CoapReply("overload", max_age=7))) == Outcome("wait", "overload", 7.0)


async def test_that_whoever_answers_is_no_bridge_is_told_once_until_one_does(caplog: pytest.LogCaptureFixture) -> None:
    made = uplink(RemoteProtocolError("4.05"), CoapReply("no_route"), CoapReply("changed"), CoapReply("no_route", b"?"))
    for _ in range(2):
        with pytest.raises(LinkError, match="no bridge"):
            await sent(made)
    assert await sent(made) == SAFE
    with pytest.raises(LinkError, match="no bridge"):
        await sent(made)
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert ["4.05" in one for one in told] == [True, False]
    assert all("is the port right?" in one for one in told)
