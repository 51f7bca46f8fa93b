"""Who asks, and what they may: keys, sessions, the gate around every route, the audit trail, TLS.

A request meets `auth` (the gate), which knows keys by `keyring` and the dashboard's cookie by
`sessions`, and what each route needs by `access`; `limits` counts what a key uses, `forwarding`
says whose address it is; `guard` puts all of it together. `keys`, `login` and `audit` are routes.
"""
