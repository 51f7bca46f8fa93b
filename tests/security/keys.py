"""Keys in tests: made through the running gateway with its lock file's token, as the command does."""

from typing import Any

from gateway.journal.lock import read_lock
from tests.client import Exchange

REQUIRED = {"required": True}


def token(gw: Any) -> str:
    """Return the token that the journal's lock file holds."""
    holder = read_lock(gw.db)
    assert holder is not None
    assert holder.token is not None
    return holder.token


def by(key: str) -> list[tuple[str, str]]:
    """Return the headers of who holds *key*."""
    return [("x-gateway-key", key)]


async def make_key(gw: Any, *scopes: str, maker: str | None = None, **said: Any) -> dict[str, Any]:
    """Make a key; what POST /-/keys answers."""
    form = {"name": "test", **({"scopes": list(scopes)} if scopes else {}), **said}
    answer = await gw.request("POST", "/-/keys", json=form, headers=by(maker or token(gw)))
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


async def chat(gw: Any, key: str, **said: Any) -> Exchange:
    """Make a call with *key* as an SDK sends it."""
    answer: Exchange = await gw.chat(headers=[("Authorization", f"Bearer {key}")], **said)
    return answer
