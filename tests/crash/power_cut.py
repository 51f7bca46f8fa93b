"""The disk as a power cut may leave it, at any instant of a traced run, and what is missing on it.

What a sync made durable is there. Of what was done to a file since, any part may be: nothing, all,
some writes and not others, and of a write some of its sectors.
"""

import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pydantic_core import from_json

from gateway.errors import GatewayError
from gateway.journal.writer import open_journal
from tests import http1
from tests.crash.checker import Journal, read_journal
from tests.crash.disk_trace import Event, Message, Sync, Truncate, Unlink, Write, messages
from tests.crash.histories import FINAL, sha256

FILES = frozenset({"gateway.db", "gateway.db-wal"})  # the index beside them is made anew
SECTOR = 512
#: What becomes of what was not synced, each as often as the others.
FATES = ("nothing", "everything", "some", "torn")

Change = Write | Truncate | Unlink


class Disk:
    """Two files, and all that was done to each since it was synced."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = defaultdict(bytearray)
        self.pending: dict[str, list[Change]] = defaultdict(list)

    def take(self, event: Event) -> None:
        """Go one event on."""
        if isinstance(event, Sync) and event.file in FILES:
            for change in self.pending.pop(event.file, ()):
                _apply(self.durable, change)
        elif isinstance(event, Change) and event.file in FILES:
            self.pending[event.file].append(event)

    def after_a_cut(self, rng: random.Random) -> dict[str, bytearray]:
        """The files as they may be found when the power is back."""
        found = defaultdict(
            bytearray, {name: bytearray(data) for name, data in self.durable.items()}
        )
        for pending in self.pending.values():
            fate = rng.choice(FATES)
            for change in pending:
                for part in _kept(change, fate, rng):
                    _apply(found, part)
        return found


def _kept(change: Change, fate: str, rng: random.Random) -> Iterator[Change]:
    """What is left of *change*."""
    if fate == "torn" and isinstance(change, Write):
        begin, end = change.offset, change.offset + len(change.data)
        cuts = [begin, *range(begin - begin % SECTOR + SECTOR, end, SECTOR), end]
        for start, stop in pairwise(cuts):
            if rng.random() < 0.5:
                yield Write(change.file, start, change.data[start - begin : stop - begin])
    elif fate == "everything" or (fate != "nothing" and rng.random() < 0.5):
        yield change


def _apply(files: dict[str, bytearray], change: Change) -> None:
    if isinstance(change, Unlink):
        files.pop(change.file, None)
        return
    data = files[change.file]
    if isinstance(change, Truncate):
        del data[change.size :]
        data.extend(bytes(change.size - len(data)))
    else:
        data.extend(bytes(max(0, change.offset - len(data))))
        data[change.offset : change.offset + len(change.data)] = change.data


@dataclass
class Told:
    """All that the gateway has said so far."""

    calls: set[str] = field(default_factory=set)  #: ids that clients know
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)  #: id: status, sha
    finals: dict[str, str] = field(default_factory=dict)  #: id: status
    sent: set[int] = field(default_factory=set)  #: the `n` of requests that went upstream

    def take(self, said: Message) -> None:
        """Take one more message, an answer to a client or a request of an upstream."""
        if not said.is_answer:
            self.sent.add(from_json(said.body)["n"])
            return
        if http1.value(said.headers, "proxy-status"):
            return  # an error of the gateway's own
        call_id = http1.value(said.headers, "x-gateway-call-id")
        if said.body.startswith(b'{"object":"call",'):
            call = from_json(said.body)
            call_id = call["id"]
            if call["status"] in FINAL:
                self.finals[call_id] = call["status"]
        elif call_id is not None:
            status = int(said.start_line.split()[1])
            self.answers[call_id] = (status, sha256(said.body))
        if call_id is not None:
            self.calls.add(call_id)


def moments(events: Sequence[Event]) -> dict[int, list[Message]]:
    """What was said with which event: a request as it begins, an answer as it ends."""
    found = defaultdict(list)
    for message in messages(events):
        found[message.last if message.is_answer else message.first].append(message)
    return found


def lay_out(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Write *files* into a new *directory*; where the journal is."""
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory / "gateway.db"


async def start_again(path: Path, *, durability: str) -> tuple[Journal, list[str]]:
    """Open the journal at *path* as a start does; what is in it, and what is wrong with it."""
    now = time.time  # noqa: TID251 - the gateway's
    try:
        async with open_journal(path, durability=durability, now=now) as journal:
            await journal.open_calls()
    except GatewayError as error:
        return {}, [f"refused: {error.message}"]
    with closing(sqlite3.connect(path)) as connection:
        lines = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return read_journal(path), [] if lines == ["ok"] else [f"damaged: {lines[0]}"]


def missing(told: Told, journal: Journal) -> Iterator[str]:
    """Whatever somebody was told and *journal* does not hold."""
    for call_id in sorted(told.calls - journal.keys()):
        yield f"lost: {call_id}"
    for call_id in sorted(told.answers.keys() & journal.keys()):
        found = journal[call_id]
        if told.answers[call_id] != (found.call["http_status"], found.answer_sha256):
            yield f"lost: the answer to {call_id}, which is {found.status}"
    for call_id in sorted(told.finals.keys() & journal.keys()):
        if told.finals[call_id] != journal[call_id].status:
            yield f"lost: that {call_id} {told.finals[call_id]}; it is {journal[call_id].status}"
    begun = {each.n for each in journal.values() if each.attempts or each.call["open_attempt"]}
    for n in sorted(told.sent - begun):
        yield f"lost: that request {n} went upstream"
