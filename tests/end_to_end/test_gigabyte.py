"""An answer of a gigabyte: it arrives whole, is kept whole, and is never in RAM."""

import asyncio
import hashlib
import logging
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests import http1
from tests.steps import Answer

log = logging.getLogger(__name__)  # --log-cli-level=info shows what was measured

MIB = 1024 * 1024
SIZE = 1024 * MIB
ALLOWED = 100 * MIB  # of RAM more than idle, whatever the size
READ_S = 900.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(READ_S),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]


class Source:
    """An upstream's step: no two of its pieces are equal."""

    def __init__(self, framing):
        self.framing = framing
        self.sha256 = hashlib.sha256()
        self.sent = asyncio.Event()

    async def __call__(self, request):
        chunked = self.framing == "chunked"
        length = () if chunked else [("Content-Length", str(SIZE))]
        answer = Answer(headers=[("Content-Type", "text/plain"), *length], chunks=())
        await request.write(answer.head())
        block = hashlib.shake_256(b"block").digest(MIB - 8)
        for at in range(SIZE // MIB):
            piece = at.to_bytes(8, "big") + block
            self.sha256.update(piece)
            await request.write(http1.chunk(piece) if chunked else piece)
        if chunked:
            await request.write(http1.chunk(b""))
        self.sent.set()


async def read_hash(exchange, *, slowly_until=None):
    """Read an answer to its end, keeping only its hash; *slowly_until* then a mebibyte a second."""
    line, headers = await http1.read_head(exchange.reader)
    assert line.split()[1] == "200"
    digest, taken = hashlib.sha256(), 0
    async for piece in http1.read_pieces(exchange.reader, headers):
        digest.update(piece)
        taken += len(piece)
        if slowly_until is not None and not slowly_until.is_set() and taken >= MIB:
            taken = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await slowly_until.wait()
    return digest.hexdigest()


def memory(pid, what):
    """Return `VmRSS`, or `VmHWM`, the most there ever was; in bytes."""
    found = re.search(
        rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("framing", "slowly"),
    [("length", False), ("chunked", False), ("chunked", True)],
    ids=["of a declared length", "in chunks", "read slowly"],
)
async def test_a_gigabyte_arrives_whole_is_kept_whole_and_is_never_in_ram(
    gateway_process, upstream, tmp_path, framing, slowly
):
    if shutil.disk_usage(tmp_path).free < 4 * SIZE:
        pytest.skip("it takes 4 GiB of disk")
    loop = asyncio.get_running_loop()
    upstream.answer = source = Source(framing)
    try:
        async with gateway_process() as gw:
            await gw.request("GET", "/-/ready")
            idle = memory(gw.process.pid, "VmRSS")
            began = loop.time()
            arrived = await read_hash(
                await gw.send_chat(), slowly_until=source.sent if slowly else None
            )
            took_s = loop.time() - began
            (call,) = await gw.wait_calls(1, status="succeeded")
            kept = await read_hash(await gw.send("GET", f"/-/calls/{call['id']}/response"))
            read_s = loop.time() - began - took_s
            more = memory(gw.process.pid, "VmHWM") - idle
    finally:
        for each in tmp_path.glob("gateway.db*"):
            each.unlink()
    log.info("relayed in %.1f s, read back in %.1f s, %.1f MiB", took_s, read_s, more / MIB)

    assert call["response"]["bytes"] == SIZE
    assert arrived == source.sha256.hexdigest()
    assert kept == arrived
    assert more < ALLOWED
