"""Who asks: what a request's credential amounts to.

Invariant: an identity has exactly the scopes of its credential at the moment of the request.
"""

from dataclasses import dataclass

from gateway.journal.keys import EVERY_SCOPE, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks, and what they may."""

    client: str | None  #: as in `Call.client`; None: told apart by the credential they present
    actor: str  #: as the audit trail names them
    scopes: frozenset[str]  #: all of them, those included by others too
    key: Key | None = None  #: whose bounds apply
    session: bytes | None = None  #: whose cookie the browser sent by itself

    @property
    def by_session(self) -> bool:
        """Whether nothing but a cookie says who this is."""
        return self.session is not None

    def has(self, scope: str) -> bool:
        """Whether *scope* is among theirs."""
        return scope in self.scopes


#: While no key is required, whoever reaches the gateway may do everything.
ANYBODY = Identity(client=None, actor="anonymous", scopes=EVERY_SCOPE)
#: Who can read the journal's lock file: a command on this machine. The same client at every start.
HOST = Identity(client="cli", actor="cli", scopes=EVERY_SCOPE)


def of_key(key: Key) -> Identity:
    """The holder of *key*."""
    return Identity(client=f"key:{key.id}", actor=key.id, scopes=key.effective, key=key)
