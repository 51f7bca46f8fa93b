"""The page to sign in by, as HTML: it works without script.

Invariants: nothing of a key is ever written into it; after signing in it leads to a page of the
dashboard, whatever its address asks for.
"""

import re
from html import escape
from urllib.parse import quote

from aiohttp import web

from gateway.web import errors

PAGES = "/-/ui/"
#: A page of the dashboard, relative to `PAGES`: no dots in its path, so it cannot lead out of there.
_PAGE = re.compile(r"[A-Za-z0-9_/-]{0,300}(?:[?#][\x21-\x5b\x5d-\x7e]{0,1700})?")
_MARK = (
    '<svg width="40" height="40" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32"'
    ' rx="8"/><path d="M8 10h5l3.5 6H24M8 22h5l3.5-6M20.5 12.5 24 16l-3.5 3.5" fill="none"'
    ' stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)


def form(
    files: str, *, after: str = "", message: str | None = None, told: errors.Answer | None = None
) -> web.Response:
    """The form. *files*: where the dashboard's are; *after*: the page to go to then.

    With *message* what was wrong with the last try, which is answered as *told*.
    """
    after = escape(safe(after))
    wrong = f'<p id="wrong" role="alert">{escape(_sentence(message))}</p>' if message else ""
    says = ' aria-invalid="true" aria-describedby="wrong"' if message else ""
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in - gateway</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{escape(files)}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{escape(files)}/style.css"></head>
<body class="login"><main>{_MARK}<h1>Sign in to gateway</h1>
<form method="post" action="login">{wrong}
<input type="hidden" name="next" value="{after}">
<label for="key">Gateway key</label>
<input id="key" name="key" type="password" placeholder="gw_…" autocomplete="current-password" \
spellcheck="false" required autofocus{says}>
<button class="button primary">Sign in</button>
</form>
<p>What you see and may do is what the key may. To make one, on the gateway's machine:</p>
<pre tabindex="0"><code>gateway keys create me --scope admin</code></pre>
</main></body></html>
"""
    # Under the stricter policy of all other pages a browser would send the form with `Origin: null`.
    policy = {"Referrer-Policy": "same-origin"}
    response = web.Response(text=text, content_type="text/html", headers=policy)
    if told is not None:
        response.set_status(told.status)
        kept = {name: value for name, value in told.headers if name != "Content-Type"}
        response.headers.update(kept)
    return response


def safe(page: str) -> str:
    """*page* where it is one of the dashboard's, else its first."""
    return page if _PAGE.fullmatch(page) else ""


def lead_there(request: web.Request) -> web.Response | None:
    """Where a browser is sent that opens a page of the dashboard unknown; None: it asks for no page."""
    path, _, query = request.raw_path.partition("?")
    if request.method != "GET" or not path.startswith(PAGES):
        return None
    if "text/html" not in request.headers.get("Accept", ""):
        return None
    asked = path.removeprefix(PAGES)
    back = "../" * asked.count("/")  # relative: a proxy may serve us under a prefix
    after = safe(f"{asked}?{query}" if query else asked)
    to = f"?next={quote(after, safe='')}" if after else ""
    return web.Response(status=303, headers={"Location": f"{back}login{to}"})


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."
