"""Recorded text for terminals.

Invariant: what clients and upstreams wrote never plays with a terminal: control characters, and
those that change the direction of text, show as escapes.
"""


def printable(value: object) -> str:
    """*value* as text without a character that a terminal would act on."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
