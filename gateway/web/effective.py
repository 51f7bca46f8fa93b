"""`/-/config` and `/-/journal`: what the gateway runs with, and how its journal is."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from gateway import config
from gateway.errors import JournalUnavailable
from gateway.journal.condition import file_sizes
from gateway.journal.reader import Reader
from gateway.journal.shapes import Json, rfc3339
from gateway.journal.writer import Journal
from gateway.relay.admission import Admission
from gateway.web.calls import json_response


def routes(
    *,
    settings: Callable[[], config.Config],
    admission: Admission,
    journal: Journal,
    reader: Reader,
) -> list[web.RouteDef]:
    """The two routes."""

    async def show_config(_: web.Request) -> web.Response:
        current = settings()
        live = _tuned(current, admission)
        return json_response(
            {
                "object": "config",
                "path": str(current.path.absolute()),
                "values": [*config.settings_json(current, live)],
            }
        )

    async def show_journal(_: web.Request) -> web.Response:
        kept = settings().journal
        try:
            sizes = await asyncio.to_thread(file_sizes, kept.path)
        except OSError as error:
            raise JournalUnavailable(f"{kept.path} cannot be read: {error.strerror}") from error
        contents, writing = await reader.contents(), journal.statistics()
        return json_response(
            {
                "object": "journal",
                "path": str(kept.path),
                **sizes,
                "calls": contents.calls,
                "oldest_at": rfc3339(contents.oldest_ms),
                "newest_at": rfc3339(contents.newest_ms),
                "open_calls": admission.statistics().open_calls,
                "keep_bodies_days": kept.keep_bodies_days,
                "keep_calls_days": kept.keep_calls_days,
                "durability": kept.durability,
                "pending_posts": writing.pending_posts,
                "pending_bytes": writing.pending_bytes,
                "last_commit_ms": round(writing.last_commit_s * 1000, 2),
                "unsearched": contents.unsearched,
                "integrity": journal.integrity,
                "problem": journal.problem,
            }
        )

    return [web.get("/-/config", show_config), web.get("/-/journal", show_journal)]


def _tuned(current: config.Config, admission: Admission) -> Json:
    """The keys that PATCH changed, with what holds now."""
    slots = admission.statistics().upstreams
    return {
        f"upstreams.{name}.max_in_flight": slots[name].max_in_flight
        for name, upstream in current.upstreams.items()
        if slots[name].max_in_flight != upstream.max_in_flight
    }
