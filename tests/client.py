"""A client that sees the wire: it sends what a test says and keeps what comes back, unchanged."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from tests import http1
from tests.http1 import Headers

#: Fields the gateway writes itself, to the upstream and to the client.
ADDED_TO_REQUESTS = {"host", "content-length"}
ADDED_TO_ANSWERS = {
    *{"content-length", "transfer-encoding"},
    *{"x-gateway-call-id", "x-gateway-attempts", "server-timing"},
}

PATIENCE_S = 20.0  # an answer that does not come fails its own test by name


@dataclass(eq=False)
class Exchange:
    """One request that was sent and its answer, as much of it as has been read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    method: str
    status: int = 0
    reason: str = ""
    headers: Headers = ()
    body: bytes = b""
    complete: bool = False  #: the answer ended as its framing says
    interim: list[int] = field(default_factory=list)  #: 1xx that came before

    async def read_head(self) -> Self:
        """Read up to the body. Raises: one of `http1.BROKEN`."""
        async with asyncio.timeout(PATIENCE_S):
            while self.status < 200:
                start_line, self.headers = await http1.read_head(self.reader)
                _, code, self.reason = start_line.split(" ", 2)
                self.status = int(code)
                if self.status < 200:
                    self.interim.append(self.status)
        has_body = self.method != "HEAD" and self.status not in (204, 304)
        self._pieces = http1.read_pieces(
            self.reader, self.headers if has_body else (), until_close=has_body
        )
        return self

    async def read_until(self, marker: bytes) -> Self:
        """Read until the body holds *marker*, and no further than the piece that brings it."""
        if not self.status:
            await self.read_head()
        async with asyncio.timeout(PATIENCE_S):
            while marker not in self.body:
                self.body += await anext(self._pieces)
        return self

    async def read(self) -> Self:
        """Read to the end, or to where the answer breaks off."""
        if self.status < 200:
            await self.read_head()
        pieces = [self.body]
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for piece in self._pieces:
                    pieces.append(piece)  # noqa: PERF401 - what came counts also where it breaks off
                self.complete = True
        except http1.BROKEN:
            self.complete = False
        finally:
            self.body = b"".join(pieces)
        self.writer.close()
        return self

    async def write(self, data: bytes) -> None:
        """Send more of the request."""
        self.writer.write(data)
        await self.writer.drain()

    def hang_up(self) -> None:
        """Leave."""
        self.writer.transport.abort()

    def header(self, name: str) -> str | None:
        return http1.value(self.headers, name)

    def values(self, name: str) -> list[str]:
        return http1.values(self.headers, name)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def call_id(self) -> str:
        """The call that this answer belongs to."""
        call_id = self.header("x-gateway-call-id")
        assert call_id is not None, f"{self.status} {self.body[:500]!r}"
        return call_id

    @property
    def code(self) -> str:
        """The error code of an answer that the gateway made itself, in whatever dialect."""
        assert "error=" in (self.header("proxy-status") or ""), f"{self.status} {self.body[:500]!r}"
        return (self.header("proxy-status") or "").partition('details="')[2].rstrip('"')


@dataclass(eq=False)
class Client:
    """Speaks to one server, every request on a connection of its own."""

    host: str
    port: int
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def send(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        json: Any = None,
    ) -> Exchange:
        """Send a request and return at once. `Host` and framing are added unless *headers* say."""
        if json is not None:
            body = _dumps(json)
            headers = [("Content-Type", "application/json"), *headers]
        names = {name.lower() for name, _ in headers}
        if body and not names & {"content-length", "transfer-encoding"}:
            headers = [*headers, ("Content-Length", str(len(body)))]
        if "host" not in names:
            headers = [("Host", f"{self.host}:{self.port}"), *headers]
        exchange = await self.connect(method)
        await exchange.write(http1.head(f"{method} {target} HTTP/1.1", headers) + body)
        return exchange

    async def connect(self, method: str = "GET") -> Exchange:
        """Open a connection without sending anything."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        exchange = Exchange(reader, writer, method)
        self.exchanges.append(exchange)
        return exchange

    async def request(self, method: str, target: str, **said: Any) -> Exchange:
        """Send a request and return its whole answer."""
        return await (await self.send(method, target, **said)).read()

    async def many(self, requests: Sequence[tuple[str, str, dict[str, Any]]]) -> list[Exchange]:
        """Make all *requests* at once; the answers in the same order."""
        return await asyncio.gather(*(self.request(m, t, **said) for m, t, said in requests))

    def close(self) -> None:
        """Hang up whatever is still open."""
        for exchange in self.exchanges:
            exchange.hang_up()


class GatewayClient(Client):
    """The same, with the gateway's own API in words."""

    async def chat(self, *, path: str = "/v1/chat/completions", **said: Any) -> Exchange:
        """Make the plainest call there is and return its whole answer."""
        return await (await self.send_chat(path=path, **said)).read()

    async def send_chat(
        self, *, path: str = "/v1/chat/completions", stream: bool = False, **said: Any
    ) -> Exchange:
        """The same without waiting for an answer."""
        body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": []}
        if stream:
            body["stream"] = True
        return await self.send("POST", path, **{"json": body, **said})

    async def api(self, method: str, target: str, *, expect: int = 200, **said: Any) -> Any:
        """Return the JSON of one of the gateway's own paths."""
        answer = await self.request(method, target, **said)
        assert answer.status == expect, f"{answer.status} {answer.body.decode()}"
        return answer.json()

    async def call(self, call_id: str) -> Any:
        """Return a call as it is now."""
        return await self.api("GET", f"/-/calls/{call_id}")

    async def final(self, call_id: str) -> Any:
        """Return a call once it is final."""
        call = await self.api("GET", f"/-/calls/{call_id}?wait=10")
        assert call["finished_at"] is not None, call
        return call

    async def calls(self, **filters: Any) -> list[Any]:
        """Return a page of calls, newest first."""
        page = await self.api("GET", f"/-/calls?{urlencode(filters)}")
        return list(page["data"])

    async def wait_calls(self, count: int, **filters: Any) -> list[Any]:
        """Return the calls under *filters* as soon as there are *count* of them."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if len(calls := await self.calls(limit=1000, **filters)) == count:
                    return calls

    async def metrics(self) -> dict[str, float]:
        """Return every sample: name and labels as printed → value."""
        text = (await self.request("GET", "/-/metrics")).body.decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if line[:1] not in ("", "#"))
        return {sample: float(number) for sample, _, number in samples}


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
