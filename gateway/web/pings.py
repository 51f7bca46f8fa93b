"""Pings that keep a silent stream's connection alive, in the form each dialect's clients survive.

A ping stands between two events, never inside one; it is not recorded and counts nowhere.
Source: measured with the official clients: OpenAI's Python decoder never forgets an `id:` and from
then on fails at a blank line without data; Google's fails at anything but a bare line end.
"""

from gateway.call import header
from gateway.relay.recording import Recording

_LOOKED_AT = 65_536  # of a stream's beginning, for an `id:`
_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")


async def ping(recording: Recording | None, position: int, dialect: str) -> bytes:
    """The ping that may be written at *position* of the stream now; b"": none.

    Without a *recording*, the stream has not begun.
    """
    if recording is not None:
        if position < recording.size or header(recording.headers, b"content-encoding"):
            return b""
        end = await recording.read(max(0, position - 4))
        if end and not end.endswith(_BOUNDARIES):
            return b""
    if dialect == "anthropic":
        return b'event: ping\ndata: {"type": "ping"}\n\n'
    if dialect == "gemini":
        return b"\n"
    has_ids = recording is not None and await _has_ids(recording)
    return b": ping\n" if has_ids else b": ping\n\n"


async def _has_ids(recording: Recording) -> bool:
    start = await recording.read(0, _LOOKED_AT)
    return start.startswith(b"id:") or b"\nid:" in start
