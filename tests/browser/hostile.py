"""What an attacker writes where a dashboard might show it: each runs, or asks for something, where it is
taken for markup, a script, a style or an address.

`window.hit` is what all of them set; Playwright tells of every dialog, and a policy report or a
request to another origin fails the test by itself.
"""

MARKUP = [
    "<script>window.hit=1;alert(1)</script>",
    '<img src=x onerror="window.hit=1;alert(1)">',
    '"><svg onload=window.hit=1>',
    "</title></style></textarea></script><iframe srcdoc='<script>parent.hit=1</script>'>",
    "javascript:window.hit=1",
    "'-window.hit++-'",
    "{{constructor.constructor('window.hit=1')()}}",
    '<a href="https://elsewhere.invalid/" autofocus onfocus=window.hit=1>here</a>',
    "<link rel=stylesheet href=https://elsewhere.invalid/x.css>",
    "\u202egnp.exe\u202c \u2066\x1b[31mred\x1b[0m\x07",
]
ALL = " ".join(MARKUP)


def header(text: str) -> str:
    """*text* as far as a header's value can hold it."""
    return "".join(character for character in text if " " <= character <= "~" and character != ",")
