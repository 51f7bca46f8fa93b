"""One POST to somebody else's server: the only way in which anything but a call leaves the gateway.

Invariants: a connection is made only to an address that was looked at, after the name was resolved
and each time anew; redirects are not followed, cookies and proxies of the environment not used;
of an answer only the status counts, and no more than 64 KiB is read. Every failure is a value.
"""

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override
from yarl import URL

from gateway.call import Headers
from gateway.relay.webhooks.addresses import why_refused

WITHIN_S = 20.0  # from the first look at the name to the end of the answer
ANSWER_BYTES = 65_536
LOOKUPS = 32  # at a time, of names that were not found the last time, or never looked for; …
LOOKUPS_OF_KNOWN = 8  # … of the others: whose name server is silent holds up none of these
KNOWN_NAMES = 10_000


class AddressRefused(OSError):
    """The name leads to where no webhook is sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one POST: a status and fields, or an error instead."""

    status: int | None = None
    headers: Headers = ()
    error: str | None = None


class Poster:
    """Posts webhooks. `open_poster` makes one."""

    def __init__(
        self, public: aiohttp.ClientSession, anywhere: aiohttp.ClientSession, within_s: float
    ) -> None:
        self._public = public
        self._anywhere = anywhere
        self._within_s = within_s

    async def post(
        self, url: URL, body: bytes, headers: Mapping[str, str], *, anywhere: bool
    ) -> Reply:
        """Send *body* to *url*; only where *anywhere* is set may that be inside our own network.

        Raises: asyncio.CancelledError only
        """
        session = self._anywhere if anywhere else self._public
        reply = Reply()
        try:
            async with (
                asyncio.timeout(self._within_s),
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                reply = Reply(answer.status, tuple(answer.raw_headers))
                await _discard(answer)
        except TimeoutError:
            error = f"no answer within {self._within_s:g} s"
        except aiohttp.ClientConnectorError as failed:
            error = _why(failed.os_error)
        except (aiohttp.ClientError, ValueError, OSError) as failed:
            error = f"it sent no valid answer ({type(failed).__name__})"
        else:
            return reply
        return reply if reply.status else Reply(error=error)  # how its body ends does not matter


@asynccontextmanager
async def open_poster(
    *,
    own_port: Callable[[], int],
    within_s: float = WITHIN_S,
    resolver: AbstractResolver | None = None,
    why_not: Callable[[str], str | None] = why_refused,
    trust: ssl.SSLContext | bool = True,
) -> AsyncIterator[Poster]:
    """Two sessions: one that looks at every address, one for hosts that may be anywhere.

    *own_port* is where this gateway listens: through no public address does a webhook come back.
    *trust* is whose certificates are believed; True: the system's, or SSL_CERT_FILE's.
    """

    def open_socket(info: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
        family, kind, protocol, _, address = info
        if why := why_not(address[0]):
            raise AddressRefused(f"its address is {why}")
        if address[1] == own_port() and _is_ours(family, address):
            raise AddressRefused("it is this gateway")
        return socket.socket(family, kind, protocol)

    resolver = resolver or NameResolver()
    public = _connector(resolver, open_socket, trust)
    anywhere = _connector(resolver, None, trust)
    try:
        async with _session(public) as guarded, _session(anywhere) as unguarded:
            yield Poster(guarded, unguarded, within_s)
    finally:
        await resolver.close()


def _connector(
    resolver: AbstractResolver,
    open_socket: Callable[..., socket.socket] | None,
    trust: ssl.SSLContext | bool,
) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        limit=0,
        force_close=True,
        use_dns_cache=False,
        resolver=resolver,
        socket_factory=open_socket,
        ssl=trust,
    )


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("Accept-Encoding",),
    )


def _why(failed: OSError) -> str:
    """Why there is no connection, in words that help whoever set the receiver up."""
    if isinstance(failed, AddressRefused):
        return str(failed)
    if isinstance(failed, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {failed.verify_message}"
    if isinstance(failed, ssl.SSLError):
        return f"it speaks no TLS that we understand ({failed.reason})"
    return "it cannot be reached"


async def _discard(answer: aiohttp.ClientResponse) -> None:
    """Let the receiver finish its answer, unless that is a long one."""
    left = ANSWER_BYTES
    while left > 0 and (piece := await answer.content.read(left)):
        left -= len(piece)
    answer.close()


def _is_ours(family: int, address: tuple[str, int]) -> bool:
    """Whether *address* is this machine's: then the kernel would send from there. Sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except OSError:
            return False
        return bool(probe.getsockname()[0] == address[0])


class NameResolver(AbstractResolver):
    """Looks names up in threads of its own: those of the event loop are for calls.

    A thread cannot be stopped, and a silent name server holds one for up to a minute. So names that
    were found the last time have threads that no others get.
    """

    def __init__(self, lookup: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-lookup")
        self._threads_of_known = ThreadPoolExecutor(LOOKUPS_OF_KNOWN, "webhook-lookup-known")
        self._known: OrderedDict[str, None] = OrderedDict()  # the latest last

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        threads = self._threads_of_known if host in self._known else self._threads
        looking = asyncio.get_running_loop().run_in_executor(
            threads, self._lookup, host, port, family, socket.SOCK_STREAM
        )
        try:
            found = await looking
        except BaseException:  # not found, or given up
            self._known.pop(host, None)
            raise
        self._known[host] = None
        self._known.move_to_end(host)
        if len(self._known) > KNOWN_NAMES:
            self._known.popitem(last=False)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind,
                proto=protocol, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]  # fmt: skip

    @override
    async def close(self) -> None:
        for threads in (self._threads, self._threads_of_known):
            threads.shutdown(wait=False, cancel_futures=True)
