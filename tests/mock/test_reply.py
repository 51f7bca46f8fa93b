"""How answers leave: whole, late, in half, or not at all."""

import asyncio

import pytest

from tests.http1 import BROKEN


async def test_a_plain_answer_is_whole_and_says_its_length(mock):
    async with mock() as api:
        answer = await api.ask()

    assert (answer.status, answer.complete) == (200, True)
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("content-type") == "application/json"


async def test_a_reset_comes_before_any_byte(mock):
    async with mock() as api:
        exchange = await api.send(
            "POST", "/v1/chat/completions", headers=[("x-mock", "fault=reset")]
        )
        with pytest.raises(ConnectionResetError):
            await exchange.read_head()

    assert exchange.status == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/x"])
async def test_a_cut_answer_is_half_of_what_it_declares(mock, path):
    async with mock() as api:
        answer = await api.ask(path, x_mock="fault=cut", input="a")

    assert (answer.status, answer.complete) == (200, False)
    assert len(answer.body) == int(answer.header("content-length")) // 2 > 0


async def test_an_error_can_be_cut_as_well(mock):
    async with mock() as api:
        answer = await api.ask(x_mock="fault=cut, status=503")

    assert (answer.status, answer.complete) == (503, False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_a_cut_stream_lacks_its_second_half_and_its_end(mock, path):
    async with mock(tokens=8) as api:
        whole = await api.ask(path, stream=True)
        cut = await api.ask(path, x_mock="fault=cut", stream=True)

    assert (whole.complete, cut.complete) == (True, False)
    assert whole.header("transfer-encoding") == cut.header("transfer-encoding") == "chunked"
    assert 3 * len(whole.body) // 4 > len(cut.body) > 0
    assert cut.body.endswith(b"\n\n")


async def test_a_cut_head_has_no_body_and_breaks_nothing(mock):
    async with mock() as api:
        answer = await api.request("HEAD", "/x", headers=[("x-mock", "fault=cut")])

    assert (answer.status, answer.body) == (200, b"")


async def test_a_hanging_request_is_over_when_its_client_leaves_or_the_server_stops(mock):
    """Both would otherwise hang this test."""
    async with mock() as api:
        waiting = await api.send("GET", "/x", headers=[("x-mock", "fault=hang")])
        answered = await api.ask()
        waiting.hang_up()
        left = await api.send("GET", "/x", headers=[("x-mock", "fault=hang")])
        assert answered.status == 200
    with pytest.raises(BROKEN):
        await left.read_head()


async def test_a_plain_answer_waits_for_the_whole_latency(mock):
    loop = asyncio.get_running_loop()
    async with mock() as api:
        began = loop.time()
        await api.ask(x_mock="latency_s=0.05")

    assert loop.time() - began >= 0.05


async def test_a_stream_begins_early_and_takes_the_whole_latency(mock):
    """Proportions, not moments: what comes first has waited a tenth, what comes last all of it."""
    loop = asyncio.get_running_loop()
    async with mock(latency_s=0.2, tokens=3) as api:
        began = loop.time()
        exchange = await api.send("POST", "/v1/chat/completions", json={"stream": True})
        await exchange.read_until(b"assistant")
        first = loop.time() - began
        await exchange.read()
        last = loop.time() - began

    assert first >= 0.02
    assert last >= 0.2
    assert last > first


async def test_a_client_that_leaves_a_stream_breaks_nothing(mock, caplog):
    async with mock(tokens=100_000) as api:
        exchange = await api.send("POST", "/v1/messages", json={"stream": True})
        await exchange.read_until(b"message_start")
        exchange.hang_up()
        after = await api.ask(x_mock="tokens=1")

    assert after.status == 200
    assert not caplog.records


@pytest.mark.parametrize(
    ("seconds", "headers"), [("1", ("1", None)), ("0.25", ("1", "250")), ("400", ("400", None))]
)
async def test_retry_after_is_in_whole_seconds_and_exact_in_ms(mock, seconds, headers):
    async with mock() as api:
        answer = await api.ask(x_mock=f"status=429, retry_after_s={seconds}")

    assert (answer.header("retry-after"), answer.header("retry-after-ms")) == headers


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(mock, status):
    async with mock() as api:
        whole = await api.ask(x_mock=f"status={status}")
        cut = await api.ask(x_mock=f"status={status}, fault=cut")

    assert (whole.status, whole.body, whole.complete) == (status, b"", True)
    assert (cut.status, cut.body) == (status, b"")
