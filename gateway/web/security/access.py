"""What each of the gateway's own routes needs. A route that is not listed here is closed to everybody.

Rights hang on the route that the router resolved to, never on the text of a path: however a request
spells its target, it needs what the handler it reaches needs.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gateway.journal.filters import PAGING


def never(_: Collection[str]) -> bool:
    """It reads little."""
    return False


def always(_: Collection[str]) -> bool:
    """It reads much."""
    return True


def when_filtered(parameters: Collection[str]) -> bool:
    """A page of a list is short unless calls have to be looked for."""
    return not PAGING.union(("limit", "order")).issuperset(parameters)


class Access(NamedTuple):
    """What a route asks of who calls it."""

    #: scope; with `of_calls` the word before `-own` and `-all`; "": any identity
    scope: str
    #: it acts on calls: one's own with `SCOPE-own`, everybody's with `SCOPE-all`
    of_calls: bool = False
    public: bool = False  #: open to everybody, also where keys are required
    audit: str | None = None  #: action under which a success is written to the audit trail
    #: whether it may read much of the journal, by the names in its query: each identity has only a
    #: few such requests at a time
    reads_much: Callable[[Collection[str]], bool] = never


PUBLIC = Access("", public=True)
ANY = Access("")
READ_CALLS = Access("read", of_calls=True)
SEARCH_CALLS = READ_CALLS._replace(reads_much=always)
READ_ALL = Access("read-all")
ADMIN = Access("admin")


def _operates(audit: str | None = None) -> Access:
    return Access("operate", of_calls=True, audit=audit)


#: By method and the route's own pattern. HEAD is GET.
ROUTES: Mapping[str, Access] = {
    "GET /-/healthy": PUBLIC,
    "GET /-/ready": PUBLIC,
    "GET /-/ui": PUBLIC,
    "GET /-/ui/a/{build}/{file}": PUBLIC,
    "GET /-/ui/{page}": ANY,
    "GET /-/ui/login": PUBLIC,
    "POST /-/ui/login": PUBLIC,
    "POST /-/ui/logout": PUBLIC,
    "GET /-/session": ANY,
    "POST /-/session": PUBLIC,
    "DELETE /-/session": ANY,
    "GET /-/openapi.json": ANY,
    "GET /-/calls": READ_CALLS._replace(reads_much=when_filtered),
    "GET /-/calls/count": SEARCH_CALLS,
    "GET /-/calls/export": SEARCH_CALLS._replace(audit="calls.exported"),
    "GET /-/calls/{id}": READ_CALLS,
    "GET /-/calls/{id}/request": READ_CALLS,
    "GET /-/calls/{id}/response": READ_CALLS,
    "GET /-/calls/{id}/body": READ_CALLS,
    "GET /-/calls/{id}/chunks": READ_CALLS,
    "GET /-/calls/{id}/webhook": READ_CALLS,
    "POST /-/calls/{id}/webhook": _operates("webhook.sent"),
    "POST /-/calls/{id}/cancel": _operates("call.cancelled"),
    "POST /-/calls/{id}/replay": _operates("call.replayed"),
    "DELETE /-/calls/{id}": _operates("call.deleted"),
    "POST /-/calls/cancel": _operates("calls.cancelled")._replace(reads_much=always),
    "POST /-/calls/replay": _operates("calls.replayed")._replace(reads_much=always),
    "POST /-/calls/delete": _operates("calls.deleted")._replace(reads_much=always),
    "GET /-/events": READ_CALLS,  # without read-all, of its own calls only
    "GET /-/stats": READ_ALL._replace(reads_much=always),
    "GET /-/metrics": READ_ALL,
    "GET /-/upstreams": READ_ALL,
    "GET /-/upstreams/{name}": READ_ALL,
    "GET /-/config": READ_ALL,
    "GET /-/journal": READ_ALL,
    "GET /-/audit": ADMIN,
    "PATCH /-/upstreams/{name}": ADMIN._replace(audit="upstream.changed"),
    "POST /-/reload": ADMIN._replace(audit="config.reloaded"),
    "POST /-/prune": ADMIN._replace(audit="journal.pruned"),
    "GET /-/keys": ADMIN,
    "POST /-/keys": ADMIN,
    "GET /-/keys/{id}": ADMIN,
    "PATCH /-/keys/{id}": ADMIN,
    "DELETE /-/keys/{id}": ADMIN,
}
