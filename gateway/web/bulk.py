"""`POST /-/calls/cancel`, `/-/calls/replay` and `/-/calls/delete`: the same to all that filters choose.

Invariants: calls accepted meanwhile are not chosen; however many there are, a page of them is held
at a time. Every call that was matched is either done or refused, one by one. Nothing is deleted
that was not chosen by a filter, unless all calls were asked for in so many words.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

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
from gateway.web.calls import json_response
from gateway.web.dependencies import OWNER, READER
from gateway.web.replaying import Changes, Replays, read_changes
from gateway.web.security.auth import IDENTITY
from gateway.web.security.identity import Identity

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


def routes(relay: Relay, replays: Replays, tidy: Callable[[], None]) -> list[web.RouteDef]:
    """The three routes. *tidy* is called when calls were deleted: see `Retention.soon`."""

    async def cancel(request: web.Request) -> web.Response:
        # The newest first: most of them wait, and none gets the slot of one just cancelled.
        selection, dry_run = _selection(request, ascending=False)
        selection = selection.also(ARE_OPEN)
        if dry_run:
            return await _count(request, selection)
        return await _each_page(request, selection, partial(_cancel, relay), Outcome())

    async def replay(request: web.Request) -> web.Response:
        # The oldest first: the new calls queue in the order of the old ones.
        selection, dry_run = _selection(request, ascending=True)
        changes = await read_changes(request)
        replays.check(changes)
        if dry_run:
            return await _count(request, selection)
        act = partial(_replay, replays, changes, request.get(IDENTITY))
        return await _each_page(request, selection, act, Outcome(), expand=True)

    async def delete(request: web.Request) -> web.Response:
        selection, dry_run = _selection(request, ascending=True, also=("all",))
        _check_deliberate(selection, means_all=_flag(request, "all"))
        if dry_run:
            return await _count(request, selection)
        outcome = Outcome()
        try:
            return await _each_page(request, selection, partial(_delete, relay), outcome)
        finally:
            if outcome.done:  # else nothing is untidy, and looking costs the journal
                tidy()

    return [
        web.post("/-/calls/cancel", cancel),
        web.post("/-/calls/replay", replay),
        web.post("/-/calls/delete", delete),
    ]


def _selection(
    request: web.Request, *, ascending: bool, also: Sequence[str] = ()
) -> tuple[Selection, bool]:
    """Which calls are meant, and whether they are only to be counted; *also*: no filters."""
    others = ("dry_run", *also)
    parameters = ((name, value) for name, value in request.query.items() if name not in others)
    return read_selection(parameters, ascending=ascending), _flag(request, "dry_run")


def _check_deliberate(selection: Selection, *, means_all: bool) -> None:
    """Refuse to delete everything by a slip, an empty filter included. Raises: BadRequest."""
    if not means_all and not selection.filters.conditions:
        raise BadRequest("choose the calls to delete by a filter, or say all=true")
    if means_all and selection.filters.conditions:
        raise BadRequest("all: not together with a filter")


def _flag(request: web.Request, name: str) -> bool:
    said = request.query.getall(name, ["false"])
    if said not in (["true"], ["false"]):
        raise BadRequest(f"{name}: must be true or false")
    return said == ["true"]


async def _each_page(
    request: web.Request,
    selection: Selection,
    act: Callable[[Sequence[CallRecord], Outcome], Awaitable[None]],
    outcome: Outcome,
    *,
    expand: bool = False,
) -> web.Response:
    reader, owner = request.app[READER], request.get(OWNER)
    async with aclosing(reader.pages(selection, owner=owner, expand=expand)) as pages:
        async for page in pages:
            await act(page, outcome)
    return json_response(outcome.json())


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


async def _delete(relay: Relay, page: Sequence[CallRecord], outcome: Outcome) -> None:
    outcome.matched += len(page)
    final = [record for record in page if record.status.is_final]
    for record in page:
        if not record.status.is_final:
            outcome.refuse(record.id, "conflict")
    if final:
        await relay.delete_calls(final)
    outcome.done += len(final)


async def _replay(
    replays: Replays, changes: Changes, by: Identity | None,
    page: Sequence[CallRecord], outcome: Outcome,
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
