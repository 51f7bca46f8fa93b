"""OpenAI batch files: the lines to send, and the results as they come.

Invariants: nothing is sent of an input with a bad line; a result that was written is on the disk;
each `custom_id` has at most one line in the results, whatever was interrupted.
Source: OpenAI's Batch API, input and output file formats.
"""

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json, to_json

from gateway.cli.exits import FAILED, USAGE, CommandError
from gateway.journal.shapes import Json

MAX_PROBLEMS = 20  # of an input are told, the others counted
RESULT = b'{"id":"batch_req_'  # how each line that we write begins
ID = "batch_req_"


@dataclass(frozen=True, slots=True)
class Line:
    """Where one request stands in the input; its body is read when it is sent."""

    number: int  #: from 1
    start: int  #: offset of its first byte
    custom_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one request."""

    custom_id: str
    call_id: str | None = None
    status: int | None = None  #: of the answer; None: there is none
    request_id: str | None = None
    body: bytes = b""
    code: str | None = None  #: why there is no answer
    message: str | None = None

    @property
    def failed(self) -> bool:
        """No answer, or one that says no."""
        return self.status is None or self.status >= 400

    def encoded(self) -> bytes:
        """Its line of the results. A JSON body stands there verbatim, number by number."""
        name = ID + (self.call_id or "").removeprefix("call_")
        head = to_json({"id": name, "custom_id": self.custom_id})[:-1]
        if self.status is None:
            error = to_json({"code": self.code, "message": self.message})
            return head + b',"response":null,"error":' + error + b"}\n"
        answer = to_json({"status_code": self.status, "request_id": self.request_id})[:-1]
        body = _in_one_line(self.body)
        return head + b',"response":' + answer + b',"body":' + body + b'},"error":null}\n'


class Batch:
    """The requests of an input file."""

    def __init__(self, path: Path) -> None:
        """Read all of it once.

        Raises: CommandError, with the line numbers of what is wrong
        """
        self._path = path
        self.lines: list[Line] = []
        problems: list[str] = []
        seen: dict[str, int] = {}
        start = 0
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    custom_id, problem = _check(text)
                    if problem is None and custom_id in seen:
                        problem = f"custom_id {custom_id!r} is that of line {seen[custom_id]} too"
                    if problem is not None:
                        problems.append(f"{path}:{number}: {problem}")
                    seen.setdefault(custom_id, number)
                    self.lines.append(Line(number, start, custom_id))
                start += len(text)
        if problems:
            more = len(problems) - MAX_PROBLEMS
            told = problems[:MAX_PROBLEMS] + ([f"… and {more} more"] if more > 0 else [])
            raise CommandError("\n".join([*told, "nothing was sent"]), USAGE)

    def request(self, line: Line) -> tuple[str, Json]:
        """The path and the body of *line*. Raises: CommandError, where the file has changed."""
        with self._path.open("rb") as file:
            file.seek(line.start)
            text = file.readline()
        custom_id, problem = _check(text)
        if problem is not None or custom_id != line.custom_id:
            raise CommandError(f"{self._path} was changed while it was sent", FAILED)
        content = json.loads(text)
        return content["url"], content["body"]


class Results:
    """The results file: appended to line by line, each on the disk before it counts."""

    def __init__(self, descriptor: int, done: set[str], failed: set[str]) -> None:
        self.done = done  #: custom_ids of the batch, those of failed ones among them
        self.failed = failed
        self._descriptor = descriptor
        self._writing = asyncio.Lock()

    async def add(self, result: Result) -> None:
        """Append *result*."""
        async with self._writing:
            await asyncio.to_thread(self._append, result.encoded())
            self.done.add(result.custom_id)
            if result.failed:
                self.failed.add(result.custom_id)

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)


@contextmanager
def open_results(path: Path, batch: Batch) -> Iterator[Results]:
    """The results of *batch* at *path*, for this process alone; a line cut off at the end is removed.

    Raises: CommandError, where the file is in use or holds something else
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{path} is being written by another submit", FAILED) from None
        ids = {line.custom_id for line in batch.lines}
        done: set[str] = set()
        failed: set[str] = set()
        whole = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and _begins_a_result(line):
                    os.ftruncate(descriptor, whole)
                    break
                custom_id, has_failed = _read_result(path, number, line)
                done.add(custom_id)
                if has_failed:
                    failed.add(custom_id)
                whole += len(line)
        yield Results(descriptor, done & ids, failed & ids)
    finally:
        os.close(descriptor)


def idempotency_key(identity: str, custom_id: str, path: str, body: Json) -> str:
    """The same for the same line of the same job, whenever it is sent; *identity* is the job's."""
    content = json.dumps([identity, custom_id, path, body], sort_keys=True)
    return f"submit-{hashlib.sha256(content.encode()).hexdigest()[:40]}"


def _check(text: bytes) -> tuple[str, str | None]:
    """The custom_id of an input line, and what is wrong with the line."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return "", f"not JSON: {error}"
    if not isinstance(content, dict):
        return "", "not a JSON object"
    url, body = content.get("url"), content.get("body")
    custom_id = content.get("custom_id")
    custom_id = custom_id if isinstance(custom_id, str) else ""
    is_path = isinstance(url, str) and url.startswith("/") and not url.startswith("/-/")
    claims = (
        (custom_id != "", "custom_id must be a text"),
        (content.get("method") == "POST", "method must be POST"),
        (is_path, "url must be a path, such as /v1/chat/completions"),
        (isinstance(body, dict), "body must be a JSON object"),
        (not (isinstance(body, dict) and body.get("stream")), "stream: a result is one line"),
    )
    problem = next((problem for holds, problem in claims if not holds), None)
    return custom_id, problem


def _begins_a_result(line: bytes) -> bool:
    return line.startswith(RESULT) or RESULT.startswith(line)


def _read_result(path: Path, number: int, line: bytes) -> tuple[str, bool]:
    """The custom_id of a line of results, and whether it failed."""
    try:
        content = json.loads(line)
        custom_id, response = content["custom_id"], content["response"]
        return custom_id, response is None or response["status_code"] >= 400
    except (ValueError, KeyError, TypeError):
        raise CommandError(
            f"{path}:{number}: not a line of batch results; name another --out", USAGE
        ) from None


def _in_one_line(body: bytes) -> bytes:
    """*body* as a JSON value: itself where it is JSON, else as a text."""
    try:
        from_json(body, allow_inf_nan=False)
        body.decode()
    except ValueError:
        return to_json(body.decode("utf-8", "replace"))
    return body.replace(b"\r", b" ").replace(b"\n", b" ")  # raw ones are but whitespace in JSON
