"""An answer that is read while it grows: the same bytes for everybody, wherever they begin."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.call import PART_BYTES, Attempt, Headers, Part
from gateway.relay.recording import KEEP_BYTES, WHOLE_BYTES, Recording

SSE = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
PLAIN = ((b"Content-Type", b"application/octet-stream"),)


@dataclass
class Ledger:
    """The journal's part: takes what is spilt, and gives it back from any offset."""

    parts: list[Part] = field(default_factory=list)
    is_durable: bool = True
    loads: int = 0
    ms: float = 0.0

    async def spill(self, recording: Recording) -> None:
        self.take(recording)

    def take(self, recording: Recording) -> None:
        self.parts += recording.take_parts()
        if self.is_durable:
            recording.durable_to(self.size)

    async def load(self, start: int, at_most: int) -> bytes:
        self.loads += 1
        return self.data[start : start + at_most]

    @property
    def data(self) -> bytes:
        return b"".join(part.data for part in self.parts)

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in self.parts)

    def recording(self, headers: Headers = PLAIN, *, declared: int | None = None) -> Recording:
        attempt = Attempt(number=1, upstream="openai", started_at=0)
        recording = Recording(
            attempt, monotonic=lambda: self.ms / 1000, spill=self.spill, load=self.load
        )
        recording.begin(
            status=200, reason="OK", headers=headers, declared=declared, is_bodyless=False
        )
        return recording


@dataclass(eq=False)
class Reader:
    """Takes what is pushed unless it is slow; `pull` is what its own task would do."""

    recording: Recording
    position: int = 0
    slow: bool = False
    taken: bytes = b""
    pushes: int = 0
    wakes: int = 0

    async def push(self, data: bytes) -> bool:
        if self.slow:
            return False
        self.pushes += 1
        self._take(data)
        return True

    def wake(self) -> None:
        self.wakes += 1

    async def pull(self, at_most: int = PART_BYTES) -> None:
        while data := await self.recording.read(self.position, at_most):
            assert len(data) <= at_most
            self._take(data)

    def _take(self, data: bytes) -> None:
        self.taken += data
        self.position += len(data)


def cut(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """Yield *data* in pieces that end at *cuts*."""
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    yield from (data[a:b] for a, b in pairwise(edges))


# -- readers


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3 * KEEP_BYTES // 2)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("durable"), st.booleans()),
        st.tuples(st.just("slow"), st.integers(0, 2)),
        st.tuples(st.just("pull"), st.integers(1, PART_BYTES)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, starts=st.lists(st.floats(0, 1), min_size=3, max_size=3))
async def test_a_reader_gets_the_same_bytes_wherever_and_whenever_it_reads(actions, starts):
    """Chunks of any size, journalled or not, readers that keep up, lag and begin anywhere."""
    ledger = Ledger()
    recording = ledger.recording()
    readers = [Reader(recording) for _ in range(3)]
    for reader in readers:
        recording.follow(reader)
    written = b""
    for action, n in actions:
        if action == "append":
            data = len(written).to_bytes(4, "big") * (n // 4 + 1)
            written += data
            await recording.append(data)
        elif action == "take":
            ledger.take(recording)
        elif action == "durable":
            ledger.is_durable = n
        elif action == "slow":
            readers[n].slow = not readers[n].slow
        else:
            await readers[0].pull(n)
    recording.end(complete=True)
    ledger.take(recording)

    for reader in readers:
        await reader.pull()
        assert reader.taken == written
    for start in starts:
        late = Reader(recording, position=round(start * len(written)))
        begin = late.position
        await late.pull()
        assert late.taken == written[begin:]
    assert ledger.data == written
    assert recording.size == recording.attempt.body_bytes == len(written)
    assert recording.attempt.sha256 == hashlib.sha256(written).hexdigest()
    assert recording.whole() in (None, written)


async def test_a_reader_that_keeps_up_is_pushed_to_and_one_that_lags_is_only_woken():
    recording = Ledger().recording()
    quick, slow = Reader(recording), Reader(recording, slow=True)
    recording.follow(quick)
    recording.follow(slow)
    for _ in range(3):
        await recording.append(b"abc")

    assert (quick.taken, quick.pushes, quick.wakes) == (b"abcabcabc", 3, 0)
    assert (slow.taken, slow.wakes) == (b"", 3)


async def test_a_reader_that_lagged_is_pushed_to_again_once_it_caught_up():
    recording = Ledger().recording()
    reader = Reader(recording, slow=True)
    recording.follow(reader)
    await recording.append(b"one")
    reader.slow = False
    await recording.append(b"two")
    assert reader.pushes == 0  # "two" before "one" would be the wrong order

    await reader.pull()
    await recording.append(b"three")

    assert (reader.taken, reader.pushes) == (b"onetwothree", 1)


async def test_a_reader_that_left_is_not_written_to_again():
    recording = Ledger().recording()
    reader = Reader(recording)
    recording.follow(reader)
    recording.unfollow(reader)
    recording.unfollow(reader)
    await recording.append(b"abc")
    recording.end(complete=False)

    assert (reader.pushes, reader.wakes) == (0, 0)


async def test_the_end_wakes_everybody():
    recording = Ledger().recording()
    readers = [Reader(recording), Reader(recording, slow=True)]
    for reader in readers:
        recording.follow(reader)
    recording.end(complete=True)

    assert [reader.wakes for reader in readers] == [1, 1]
    assert (recording.ended, recording.attempt.complete) == (True, True)


async def test_bytes_leave_ram_only_when_the_journal_has_them():
    ledger = Ledger(is_durable=False)
    recording = ledger.recording()
    written = bytes(range(256)) * 8192  # 2 MiB
    for piece in cut(written, range(0, len(written), 50_000)):
        await recording.append(piece)

    assert recording.whole() == written
    assert await recording.read(0) == written[:PART_BYTES]
    assert ledger.loads == 0

    recording.durable_to(ledger.size)

    assert recording.whole() is None
    assert await recording.read(0) == written[:PART_BYTES]
    assert ledger.loads == 1
    tail = len(written) - 100
    assert await recording.read(tail) == written[tail:]
    assert ledger.loads == 1  # the newest bytes are still at hand


async def test_a_spill_that_is_cancelled_loses_nothing():
    """Waiting for room in the journal: what had not been taken by then is taken later."""
    room = asyncio.Event()
    ledger = Ledger()

    async def spill(recording: Recording) -> None:
        await room.wait()
        ledger.take(recording)

    ledger.spill = spill  # type: ignore[method-assign]
    recording = ledger.recording()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(recording.append(b"x" * PART_BYTES))
        await asyncio.sleep(0)
        task.cancel()
    ledger.take(recording)

    assert ledger.data == b"x" * PART_BYTES


@pytest.mark.parametrize(
    ("declared", "headers", "is_bodyless", "expected"),
    [
        (WHOLE_BYTES, PLAIN, False, True),
        (WHOLE_BYTES + 1, PLAIN, False, False),
        (0, PLAIN, False, True),
        (None, PLAIN, False, False),
        (10, SSE, False, False),
        (WHOLE_BYTES + 1, PLAIN, True, True),
        (None, SSE, True, True),
    ],
)
async def test_a_small_declared_answer_is_given_when_it_is_whole(
    declared, headers, is_bodyless, expected
):
    recording = Ledger().recording()
    recording.begin(
        status=200, reason=None, headers=headers, declared=declared, is_bodyless=is_bodyless
    )

    assert recording.is_given_whole is expected


# -- parts


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 400), st.integers(1, 3 * PART_BYTES)), max_size=8),
    taken_after=st.sets(st.integers(0, 7)),
    headers=st.sampled_from([SSE, PLAIN]),
)
@example(sizes=[PART_BYTES], taken_after=set(), headers=SSE)
@example(sizes=[PART_BYTES - 1, 2], taken_after=set(), headers=SSE)
@example(sizes=[PART_BYTES + 1], taken_after=set(), headers=SSE)
async def test_parts_follow_each_other_without_gap_and_none_is_too_large(
    sizes, taken_after, headers
):
    ledger = Ledger()
    recording = ledger.recording(headers)
    for number, size in enumerate(sizes):
        ledger.ms += 7
        await recording.append(bytes([number]) * size)
        if number in taken_after:
            ledger.take(recording)
    ledger.take(recording)

    assert recording.take_parts() == []
    assert ledger.size == sum(sizes)
    starts = [0, *accumulate(len(part.data) for part in ledger.parts)]
    assert [part.start for part in ledger.parts] == starts[:-1]
    for part in ledger.parts:
        assert 0 < len(part.data) <= PART_BYTES
        if headers is SSE:
            assert sum(size for _, size in part.chunks) == len(part.data)
        else:
            assert part.chunks == ()


async def test_every_part_of_a_stream_holds_the_times_of_its_own_pieces():
    """A crash between two parts must not leave times of bytes that are not there."""
    ledger = Ledger(is_durable=False)
    recording = ledger.recording(SSE)
    for ms, size in [(10, 60), (15, 40), (20, PART_BYTES - 50)]:
        ledger.ms = ms
        await recording.append(b"x" * size)
    ledger.take(recording)

    assert [part.chunks for part in ledger.parts] == [
        ((10, 60), (15, 40)),
        ((20, PART_BYTES - 50),),
    ]


async def test_a_piece_larger_than_a_part_is_cut_and_each_half_keeps_its_time():
    ledger = Ledger()
    recording = ledger.recording(SSE)
    ledger.ms = 12
    await recording.append(b"x" * (2 * PART_BYTES + 5))

    assert [part.chunks for part in ledger.parts] == [
        ((12, PART_BYTES),), ((12, PART_BYTES),), ((12, 5),),
    ]  # fmt: skip


# -- the last event


LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LAST_EVENTS = [
    [b"data: [DONE]"],
    [b"data:[DONE]"],
    [b"event: message_stop", b'data: {"type": "message_stop"}'],
    [b"event: response.completed", b'data: {"type":"response.completed"}'],
    [b"event: response.failed", b"data: {}"],
    [b"event:response.incomplete", b"data: {}"],
    [b'data: {"type":"message_stop"}', b"event: message_stop"],
]
OTHER_EVENTS = [
    [b'data: {"choices":[]}'],
    [b": a comment"],
    [b"event: message_delta", b"data: {}"],
    [b"event: response.completed_not", b"data: {}"],
    [b'data: {"text":"\\ndata: [DONE]\\n"}'],
    [b'data: {"text":"event: message_stop"}'],
    [b"data: say data: [DONE]"],
    [b"data: [DONE] is what ends it"],
    [b"event: x event: message_stop", b"data: {}"],
]


def events(lines: Sequence[Sequence[bytes]], end: bytes) -> bytes:
    return b"".join(end.join([*event, b"", b""]) for event in lines)


async def feed(pieces: Iterator[bytes]) -> tuple[Recording, list[int | None]]:
    """Append *pieces*; where the last event ended as known after each."""
    recording = Ledger().recording(SSE)
    known = []
    for piece in pieces:
        await recording.append(piece)
        known.append(recording.last_event_end)
    return recording, known


@settings(deadline=None)
@given(
    before=st.lists(st.sampled_from(OTHER_EVENTS), max_size=4),
    last=st.sampled_from(LAST_EVENTS),
    after=st.lists(st.sampled_from(OTHER_EVENTS + LAST_EVENTS), max_size=1),
    end=LINE_ENDS,
    cuts=st.lists(st.integers(0), max_size=12),
)
async def test_the_last_event_is_found_wherever_the_stream_is_cut(before, last, after, end, cuts):
    written = events([*before, last], end)

    recording, _ = await feed(cut(written + events(after, end), cuts))

    assert recording.last_event_end == len(written)


@pytest.mark.parametrize("last", LAST_EVENTS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_the_last_event_ends_with_its_blank_line_and_not_before(last, end):
    written = events([[b"data: {}"], last], end)

    _, known = await feed(bytes([byte]) for byte in written)

    assert known == [None] * (len(written) - 1) + [len(written)]


@settings(deadline=None)
@given(
    lines=st.lists(st.sampled_from(OTHER_EVENTS), max_size=6),
    end=LINE_ENDS,
    cuts=st.lists(st.integers(0), max_size=20),
)
@example(lines=[[b"data: " + b"x" * 50 + b"data: [DONE]"]], end=b"\n", cuts=[56, 57])
async def test_no_other_event_is_taken_for_the_last(lines, end, cuts):
    recording, _ = await feed(cut(events(lines, end), cuts))

    assert recording.last_event_end is None


@settings(deadline=None)
@given(text=st.text(max_size=80), words=st.sampled_from(["data: [DONE]", "event: message_stop"]))
async def test_a_model_cannot_forge_the_last_event_from_inside_json(text, words):
    forged = json.dumps({"content": f"{text}\n{words}\n\n{text}\r\n{words}\r\n\r\n"})
    written = events([[f"data: {forged}".encode()]] * 2, b"\n")

    recording, _ = await feed(bytes([byte]) for byte in written)

    assert recording.last_event_end is None


async def test_a_large_last_event_is_not_searched_again_at_every_piece():
    """`response.completed` holds the whole answer: 64 KiB of it byte by byte in well under a second."""
    recording = Ledger().recording(SSE)
    await recording.append(b"event: response.completed\ndata: ")
    for _ in range(65_536):
        await recording.append(b"x")
    await recording.append(b"\n\n")

    assert recording.last_event_end == recording.size
    assert len(recording._tail) <= 2


async def test_only_an_event_stream_has_a_last_event():
    recording = Ledger().recording(PLAIN)
    await recording.append(b"data: [DONE]\n\n")

    assert (recording.is_event_stream, recording.last_event_end) == (False, None)


# -- usage


@pytest.mark.parametrize("declared", [None, 100], ids=["while it arrives", "in the end"])
async def test_the_tokens_of_an_answer_are_read(declared):
    headers = ((b"Content-Type", b"application/json"),)
    recording = Ledger().recording(headers, declared=declared)
    body = b'{"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}'
    await recording.append(body[:20])
    await recording.append(body[20:])
    recording.end(complete=True)

    usage = recording.usage()
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 5, 8)
