"""Writes the config.toml of a test: the real file, with defaults that suit tests."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Table = Mapping[str, Any]


def write(path: Path, base_url: str, **tables: Table) -> Path:
    """Write *tables* to *path*; every upstream without a `base_url` gets *base_url*.

    Without `upstreams` there is one, `openai`. Pauses between attempts are a few milliseconds, and
    the journal survives a crash of the gateway only: a test loses no power.
    """
    upstreams = {
        name: {
            "base_url": base_url,
            **upstream,
            "retry": {"backoff_s": 0.002, "backoff_max_s": 0.01, **upstream.get("retry", {})},
        }
        for name, upstream in tables.get("upstreams", {"openai": {}}).items()
    }
    config = {
        **tables,
        "server": {"port": 0, "drain_s": 5, **tables.get("server", {})},
        "journal": {"durability": "process", **tables.get("journal", {})},
        "upstreams": upstreams,
    }
    path.write_text("\n".join(_lines(config)) + "\n")
    return path


def _lines(table: Table, name: str = "") -> Iterator[str]:
    """Yield TOML; JSON's strings, numbers, booleans and arrays are TOML's."""
    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{key if key.isidentifier() else json.dumps(key)} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{name}.{key}".lstrip("."))
