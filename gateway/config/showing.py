"""A configuration for people's eyes: every value that counts, no secret.

Invariant: nothing made here contains a secret; `test_config.py` tries it with random ones.
"""

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from gateway.config.models import Config


def masked(config: Config) -> dict[str, JsonValue]:
    """The tables of config.toml as they are in force, defaults included; null: not set."""
    return config.model_dump(mode="json")


def as_toml(config: Config) -> str:
    """`masked` as TOML text; keys that are not set stand there as comments."""
    return "\n".join(_lines(masked(config), "")).strip() + "\n"


def _lines(table: Mapping[str, JsonValue], name: str) -> Iterator[str]:
    """The table's own keys, then its sub-tables: TOML has no way back out of one."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    if len(tables) < len(table) or not table:
        yield f"\n[{name}]"
    for key, value in table.items():
        if value is None:
            yield f"# {key} is not set"
        elif key not in tables:
            # JSON's scalars and lists are TOML's, but for DEL in a string
            shown = key if key.isidentifier() else json.dumps(key)
            yield f"{shown} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    for key, value in tables.items():
        yield from _lines(value, f"{name}.{key}" if name else key)
