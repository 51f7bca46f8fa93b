"""`/-/ui/…`: the dashboard's files, served from memory.

The files are what `npm run build` left in gateway/dashboard/static; only what its manifest lists is
served, under an address that holds the build id, so a browser may keep it for ever. Every other path
is a page of the dashboard and gets index.html, which is never kept.
Invariant: index.html reaches its files, and the API, by addresses relative to its `<base>`, and that
stands relative to the request: the dashboard works under any prefix that a proxy in front strips.
"""

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import resources
from typing import Self

from aiohttp import web

from gateway.errors import NotFound

_STATIC = resources.files("gateway") / "dashboard" / "static"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@dataclass(frozen=True)
class Asset:
    """One file of the dashboard."""

    content_type: str
    body: bytes

    @cached_property
    def gzipped(self) -> bytes:
        """It compressed, when first asked for: all of them at each start cost 15 ms."""
        return gzip.compress(self.body, 9, mtime=0)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The built dashboard."""

    build: str  #: 12 hex digits: the beginning of the manifest's sha256
    index: str  #: index.html, with `{base}` to be filled
    assets: dict[str, Asset]

    @classmethod
    def load(cls) -> Self:
        """Read the files."""
        manifest = (_STATIC / "manifest.json").read_bytes()
        build = sha256(manifest).hexdigest()[:12]
        bodies = {
            each["file"]: (_STATIC / each["file"]).read_bytes() for each in json.loads(manifest)
        }
        index = bodies.pop("index.html").decode().replace("{build}", build)
        assets = {
            name: Asset(_TYPES[name.rpartition(".")[2]], body) for name, body in bodies.items()
        }
        return cls(build, index, assets)


def routes(dashboard: Dashboard) -> list[web.RouteDef]:
    """`/-/ui` leads to `/-/ui/`; files; pages."""

    async def bare(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "ui/"})

    async def asset(request: web.Request) -> web.Response:
        build, name = request.match_info["build"], request.match_info["file"]
        found = dashboard.assets.get(name) if build == dashboard.build else None
        if found is None:
            raise NotFound(
                "the dashboard has no such file; it may have been updated: reload the page"
            )
        headers = {**_FOR_EVER, "Content-Type": found.content_type}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=found.gzipped, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=found.body, headers=headers)

    async def page(request: web.Request) -> web.Response:
        path = request.rel_url.raw_path.removeprefix("/-/ui/")
        if path.startswith("a/"):
            raise NotFound("the dashboard has no such file")
        base = "../" * path.count("/") or "./"
        return web.Response(text=dashboard.index.replace("{base}", base), content_type="text/html")

    return [
        web.get("/-/ui", bare),
        web.get("/-/ui/a/{build}/{file}", asset),
        web.get("/-/ui/{page:.*}", page),
    ]
