"""`GET /-/calls/{id}/chunks`: when which piece of an answer arrived."""

from tests.steps import stream


async def test_the_pieces_of_a_stream_have_their_times(gateway, upstream):
    pieces = [b"data: one\n\n", b"data: two and more\n\n", b"data: [DONE]\n\n"]
    upstream.answer = stream(pieces)
    async with gateway() as gw:
        answer = await gw.chat()
        told = await gw.api("GET", f"/-/calls/{answer.call_id}/chunks")

    assert (told["object"], told["attempt"]) == ("list", 1)
    data = told["data"]
    assert sum(each["bytes"] for each in data) == len(b"".join(pieces))
    assert [each["offset"] for each in data] == [
        sum(before["bytes"] for before in data[:at]) for at in range(len(data))
    ]
    times = [each["at_ms"] for each in data]
    assert times == sorted(times)


async def test_a_body_that_came_in_one_piece_is_one_entry(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.chat()
        told = await gw.api("GET", f"/-/calls/{answer.call_id}/chunks")

    (only,) = told["data"]
    assert (only["offset"], only["bytes"]) == (0, len(answer.body))
    assert 0 <= only["at_ms"] < 10_000


async def test_every_attempt_has_its_own(gateway, upstream):
    upstream.script = [503, 200]
    async with gateway() as gw:
        answer = await gw.chat()
        first = await gw.api("GET", f"/-/calls/{answer.call_id}/chunks?attempt=1")
        answers = await gw.api("GET", f"/-/calls/{answer.call_id}/chunks")
        third = await gw.request("GET", f"/-/calls/{answer.call_id}/chunks?attempt=3")
        wrong = await gw.request("GET", f"/-/calls/{answer.call_id}/chunks?offset=3")

    assert first["attempt"] == 1
    assert first["data"][0]["bytes"] == len(b'{"error":{"message":"no"}}')
    assert answers["attempt"] == 2
    assert (third.status, wrong.status) == (404, 400)
