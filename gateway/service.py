"""The composition root: opens every resource in order, owns every task, and stops in order.

Reading `open_service` tells what the process is made of; its reverse is how it stops.
"""

import asyncio
import contextlib
import gc
import os
import random
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import blake2b

import structlog
from aiohttp import http_parser, web

from gateway import config
from gateway.background import Background
from gateway.errors import ConfigError, JournalUnavailable
from gateway.ids import IdSource
from gateway.journal import keys
from gateway.journal.condition import shared_directory
from gateway.journal.reader import Reader, open_reader
from gateway.journal.retention import Retention
from gateway.journal.search.indexer import Search
from gateway.journal.unkept import Unkept, set_policies
from gateway.journal.writer import Journal, open_journal
from gateway.mock.app import serve_mock
from gateway.mock.settings import LiveSettings as LiveMockSettings
from gateway.mock.settings import MockSettings
from gateway.relay.admission import Admission
from gateway.relay.live_call import LiveCall
from gateway.relay.relay import Relay
from gateway.relay.sampling import Sampling
from gateway.relay.upstream import Upstream, open_session
from gateway.relay.watching import Watch
from gateway.relay.webhooks.post import open_poster
from gateway.relay.webhooks.sending import Webhooks
from gateway.telemetry.logs import loop_exception_handler
from gateway.telemetry.metrics import Metrics, watch_loop_lag
from gateway.web import (
    acting,
    bodies,
    bulk,
    calls,
    chunks,
    effective,
    exporting,
    openapi,
    operations,
    recorded,
    replaying,
    stats,
    ui,
    upstreams,
    webhook,
)
from gateway.web.app import Runner, make_app
from gateway.web.arriving import Arriving
from gateway.web.connection import Site
from gateway.web.dependencies import CALLS, READER
from gateway.web.events import Events
from gateway.web.pulse import Pulse
from gateway.web.relayed import Relayed
from gateway.web.security import tls
from gateway.web.security.guard import Guard, make_guard

log = structlog.get_logger()

LOOK_AGAIN_S = 0.5  # at a stop, whether the journal can be written
BACKLOG = 1024  # connections the kernel holds for us: 128 lets a burst of 200 stall for a second


class Service:
    """A running gateway."""

    def __init__(
        self, settings: config.Config, load: Callable[[], config.Config], now: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._load = load
        self._now = now
        self._mocks: dict[str, tuple[LiveMockSettings, str]] = {}
        self.url = ""
        self.port = 0
        self.token = f"{keys.PREFIX}cli_{secrets.token_urlsafe(32)}"  # opens everything
        self.tls: ssl.SSLContext | None = None
        self.certificate: str | None = None  # its fingerprint
        self.app: web.Application
        self.guard: Guard
        self.journal: Journal
        self.relay: Relay
        self.watch: Watch
        self.events: Events
        self.background: Background
        self.metrics = Metrics()
        loop = asyncio.get_running_loop()
        self.admission = Admission(now=loop.time, call_at=loop.call_at)
        self.arriving = Arriving(lambda: self.settings.limits.max_arriving_bytes)
        self._sessions: dict[str, Upstream] = {}
        self._resources = AsyncExitStack()
        self._rng = random.Random(os.urandom(16))  # noqa: S311 - jitter, not secrets

    async def reload(self) -> None:
        """Take over the changed config file as a whole, or keep the old one.

        Raises: ConfigError, with every reason
        """
        try:
            new = await asyncio.to_thread(self._load)
            check_live(self.settings, new)
            await asyncio.to_thread(self._show_certificate, new.server)
        except ConfigError as error:
            self.metrics.config_ok(False)
            log.warning("config_kept", problems=error.problems)
            raise
        try:
            await self.apply(new)
        except JournalUnavailable as error:  # it has to note what is kept of whose calls
            raise ConfigError([error.message]) from error
        self.metrics.config_ok(True)
        log.info("config_reloaded", upstreams=list(new.upstreams))

    async def apply(self, settings: config.Config, *, paused: frozenset[str] = frozenset()) -> None:
        """Make *settings* the ones in force, for everything that starts from now on."""
        opened = {
            name: await self._open_upstream(upstream)
            for name, upstream in settings.upstreams.items()
        }
        kept = {name: upstream.bodies for name, upstream in settings.upstreams.items()}
        await self.journal.work(set_policies(kept))
        self.settings = settings
        self.relay.limits = settings.limits
        self.relay.upstreams = {**self.relay.upstreams, **opened}
        self.admission.configure(settings.limits, settings.upstreams)
        for name in paused & settings.upstreams.keys():
            self.admission.pause(name, True)

    def _show_certificate(self, server: config.Server) -> None:
        """Have new connections see the certificate as it is now. Reads files. Raises: ConfigError."""
        if server.tls_certificate is None or server.tls_key is None:
            return
        checked = tls.server_context(server.tls_certificate, server.tls_key)
        if self.tls is None:
            self.tls = checked
        else:
            tls.load(self.tls, server.tls_certificate, server.tls_key)
        self.certificate = tls.fingerprint(server.tls_certificate)
        if self.url:
            self._tell_commands()

    def listens_at(self, host: str, port: int) -> None:
        """Tell whoever wants to know."""
        self.port = port
        scheme = "http" if self.tls is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        self._tell_commands()

    def _tell_commands(self) -> None:
        self.journal.lock.write(url=self.url, token=self.token, certificate=self.certificate)

    async def _open_upstream(self, settings: config.Upstream) -> Upstream:
        """The upstream as configured now; sessions live as long as the process, calls may use them."""
        known = self._sessions.get(settings.name)
        if known is not None and known.settings == settings:
            return known
        base_url = settings.base_url
        if settings.is_mock:
            base_url = await self._simulated(settings)
        session = await self._resources.enter_async_context(open_session())
        upstream = self._sessions[settings.name] = Upstream(settings, base_url, session)
        return upstream

    async def _simulated(self, settings: config.Upstream) -> str:
        """The simulated API of a `mock:` upstream, on a loopback port of its own; relay never knows."""
        wanted = MockSettings(**settings.mock.model_dump())
        if settings.name in self._mocks:
            live, url = self._mocks[settings.name]
            live.current = wanted
            return url
        live = LiveMockSettings(wanted)
        serving = serve_mock(live, rng=self._rng, now=self._now)
        url = await self._resources.enter_async_context(serving)
        self._mocks[settings.name] = (live, url)
        return url

    def checks(self) -> list[operations.Health]:
        """What `/-/ready` tells."""
        return [
            operations.Health("journal", self.journal.available, self.journal.problem),
            operations.Health(
                "draining", not self.relay.draining, "stopping" if self.relay.draining else None
            ),
            operations.Health(
                "background",
                not self.background.failing,
                ", ".join(sorted(self.background.failing)) or None,
                needed=False,
            ),
        ]

    async def drain(self, stop_now: asyncio.Event) -> None:
        """Take no new calls; let those that somebody waits for, and those in flight, end in time."""
        self.relay.draining = True
        log.info("draining", open_calls=len(self.relay.calls), drain_s=self.settings.server.drain_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.server.drain_s):
                while not stop_now.is_set() and (kept := self.relay.kept_while_draining()):
                    await _over_or(stop_now, kept[0])
        await self.give_back()

    async def give_back(self) -> None:
        """Leave what is open to the next start. A journal that cannot be written is not waited for."""
        async with asyncio.TaskGroup() as tasks:
            giving = tasks.create_task(self.relay.give_all_back())
            while not (await asyncio.wait([giving], timeout=LOOK_AGAIN_S))[0]:
                if self.journal.statistics().unavailable_since is not None:
                    self.journal.close()  # one last try; the file knows these calls as open


def check_live(old: config.Config, new: config.Config) -> None:
    """Refuse what a running gateway cannot change.

    Raises: ConfigError
    """
    if reasons := config.reload_refusals(old, new):
        raise ConfigError(reasons)


@asynccontextmanager
async def open_service(
    settings: config.Config,
    *,
    load: Callable[[], config.Config] | None = None,
    now: Callable[[], float] = time.time,  # noqa: TID251 - handed out here
) -> AsyncIterator[Service]:
    """Run the gateway for as long as the context is open; `url` is where it listens.

    Raises: ConfigError, JournalLocked, JournalDamaged, OSError (the address is taken)
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(["aiohttp runs without its C parser; unset AIOHTTP_NO_EXTENSIONS"])
    asyncio.get_running_loop().set_exception_handler(loop_exception_handler)
    if directory := await asyncio.to_thread(shared_directory, settings.journal.path):
        log.warning("journal_directory_found_shared", directory=str(directory))
    load = load or partial(config.load, settings.path, os.environ)
    service = Service(settings, load, now)
    with _bare_errors():
        async with _open(service, now):
            yield service


@contextlib.contextmanager
def _bare_errors() -> Iterator[None]:
    """A TaskGroup wraps whatever leaves it; the one error inside is what callers can act on."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


@asynccontextmanager
async def _open(service: Service, now: Callable[[], float]) -> AsyncIterator[None]:
    settings = service.settings
    await asyncio.to_thread(service._show_certificate, settings.server)
    metrics, journal_settings = service.metrics, settings.journal
    async with AsyncExitStack() as stack:
        journal = service.journal = await stack.enter_async_context(
            open_journal(journal_settings.path, durability=journal_settings.durability, now=now)
        )
        journal.on_commit = metrics.commit
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        writer = tasks.create_task(journal.run(), name="journal")
        stack.push_async_callback(_wait_task, writer)
        stack.callback(journal.close)
        reader = await stack.enter_async_context(open_reader(journal_settings.path))
        await stack.enter_async_context(service._resources)
        poster = await stack.enter_async_context(open_poster(own_port=lambda: service.port))
        webhooks = Webhooks(
            journal=journal, reader=reader, poster=poster,
            settings=lambda: service.settings.webhooks, now=now, rng=service._rng,
        )  # fmt: skip
        guard = service.guard = await make_guard(
            journal=journal, reader=reader, settings=lambda: service.settings, token=service.token,
            now=now, limit_key=service.admission.limit_key,
        )  # fmt: skip
        stack.push_async_callback(guard.ring.close)
        watch = service.watch = Watch(service.admission, is_cut=journal.is_cut)
        service.admission.on_change = watch.upstream
        relay = service.relay = Relay(
            journal=journal, reader=reader, admission=service.admission, metrics=metrics,
            tasks=tasks, now=now, rng=service._rng, watch=watch,
            on_end=(webhooks.tell, guard.limits.ended),
        )  # fmt: skip
        await service.apply(settings, paused=await reader.paused())
        search, retention = _keepers(service, reader, now)
        sampling = Sampling(journal, service.admission.statistics, now)
        background = service.background = Background(tasks, crashed=metrics.background_crashed)
        runs: dict[str, Callable[[], Awaitable[object]]] = {
            "posting": relay.run,
            "loop_lag": partial(
                watch_loop_lag, metrics, each=service.admission.give_sign_of_life
            ),
            "quick_check": journal.quick_check, "search": search.run, "retention": retention.run,
            "sampling": sampling.run, "key_use": guard.ring.run, "unkept": Unkept(journal, now).run,
        }  # fmt: skip
        for name, run in runs.items():
            stack.callback(background.start(name, run).cancel)
        # An address that is taken must stop the start before it takes a paid call up.
        listener = await _bind(settings.server.host, settings.server.port)
        stack.callback(listener.close)
        await _recover(relay, journal)
        stack.push_async_callback(_end, background.start("webhooks", webhooks.run))

        dashboard = ui.Dashboard.load()
        events = service.events = Events(
            watch, now=now, build=dashboard.build,
            stats=Pulse(
                standing=relay.standing, admission=service.admission, journal=journal,
                metrics=metrics, watch=watch, now=now,
            ),
            upstream=lambda name: upstreams.shown(
                service.settings.upstreams, name, service.admission, now
            ),
        )  # fmt: skip
        stack.callback(background.start("events", events.run).cancel)
        new_id = IdSource(now).new_call_id
        replays = replaying.Replays(
            relay=relay, reader=reader, settings=lambda: service.settings,
            next_seq=journal.next_seq, new_id=new_id, now=now,
            keys_of=guard.keys_of_replay, admit=guard.admit_replay,
        )  # fmt: skip
        app = service.app = make_app(
            [
                *calls.routes(),
                *chunks.routes(),
                *events.routes(),
                *effective.routes(
                    settings=lambda: service.settings, admission=service.admission,
                    journal=journal, reader=reader,
                ),
                *recorded.routes(),
                *acting.routes(relay),
                *bodies.routes(relay),
                *replaying.routes(replays),
                *bulk.routes(relay, replays, retention.soon),
                *exporting.routes(),
                *ui.routes(dashboard),
                *webhook.routes(webhooks),
                *upstreams.routes(
                    settings=lambda: service.settings, admission=service.admission,
                    journal=journal, now=now,
                ),
                *stats.routes(
                    admission=service.admission.statistics, recovered=relay.recovered,
                    sampling=sampling, now=now,
                ),
                *guard.routes(
                    required=lambda: service.settings.auth.required,
                    files=f"a/{dashboard.build}",
                ),
                *operations.routes(
                    checks=service.checks, metrics=metrics.render, reload=service.reload,
                    openapi=openapi.document, prune=retention.prune,
                ),
            ],
            settings=lambda: service.settings,
            rng=service._rng,
            gate=guard.gate,
        )  # fmt: skip
        app[READER] = reader
        app[CALLS] = relay.standing
        relayed = Relayed(
            relay=relay, settings=lambda: service.settings, metrics=metrics,
            client_hash=_hasher(journal.client_key), next_seq=journal.next_seq,
            new_id=new_id, now=now, rng=service._rng,
            replay=partial(recorded.replay, app), pending=partial(calls.pending, app),
            gate=guard.gate, limits=guard.limits, arriving=service.arriving,
        )  # fmt: skip
        runner = Runner(
            app,
            relayed.handle,
            relayed.turn_away,
            settings=lambda: service.settings,
            metrics=metrics,
            gate=guard.gate,
        )
        await runner.setup()
        metrics.observe(
            service.admission.statistics,
            journal.statistics,
            lambda: journal.available,
            connections=runner.connections,
            arriving_bytes=lambda: service.arriving.held_bytes,
        )
        stack.push_async_callback(runner.cleanup)
        await Site(runner, listener, tls=service.tls, backlog=BACKLOG).start()
        stack.callback(events.close)
        stack.push_async_callback(service.give_back)
        service.listens_at(*runner.addresses[0][:2])
        gc.collect()
        gc.freeze()  # what lives as long as the process is never looked at again, and the rest less
        # often: 5,000 calls at once took 14.9 s without these two, 12.6 s with. Yet often enough: a
        # transport of asyncio is a cycle, so each closed connection leaves 1 KB to be found, among
        # the old objects where one outlived a look at the young.
        gc.set_threshold(50_000, 10, 10)
        yield


def _keepers(
    service: Service, reader: Reader, now: Callable[[], float]
) -> tuple[Search, Retention]:
    """What looks after the journal beside its writer."""
    search = Search(service.journal, service.settings.journal.path)
    reader.catch_up = search.catch_up
    return search, Retention(
        service.journal, lambda: service.settings.journal, now, cleanse=search.cleanse
    )


async def _bind(host: str, port: int) -> socket.socket:
    """A socket on *host* and *port* that does not listen yet. Raises: OSError - it is taken."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda each: each[0] is not socket.AF_INET)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


async def _recover(relay: Relay, journal: Journal) -> None:
    """Take up, or end, what the last process left open."""
    for call in await journal.open_calls():
        relay.recover(call)
    if any(relay.recovered.values()):
        log.warning("calls_recovered", **relay.recovered)


def _hasher(key: bytes) -> Callable[[bytes], str]:
    """Clients are told apart by a keyed hash; the credential itself is kept nowhere."""

    def client_hash(credential: bytes) -> str:
        return blake2b(credential, key=key, digest_size=12).hexdigest()

    return client_hash


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await _wait_task(task)


async def _wait_task(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


async def _over_or(stop_now: asyncio.Event, live: LiveCall) -> None:
    """Return when *live* is over or the second signal came."""
    async with asyncio.TaskGroup() as tasks:
        either = [tasks.create_task(live.wait_over()), tasks.create_task(stop_now.wait())]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()
