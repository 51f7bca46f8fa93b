"""`/-/calls/{id}/body`: recorded bytes for who inspects a call, finished or not."""

from tests.conftest import OpenGateway
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import Answer, Gate, stream


async def test_a_failed_answer_is_read_like_any_other(
    gateway: OpenGateway, upstream: ScriptedUpstream
) -> None:
    """What an upstream said with its 503 is data here, not a failure of the reading."""
    upstream.answer = Answer(503, body=b'{"error": "busy"}')
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 1}}}) as gw:
        call_id = (await gw.chat()).call_id
        answer = await gw.request("GET", f"/-/calls/{call_id}/body")
        asked = await gw.request("GET", f"/-/calls/{call_id}/body?attempt=0")

    assert (answer.status, answer.body) == (200, b'{"error": "busy"}')
    assert answer.header("x-gateway-body-complete") == "true"
    assert upstream.request.body == asked.body


async def test_a_piece_says_how_much_there_is(
    gateway: OpenGateway, upstream: ScriptedUpstream
) -> None:
    """A reader that goes on from where it is meets an empty piece, never an error."""
    upstream.answer = Answer(body=b"0123456789")
    async with gateway() as gw:
        path = f"/-/calls/{(await gw.chat()).call_id}/body"
        piece = await gw.request("GET", f"{path}?offset=3&limit=4")
        beyond = await gw.request("GET", f"{path}?offset=99")
        wrong = await gw.request("GET", f"{path}?offset=-1")

    assert (piece.body, piece.header("x-gateway-body-bytes")) == (b"3456", "10")
    assert (beyond.status, beyond.body) == (200, b"")
    assert wrong.status == 400


async def test_an_answer_is_read_while_it_arrives(
    gateway: OpenGateway, upstream: ScriptedUpstream
) -> None:
    """Reading along changes nothing: the client gets its stream as if nobody had looked."""
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n"], gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(b"data: 1\n\n")
        seen = await gw.request("GET", f"/-/calls/{sent.call_id}/body")
        gate.open()
        await sent.read()

    assert (seen.body, seen.header("x-gateway-body-complete")) == (b"data: 1\n\n", "false")
    assert sent.complete
