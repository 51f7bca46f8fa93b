"""What an upstream's own lists let through: its `allowed_paths` and `allowed_headers`. Pure.

Invariants: an empty list bounds nothing, and no list widens what the gateway keeps back anyway; a
path is matched as it goes out, undecoded, so what is spelled otherwise than the list is refused.
They count when a call is made, replays included.
"""

import re
from fnmatch import fnmatchcase

from gateway import config
from gateway.errors import Forbidden
from gateway.web.routing import Route

#: What some servers read as a dot segment with a parameter: `/chat/..;/files` is `/files` there.
_CLIMBS = re.compile(r"/(?:\.|%2e){1,2}(?:;|%3b)", re.IGNORECASE)

#: Without these a body cannot be read, or its answer not by the client that asked.
ALWAYS = frozenset({b"accept", b"accept-encoding", b"content-encoding", b"content-type"})


def check_path(route: Route) -> None:
    """Refuse a path that its upstream is not to see. Raises: Forbidden.

    `fnmatch` never goes back over what a `*` took, so a glob costs linear time on any path.
    """
    upstream = route.upstream
    globs = upstream.allowed_paths
    if not globs:
        return
    target = route.target
    if _CLIMBS.search(target) or not any(fnmatchcase(target, glob) for glob in globs):
        raise Forbidden(f"this gateway does not send that path to {upstream.name}")


def lets_through(field: bytes, upstream: config.Upstream) -> bool:
    """Whether a client's *field*, in lower case, may go to *upstream* by its list.

    The credential that `auth` names may always: without it nothing could be asked.
    """
    if not upstream.allowed_headers or field in ALWAYS:
        return True
    if field == (b"authorization" if upstream.auth == "bearer" else upstream.auth.encode()):
        return True
    name = field.decode("latin-1")
    return any(
        name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed
        for allowed in upstream.allowed_headers
    )
