"""`POST /-/calls/cancel` and `/-/calls/replay`: the same to all calls that filters choose.

Invariants: calls accepted meanwhile are not chosen; however many there are, a page of them is held
at a time. Every call that was matched is either done or refused, one by one.
"""

import sys
from collections.abc import Sequence
from contextlib import aclosing

from aiohttp import web
from pydantic import JsonValue

from gateway.call import Status
from gateway.errors import BadRequest, GatewayError
from gateway.journal.filters import ARE_OPEN, Selection, read_selection
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.journal.shapes import Json
from gateway.relay.live_call import LiveCall
from gateway.relay.relay import Relay
from gateway.web.auth import IDENTITY
from gateway.web.calls import json_response
from gateway.web.dependencies import OWNER, READER
from gateway.web.identity import Identity
from gateway.web.replaying import Changes, Replays, read_changes

LISTED = 1_000  # refusals that are told one by one; `matched` less `done` counts them all
TOGETHER_BYTES = 8 * 1024 * 1024  # request bodies of one page that wait for their commit together


class Outcome:
    """What became of the calls that were matched."""

    def __init__(self) -> None:
        self.matched = 0
        self.done = 0
        self._refused: list[JsonValue] = []

    def refuse(self, call_id: str, code: str) -> None:
        """It stays as it was."""
        if len(self._refused) < LISTED:
            self._refused.append({"id": call_id, "code": code})

    def json(self) -> Json:
        """As the API tells it."""
        return {
            "object": "bulk",
            "matched": self.matched,
            "done": self.done,
            "refused": self._refused,
        }


def routes(relay: Relay, replays: Replays) -> list[web.RouteDef]:
    """Both routes."""

    async def cancel(request: web.Request) -> web.Response:
        # The newest first: most of them wait, and none gets the slot of one just cancelled.
        selection, dry_run = _selection(request, ascending=False)
        selection = selection.also(ARE_OPEN)
        if dry_run:
            return await _count(request, selection)
        outcome = Outcome()
        reader, owner = request.app[READER], request.get(OWNER)
        async with aclosing(reader.pages(selection, owner=owner)) as pages:
            async for page in pages:
                await _cancel(relay, page, outcome)
        return json_response(outcome.json())

    async def replay(request: web.Request) -> web.Response:
        # The oldest first: the new calls queue in the order of the old ones.
        selection, dry_run = _selection(request, ascending=True)
        changes = await read_changes(request)
        replays.check(changes)
        if dry_run:
            return await _count(request, selection)
        outcome = Outcome()
        reader, owner = request.app[READER], request.get(OWNER)
        async with aclosing(reader.pages(selection, owner=owner, expand=True)) as pages:
            async for page in pages:
                await _replay(replays, page, changes, outcome, by=request.get(IDENTITY))
        return json_response(outcome.json())

    return [web.post("/-/calls/cancel", cancel), web.post("/-/calls/replay", replay)]


def _selection(request: web.Request, *, ascending: bool) -> tuple[Selection, bool]:
    """Which calls are meant, and whether they are only to be counted."""
    dry_run = request.query.getall("dry_run", ["false"])
    if dry_run not in (["true"], ["false"]):
        raise BadRequest("dry_run: must be true or false")
    parameters = ((name, value) for name, value in request.query.items() if name != "dry_run")
    return read_selection(parameters, ascending=ascending), dry_run == ["true"]


async def _count(request: web.Request, selection: Selection) -> web.Response:
    outcome = Outcome()
    reader: Reader = request.app[READER]
    most = sys.maxsize - 1 if selection.at_most is None else selection.at_most
    outcome.matched, _ = await reader.count(
        selection.filters, owner=request.get(OWNER), most=most, within_s=None
    )
    return json_response(outcome.json())


async def _cancel(relay: Relay, page: Sequence[CallRecord], outcome: Outcome) -> None:
    outcome.matched += len(page)
    lives = [(record.id, relay.calls.get(record.id)) for record in page]
    for _, live in lives:
        if live is not None:
            relay.cancel(live)
    for call_id, live in lives:
        if live is not None:
            await live.wait_over()
        if live is not None and live.call.status is Status.CANCELLED:
            outcome.done += 1
        else:
            outcome.refuse(call_id, "conflict")  # it reached another end first


async def _replay(
    replays: Replays, page: Sequence[CallRecord], changes: Changes, outcome: Outcome,
    *, by: Identity | None,
) -> None:  # fmt: skip
    outcome.matched += len(page)
    started: list[tuple[str, LiveCall]] = []
    held = 0
    for record in page:
        try:
            live = await replays.start(record, changes, by=by)
        except GatewayError as error:
            outcome.refuse(record.id, error.code)
            continue
        started.append((record.id, live))
        held += live.call.request.body_bytes
        if held >= TOGETHER_BYTES:
            await _settle(started, outcome)
            started, held = [], 0
    await _settle(started, outcome)


async def _settle(started: Sequence[tuple[str, LiveCall]], outcome: Outcome) -> None:
    """Wait until the new calls are durable: one commit for all of them."""
    for call_id, live in started:
        try:
            await live.wait_accepted()
        except GatewayError as error:
            outcome.refuse(call_id, error.code)
        else:
            outcome.done += 1
