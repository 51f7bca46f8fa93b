"""Fixtures: a scripted upstream, and the gateway in front of it, in-process or as a process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from gateway.config import load
from gateway.service import Service, open_service
from gateway.telemetry import logs
from tests import configuration
from tests.client import GatewayClient
from tests.gateway_process import GatewayProcess, open_gateway_process
from tests.scripted_upstream import ScriptedUpstream

# looptime's plugin asks for a loop before each test. Before the first asynchronous one the policy
# would make one for it that nobody closes: a ResourceWarning in some later test.
asyncio.set_event_loop(None)

settings.register_profile("shared-machine", deadline=None)  # an example's time proves nothing here
settings.load_profile("shared-machine")


class Gateway(GatewayClient):
    """A client of the gateway that runs in this process, put together as in production."""

    def __init__(self, service: Service, config: Path, base_url: str) -> None:
        super().__init__("127.0.0.1", service.port)
        self.service = service
        self.config = config
        self.db = config.parent / "gateway.db"
        self._base_url = base_url

    def configure(self, **tables: Any) -> None:
        """Write another config.toml over the one it runs with."""
        configuration.write(self.config, self._base_url, **tables)


OpenGateway = Callable[..., AbstractAsyncContextManager[Gateway]]
OpenProcess = Callable[..., AbstractAsyncContextManager[GatewayProcess]]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """Yield the API behind the gateway."""
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def gateway(tmp_path: Path, upstream: ScriptedUpstream) -> OpenGateway:
    """Return `async with gateway(upstreams={…}, limits={…}, …) as gw`: tables of config.toml."""

    @asynccontextmanager
    async def open_gateway(**tables: Any) -> AsyncIterator[Gateway]:
        logs.configure(pretty=False, stream=sys.stderr)
        base_url = f"{upstream.url}/v1"
        path = configuration.write(tmp_path / "config.toml", base_url, **tables)
        async with open_service(load(path, {})) as service:
            client = Gateway(service, path, base_url)
            try:
                with blockbuster_ctx("gateway"):  # gateway code that blocks the loop fails
                    yield client
            finally:
                client.close()

    return open_gateway


@pytest.fixture
def gateway_process(tmp_path: Path, upstream: ScriptedUpstream) -> OpenProcess:
    """Return the same for `gateway run`; opened again in one test, it is a restart."""

    def open_process(**tables: Any) -> AbstractAsyncContextManager[GatewayProcess]:
        path = tmp_path / "config.toml"
        return open_gateway_process(configuration.write(path, f"{upstream.url}/v1", **tables))

    return open_process
