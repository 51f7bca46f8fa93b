"""Where each value of a configuration came from, and what it would be if nobody had said anything."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, JsonValue, SecretStr

from gateway.config.models import Config
from gateway.config.references import is_reference

Values: TypeAlias = dict[str, JsonValue]  # by dotted key, names of upstreams in it


def sources_of(table: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """`file` or `environment` by dotted key, as the file's *table* stands before it is resolved.

    What was *given* on the command line, for [server], counts as environment.
    """
    said = {key: _source(value) for key, value in _leaves(table, "")}
    return said | {f"server.{key}": "environment" for key in given}


def settings_json(config: Config, live: Values) -> list[dict[str, JsonValue]]:
    """Each key with its value, default and source; *live*: what a running gateway changed.

    Secrets are `[set]` or null. A key without a default has null.
    """
    defaults = dict(_values(_bare(config)))
    shown = []
    for key, value in _values(config):
        source = config.sources.get(key, "default")
        needed = key.startswith("upstreams.") and key.endswith(".base_url")
        shown.append(
            {
                "key": key,
                "value": live.get(key, value),
                "default": None if needed else defaults.get(key),
                "source": "live" if key in live else source,
            }
        )
    return shown


def exposed_secrets(config: Config) -> list[str]:
    """The keys whose secrets stand in the file itself, where others than its owner may read it."""
    try:
        mode = config.path.stat().st_mode
    except OSError:
        return []
    if not mode & 0o077:
        return []
    secrets = (key for key, value in _values(config) if value == "[set]")
    return [key for key in secrets if config.sources.get(key) == "file"]


def _bare(config: Config) -> Config:
    """The same upstreams with nothing said but what has to be."""
    upstreams = {name: {"base_url": each.base_url} for name, each in config.upstreams.items()}
    table = {"path": config.path, "journal": {}, "upstreams": upstreams}
    directory = config.path.absolute().parent
    return Config.model_validate(table, context={"directory": directory})


def _values(table: BaseModel, prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    shown = table.model_dump(mode="json")
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if field.exclude:
            continue
        if isinstance(value, BaseModel):
            yield from _values(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for inner, each in value.items():
                if isinstance(each, SecretStr):
                    yield f"{prefix}{name}.{inner}", "[set]"
                else:
                    yield from _values(each, f"{prefix}{name}.{inner}.")
        else:
            yield f"{prefix}{name}", "[set]" if isinstance(value, SecretStr) else shown[name]


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _source(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    referenced = any(isinstance(text, str) and is_reference(text) for text in texts)
    return "environment" if referenced else "file"
