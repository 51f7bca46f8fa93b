"""The configuration: what config.toml may say, read once at start and at each reload.

`models` says which keys there are, `values` what each may hold, `references` what `${…}` stands
for, `loading` turns a file into a `Config` or into every reason why not, `showing` prints one
without its secrets, `sources` says where each value came from. A `Config` never changes; a reload
makes another.
"""

from gateway.config.loading import load, load_journal, load_journal_path
from gateway.config.models import (
    Auth,
    Breaker,
    Config,
    Journal,
    Limits,
    Mock,
    Retry,
    Server,
    Timeouts,
    Upstream,
    Webhooks,
    config_keys,
    reload_refusals,
)
from gateway.config.showing import as_toml, masked
from gateway.config.sources import exposed_secrets, settings_json

__all__ = [
    "Auth",
    "Breaker",
    "Config",
    "Journal",
    "Limits",
    "Mock",
    "Retry",
    "Server",
    "Timeouts",
    "Upstream",
    "Webhooks",
    "as_toml",
    "config_keys",
    "exposed_secrets",
    "load",
    "load_journal",
    "load_journal_path",
    "masked",
    "reload_refusals",
    "settings_json",
]
