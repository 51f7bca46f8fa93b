"""Pings between events: whatever the stream, the official decoders never notice them."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from anthropic._streaming import SSEDecoder as AnthropicDecoder
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder as OpenAIDecoder

from gateway.call import Attempt
from gateway.relay.recording import Recording
from gateway.web.pings import Pings

SSE = ((b"Content-Type", b"text/event-stream"),)


def recording(*headers: tuple[bytes, bytes], clock: list[float] | None = None) -> Recording:
    async def keep(_: Recording) -> None:
        raise NotImplementedError

    async def load(start: int, at_most: int) -> bytes:
        raise NotImplementedError

    now = clock or [0.0]
    made = Recording(
        Attempt(number=1, upstream="a", started_at=0),
        monotonic=lambda: now[0],
        spill=keep,
        load=load,
    )
    made.begin(status=200, reason=None, headers=SSE + headers, declared=None, is_bodyless=False)
    return made


async def pinged(pieces: Iterator[bytes], dialect: str) -> tuple[bytes, int]:
    """What a client reads that gets a ping wherever one may stand, and how many those were."""
    pings, stream = Pings(1, dialect), recording()
    read, count = b"", 0
    for piece in [b"", *pieces]:
        if piece:
            await stream.append(piece)
            read += piece
        await pings.look(stream)
        if pings.fits(stream, stream.size):
            read += pings.ping
            count += 1
    return read, count


def cut(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    yield from (data[a:b] for a, b in pairwise(edges))


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n"])
CUTS = st.lists(st.integers(0), max_size=15)


@st.composite
def openai_streams(draw: st.DrawFn) -> bytes:
    """Chunks, some with an id, comments, and the end."""
    end, events = draw(ENDS), []
    for content in draw(st.lists(TEXT, max_size=5)):
        lines = [f"data: {json.dumps({'content': content}, ensure_ascii=draw(st.booleans()))}"]
        if draw(st.integers(0, 3)) == 0:
            lines.insert(draw(st.integers(0, 1)), f"id: {len(events)}")
        events.append(lines)
    events.append(["data: [DONE]"])
    return "".join(end.join([*lines, "", ""]) for lines in events).encode()


@st.composite
def anthropic_streams(draw: st.DrawFn) -> bytes:
    """Named events, as Anthropic sends them."""
    end, names = draw(ENDS), ["message_start", "content_block_delta", "ping"]
    events = [
        (draw(st.sampled_from(names)), content) for content in draw(st.lists(TEXT, max_size=5))
    ]
    return "".join(
        f"event: {name}{end}data: {json.dumps({'text': content})}{end}{end}" for name, content in events
    ).encode()  # fmt: skip


@settings(deadline=None)
@given(stream=openai_streams(), cuts=CUTS)
async def test_openais_decoder_sees_the_same_events(stream, cuts):
    """Its client parses the data of whatever event it is given, an empty one included."""
    read, count = await pinged(cut(stream, cuts), "openai")

    def decoded(data: bytes) -> list[str]:
        return [event.data for event in OpenAIDecoder().iter_bytes(iter([data]))]

    assert decoded(read) == decoded(stream)
    assert count >= 2


@settings(deadline=None)
@given(stream=anthropic_streams(), cuts=CUTS)
async def test_anthropics_decoder_sees_the_same_events_and_pings(stream, cuts):
    read, count = await pinged(cut(stream, cuts), "anthropic")

    def decoded(data: bytes) -> list[tuple[str | None, str]]:
        return [(event.event, event.data) for event in AnthropicDecoder().iter_bytes(iter([data]))]

    def less_ours(events: list[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
        return [event for event in events if event != ("ping", '{"type": "ping"}')]

    assert less_ours(decoded(read)) == less_ours(decoded(stream))
    assert len(decoded(read)) == len(decoded(stream)) + count


@settings(deadline=None)
@given(stream=openai_streams(), cuts=CUTS)
async def test_for_gemini_a_ping_is_a_blank_line_and_no_more(stream, cuts):
    read, _ = await pinged(cut(stream, cuts), "gemini")

    def said(data: bytes) -> list[bytes]:
        return [line for line in data.split(b"\n") if line.strip()]

    assert said(read) == said(stream)


@pytest.mark.parametrize("filler", [b"", b"data: {}\n\n" * 20_000], ids=["at once", "late"])
async def test_an_id_anywhere_before_changes_the_form(filler):
    stream = recording()
    pings = Pings(1, "openai")
    await stream.append(filler[:200_000])
    await pings.look(stream)
    assert pings.ping == b": ping\n\n"

    await stream.append(b"data: {}\nid")
    await pings.look(stream)
    await stream.append(b": 7\n\n")
    assert not pings.fits(stream, stream.size)  # not looked at yet: who knows
    await pings.look(stream)

    assert pings.fits(stream, stream.size)
    assert pings.ping == b": ping\n"


async def test_nothing_fits_where_the_client_lags_or_the_stream_is_packed():
    stream, packed = recording(), recording((b"Content-Encoding", b"gzip"))
    for each in (stream, packed):
        await each.append(b"data: {}\n\n")
    pings = Pings(1, "anthropic")

    assert pings.fits(stream, 10)
    assert not pings.fits(stream, 9)
    assert not pings.fits(packed, 10)


@pytest.mark.parametrize(
    ("end", "fits"),
    [
        (b"", True),
        (b"\n", False),
        (b"\n\n", True),
        (b"\r\n", False),
        (b"\r\n\r", False),
        (b"\r\n\r\n", True),
        (b"\r\r", True),
    ],
)
async def test_a_boundary_is_a_blank_line_however_it_is_written(end, fits):
    stream = recording()
    for byte in b"data: {}" + end if end else b"":
        await stream.append(bytes([byte]))

    assert Pings(1, "anthropic").fits(stream, stream.size) is fits
