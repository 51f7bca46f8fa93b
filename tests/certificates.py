"""Certificates that tests make for themselves, and whom they trust."""

import ssl
from datetime import datetime

import trustme


def serving(authority: trustme.CA, *names: str, until: datetime | None = None) -> ssl.SSLContext:
    """What a server of these *names* or addresses shows: a certificate that *authority* made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=until).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client believes that trusts *authority* alone."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
