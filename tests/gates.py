"""A gate that lets everybody through, for servers under test that are not about who asks."""

import asyncio
from typing import Any, cast

from gateway.config import Config
from gateway.web.security.access import ANY
from gateway.web.security.audit import Audit
from gateway.web.security.auth import Gate


class Nobody:
    """No keys, and no sessions."""

    def identify(self, _: Any) -> None:
        return None

    def valid(self, _: Any) -> None:
        return None


def open_gate(*routes: str) -> Gate:
    """Let everybody use *routes* ("GET /-/things"), and nobody anything else under `/-/`."""

    async def client_of(_: str) -> str | None:
        return None

    return Gate(
        keys=Nobody(),
        sessions=Nobody(),
        routes=dict.fromkeys(routes, ANY),
        settings=lambda: Config(upstreams={"mock": {"base_url": "mock:"}}),
        monotonic=asyncio.get_running_loop().time,
        client_of=client_of,
        audit=cast("Audit", None),
    )
