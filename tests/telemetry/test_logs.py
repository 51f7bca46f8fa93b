"""Logs: one line an event, whatever stands in its values, and nothing secret in it."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import logs
from gateway.telemetry.logs import loop_exception_handler, redact_text

HOSTILE = "first\nsecond\r\x1b[31mred\x1b[0m \x07 \x9b2J \u202egpj.exe \ud800 \u2028 \x00 \x7f"


class Written(io.TextIOWrapper):
    """A stderr that remembers."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes)

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def configured(*, pretty: bool = False) -> Written:
    stderr = Written()
    logs.configure(pretty=pretty, stream=stderr, now=lambda: 1_763_000_000.1239)
    return stderr


def test_an_event_is_one_line_of_json_with_the_context_of_its_call() -> None:
    stderr = configured()
    structlog.contextvars.bind_contextvars(call_id="call_1", upstream="openai")

    structlog.get_logger().info("call_succeeded", attempts=2, upstream_s=31.2, model=None)

    assert stderr.events == [
        {
            "timestamp": "2025-11-13T02:13:20.123Z",
            "level": "info",
            "event": "call_succeeded",
            "attempts": 2,
            "upstream_s": 31.2,
            "model": None,
            "call_id": "call_1",
            "upstream": "openai",
        }
    ]
    assert list(stderr.events[0])[:3] == ["timestamp", "level", "event"]


@pytest.mark.parametrize("pretty", [False, True], ids=["json", "console"])
def test_nothing_in_a_value_forges_a_line_or_drives_the_terminal(
    pretty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stderr = configured(pretty=pretty)

    structlog.get_logger().warning(
        HOSTILE, model=HOSTILE, nested=[{HOSTILE: HOSTILE}], error=ValueError(HOSTILE)
    )

    line, end = stderr.text[:-1], stderr.text[-1]
    assert end == "\n"
    assert line.isprintable()


@pytest.mark.parametrize("pretty", [False, True], ids=["json", "console"])
def test_the_text_of_an_exception_stays_within_its_event(
    pretty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stderr = configured(pretty=pretty)
    try:
        raise ValueError(f"{HOSTILE} https://u:hunter2@host/x?key=CANARY&b=1")
    except ValueError:
        structlog.get_logger().exception("handler_failed")

    first, *others = stderr.text.splitlines()
    assert "handler_failed" in first
    assert all(line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in (first, *others))
    assert "ValueError" in stderr.text
    assert "CANARY" not in stderr.text
    assert "hunter2" not in stderr.text


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = configured(pretty=True)
    structlog.get_logger().info("gateway_started")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = configured(pretty=True)
    structlog.get_logger().info("gateway_started")

    assert "\x1b[" in coloured.text
    assert "\x1b[" not in plain.text


def test_a_long_value_is_cut_in_its_middle_and_says_so() -> None:
    stderr = configured()

    structlog.get_logger().info("config_kept", problem="a" * 3_000 + "z", problems=["x"] * 5_000)

    assert stderr.events[0]["problem"] == (
        "a" * 1_000 + "…[1001 characters left out]…" + "a" * 999 + "z"
    )
    assert len(stderr.events[0]["problems"]) == logs.LIST_ITEMS


def test_values_of_any_type_are_written() -> None:
    stderr = configured()

    structlog.get_logger().info("x", a=float("nan"), b=b"\x00", c=(1, {"d"}), e=object, f=10**30)

    event = stderr.events[0]
    assert event["a"] is None
    assert event["b"] == "b'\\x00'"
    assert event["c"] == [1, ["d"]]
    assert event["f"] == 10**30


def test_debug_events_are_not_written() -> None:
    stderr = configured()

    structlog.get_logger().debug("step_taken")

    assert stderr.text == ""


def test_libraries_speak_through_the_same_stream_from_warning_on() -> None:
    stderr = configured()

    logging.getLogger("aiohttp.server").error("Error handling %s", "request\n")
    logging.getLogger("asyncio").warning("slow task")
    logging.getLogger("aiohttp.client").info("nothing to see")

    assert [(e["level"], e["logger"], e["message"]) for e in stderr.events] == [
        ("error", "aiohttp.server", "Error handling request\\n"),
        ("warning", "asyncio", "slow task"),
    ]
    assert not logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)


def test_a_librarys_message_that_does_not_fit_its_arguments_is_still_written() -> None:
    stderr = configured()
    record = {"levelno": logging.ERROR, "name": "aiohttp", "msg": "%d of %d", "args": ("one",)}

    logging.getLogger().handlers[-1].handle(logging.makeLogRecord(record))

    assert stderr.events[0]["message"] == "%d of %d"


def test_configuring_again_moves_everything_to_the_new_stream() -> None:
    log = structlog.get_logger()
    first = configured()
    log.info("one")
    second = configured()
    log.info("two")
    logging.getLogger("aiohttp").warning("three")

    assert [e["event"] for e in first.events] == ["one"]
    assert [e["event"] for e in second.events] == ["two", "library_message"]


def test_a_stderr_that_cannot_be_written_harms_nobody() -> None:
    closed = configured()
    closed.close()

    structlog.get_logger().info("call_succeeded")

    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        stderr = io.TextIOWrapper(full)
        logs.configure(pretty=False, stream=stderr)
        structlog.get_logger().info("call_succeeded")


class Loop:
    """As much of an event loop as a handler asks for."""

    now = 100.0

    def time(self) -> float:
        return self.now


def test_the_event_loop_repeats_itself_once_a_second_at_most() -> None:
    stderr = configured()
    loop: Any = Loop()
    same = {"message": "socket.accept() out of system resource", "exception": OSError(24, "EMFILE")}
    for _ in range(1_000):
        loop_exception_handler(loop, same)
    loop_exception_handler(loop, {"message": "another"})
    loop.now += 1.0
    loop_exception_handler(loop, same)

    assert [(e["message"], e["suppressed"]) for e in stderr.events] == [
        ("socket.accept() out of system resource", 0),
        ("another", 0),
        ("socket.accept() out of system resource", 999),
    ]
    assert "EMFILE" in stderr.events[0]["exception"]


async def test_what_no_task_caught_is_logged_by_the_loops_handler() -> None:
    stderr = configured()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    happened = asyncio.Event()

    def fail() -> None:
        happened.set()
        raise ValueError("token=CANARY")

    loop.call_soon(fail)
    await happened.wait()

    assert stderr.events[0]["event"] == "loop_exception"
    assert "ValueError: token=[redacted]" in stderr.events[0]["exception"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/p?key=S3CRET&alt=sse", "https://h/p?key=[redacted]&alt=sse"),
        ("url='http://h/?a=1&API_KEY=S3CRET'", "url='http://h/?a=1&API_KEY=[redacted]'"),
        ("access_token=a token=b sig=c", "access_token=[redacted] token=[redacted] sig=[redacted]"),
        ("cannot reach http://u:p@h:80/x", "cannot reach http://[redacted]@h:80/x"),
        ("monkey=1 cache_key=2 tokens=3", "monkey=1 cache_key=2 tokens=3"),
        ("mail me@example.org", "mail me@example.org"),
        ("http://h/a@b", "http://h/a@b"),
        ("", ""),
    ],
)
def test_credentials_in_quoted_urls_are_redacted(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@given(
    name=st.sampled_from(["key", "api_key", "access_token", "token", "sig", "KEY"]),
    before=st.text(max_size=10),
    after=st.text(max_size=10),
)
def test_redaction_holds_in_any_surrounding_and_when_repeated(
    name: str, before: str, after: str
) -> None:
    once = redact_text(f"{before}?{name}=CANARY/+%26&{after}")

    assert "CANARY" not in once
    assert redact_text(once) == once
