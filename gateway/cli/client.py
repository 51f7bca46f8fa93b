"""Where commands find calls: at a running gateway, over HTTP, or in the journal's file.

`--db` names a file and `--url` a gateway. Without them the config's journal decides: its lock file
tells where the gateway listens that holds it; when none does, the file itself is read.
"""

import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import click
from pydantic_core import from_json
from yarl import URL

from gateway.cli.exits import UNAUTHORISED, UNREACHABLE, USAGE, CommandError
from gateway.cli.journal_file import open_journal_file
from gateway.config import load_journal_path
from gateway.journal.lock import lock_path, read_lock
from gateway.journal.shapes import Json

CONNECT_S = 5.0
ACTING_S = 3600.0  # acting on many calls, or pruning, may take so long
SILENCE_S = 60.0  # a gateway that says nothing for so long, beyond what it was asked to wait


class Lost(CommandError):
    """An answer broke off."""


class Source(Protocol):
    """Recorded calls, wherever they are read. Bodies raise CommandError where they break off."""

    async def page(self, parameters: Sequence[tuple[str, str]]) -> Json:
        """The list that `GET /-/calls` gives for these *parameters*."""
        ...

    async def call(self, call_id: str) -> Json:
        """The call, whole."""
        ...

    def request_body(self, call_id: str) -> AsyncIterator[bytes]:
        """The bytes that the client sent."""
        ...

    def response_body(
        self, call_id: str, attempt: int | None, wait_s: float
    ) -> AsyncIterator[bytes]:
        """The bytes of the answer, or of attempt number *attempt*'s, once they are all there."""
        ...

    def export(self, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """JSON lines of the calls that these *parameters* choose, in pieces."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the command line says about where to look."""

    config: Path
    db: Path | None = None
    url: str | None = None
    key: str | None = field(default=None, repr=False)


with_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The gateway's configuration; only [journal] is read.",
)
with_file = click.option(
    "--db",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this journal file, whether a gateway runs or not.",
)


def locating(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options that say where the calls are, as the argument `where`."""
    return with_file(reaching(command))


def reaching(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that only a running gateway can do."""

    @with_config
    @click.option("--url", envvar="GATEWAY_URL", show_envvar=True, help="Ask this gateway.")
    @click.option("--key", envvar="GATEWAY_KEY", show_envvar=True, help="The key to ask it with.")
    @functools.wraps(command)
    def located(
        *,
        config: Path,
        url: str | None,
        key: str | None,
        db: Path | None = None,
        **arguments: Any,
    ) -> None:
        command(where=Where(config=config, db=db, url=url, key=key), **arguments)

    return located


@asynccontextmanager
async def open_source(where: Where) -> AsyncIterator[Source]:
    """The running gateway, or the file.

    Raises: CommandError; GatewayError, of the config or the file
    """
    gateway = find_gateway(where)
    if isinstance(gateway, Path):
        async with open_journal_file(gateway) as source:
            yield source
    else:
        async with gateway:
            yield gateway


@asynccontextmanager
async def open_gateway(where: Where) -> AsyncIterator["Gateway"]:
    """The running gateway. Raises: CommandError, where none runs; ConfigError."""
    gateway = find_gateway(where)
    if isinstance(gateway, Path):
        raise CommandError(f"no gateway runs on {gateway}", UNREACHABLE)
    async with gateway:
        yield gateway


def find_gateway(where: Where) -> "Gateway | Path":
    """The gateway that *where* leads to, or the journal that no gateway holds.

    Raises: CommandError; ConfigError
    """
    if where.db is not None:
        return where.db
    if where.url is not None:
        return Gateway(where.url, where.key)
    journal = load_journal_path(where.config, os.environ)
    try:
        holder = read_lock(journal)
    except PermissionError as error:
        raise CommandError(
            f"{lock_path(journal)} may not be read; say where the gateway is with --url and --key",
            UNAUTHORISED,
        ) from error
    if holder is not None:
        if holder.url is None:
            raise CommandError(f"the gateway of {journal} does not listen yet", UNREACHABLE)
        return Gateway(holder.url, where.key or holder.token, certificate=holder.certificate)
    if not journal.exists():
        raise CommandError(
            f"no gateway runs here, and there is no journal at {journal}", UNREACHABLE
        )
    return journal


class Gateway:
    """A running gateway, asked over HTTP. Use it as an async context manager."""

    def __init__(self, url: str, key: str | None, *, certificate: str | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise CommandError(f"{url!r} is not a URL such as http://127.0.0.1:8080", USAGE)
        self._url = url.rstrip("/")
        self._headers = {"x-gateway-key": key} if key else {}
        #: one that we know, whoever signed it and whatever names it holds; else whom the system trusts
        self._trusted = aiohttp.Fingerprint(bytes.fromhex(certificate)) if certificate else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Gateway":
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def page(self, parameters: Sequence[tuple[str, str]]) -> Json:
        """The list that `GET /-/calls` gives for these *parameters*."""
        return await self._json(f"/-/calls?{urlencode(parameters)}", "list")

    async def call(self, call_id: str) -> Json:
        """The call, whole."""
        return await self._json(f"/-/calls/{quote(call_id, safe='')}", "call")

    async def request_body(self, call_id: str) -> AsyncIterator[bytes]:
        """The bytes that the client sent."""
        path = f"/-/calls/{quote(call_id, safe='')}/request"
        async with self.ask("GET", path) as response:
            if response.status != 200:
                raise await self.refusal(response)
            async for piece in response.content.iter_any():
                yield piece

    async def export(self, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """JSON lines of the calls that these *parameters* choose."""
        async with self.ask("GET", f"/-/calls/export?{urlencode(parameters)}") as response:
            if response.status != 200:
                raise await self.refusal(response)
            async for piece in response.content.iter_any():
                yield piece

    async def response_body(
        self, call_id: str, attempt: int | None, wait_s: float
    ) -> AsyncIterator[bytes]:
        """The bytes of the answer, or of attempt number *attempt*'s."""
        asked = {"wait": f"{wait_s:g}"} | ({} if attempt is None else {"attempt": str(attempt)})
        path = f"/-/calls/{quote(call_id, safe='')}/response?{urlencode(asked)}"
        async with self.ask("GET", path, wait_s=wait_s) as response:
            if "x-gateway-pending" in response.headers:
                status = from_json(await response.read())["status"]
                raise CommandError(f"{call_id} is {status}: it has no answer yet")
            # Only recorded answers carry it, whatever status and media type they have.
            if "x-gateway-attempts" not in response.headers:
                raise await self.refusal(response)
            async for piece in response.content.iter_any():
                yield piece

    async def act(self, path: str, kind: str, body: Json | None = None) -> Json:
        """POST *body* to *path*: the object of that *kind* that comes of it."""
        async with self.ask("POST", path, body=body, wait_s=ACTING_S) as response:
            return await self.result(response, kind)

    async def delete(self, path: str) -> None:
        """Remove what is at *path*. Raises: CommandError."""
        async with self.ask("DELETE", path) as response:
            if response.status != 204:
                raise await self.refusal(response)

    async def _json(self, path: str, kind: str) -> Json:
        """The object of that *kind* at *path*."""
        async with self.ask("GET", path) as response:
            return await self.result(response, kind)

    async def result(self, response: aiohttp.ClientResponse, kind: str) -> Json:
        """The object of that *kind* that *response* holds. Raises: CommandError, where it has none."""
        if response.status in (200, 201, 202) and response.content_type == "application/json":
            content = from_json(await response.read())
            if isinstance(content, dict) and content.get("object") == kind:
                return content
        raise await self.refusal(response)

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request; *wait_s*: how long the gateway may be silent over it.

        Raises: CommandError; Lost, when the answer breaks off
        """
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S + wait_s
        )
        url = URL(self._url + path, encoded=True)
        try:
            async with self._session.request(
                method,
                url,
                json=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                ssl=self._trusted,
            ) as response:
                yield response
        except aiohttp.ClientPayloadError as error:
            raise Lost("the answer is incomplete: it broke off here") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise CommandError(
                f"the gateway at {self._url} cannot be reached: {reason}", UNREACHABLE
            ) from error

    async def refusal(self, response: aiohttp.ClientResponse) -> CommandError:
        """What *response*, which is not what was asked for, says."""
        if response.content_type == "application/problem+json":
            problem = from_json(await response.read())
            return CommandError.of(problem["code"], problem["detail"])
        return CommandError(f"{self._url} answered {response.status}; is it a gateway?")
