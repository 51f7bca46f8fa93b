"""Single keys from a terminal, as they are pressed."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
NAMED = {"\r": "enter", "\n": "enter", "\x1b": "escape", "\x7f": "back", "\b": "back", "\t": "tab"}


@asynccontextmanager
async def open_keys() -> AsyncIterator[asyncio.Queue[str]]:
    """Yield the keys of stdin, a terminal, one an item: a character or a name from here.

    The terminal is as it was before when the context ends, however it ends.
    """
    loop, fd = asyncio.get_running_loop(), sys.stdin.fileno()
    keys: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for key in read_keys(os.read(fd, 64)):
            keys.put_nowait(key)

    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield keys
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def read_keys(data: bytes) -> list[str]:
    """The keys that a terminal sent as *data*; sequences that mean nothing here are left out."""
    if not data:
        return ["q"]  # the terminal is gone
    text, keys = data.decode(errors="replace"), []
    while text:
        if (arrow := ARROWS.get(text[:3])) is not None:
            keys.append(arrow)
            text = text[3:]
        elif text[0] == "\x1b" and len(text) > 1:
            break
        else:
            keys.append(NAMED.get(text[0], text[0]))
            text = text[1:]
    return keys
