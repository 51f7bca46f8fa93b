"""TLS of the gateway's own: the certificate that it shows, changed while it serves.

Invariant: a certificate that cannot be used is refused before it is shown to anybody; connections
that stand keep the one they were opened with.
"""

import ssl
from hashlib import sha256
from pathlib import Path

from gateway.errors import ConfigError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context that shows *certificate*. Reads files. Raises: ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Have *context* show *certificate* from the next connection on. Raises: ConfigError."""

    def no_password() -> str:
        raise ConfigError([f"server.tls_key: {key} is encrypted, and nobody can be asked"])

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (OSError, ssl.SSLError) as error:
        problem = f"server.tls_certificate, server.tls_key: {certificate}, {key}: {error}"
        raise ConfigError([problem]) from error


def fingerprint(certificate: Path) -> str:
    """By which a command on this machine knows the certificate: sha256, hex. Reads a file."""
    text = certificate.read_text(encoding="ascii", errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = text[text.index(begin) : text.index(end) + len(end)]
    return sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
