"""From a file to a `Config`, or to every reason why not.

All problems are told at once, one line each: file, key path, reason. No line holds a value from the
file or the environment, since any of them may be a secret.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.models import Config, Journal, config_keys
from gateway.config.references import UnresolvedError, resolve
from gateway.config.sources import sources_of
from gateway.errors import ConfigError

Table = TypeVar("Table", bound=BaseModel)
KeyPath: TypeAlias = tuple[str | int, ...]
Problems: TypeAlias = dict[KeyPath, str]

_REASONS = {  # where pydantic speaks Python and config.toml speaks TOML
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_type": "must be a number",
    "frozen_set_type": "must be a list",
    "int_type": "must be a whole number",
    "missing": "is needed",
    "model_type": "must be a table",
    "path_type": "must be the path of a file",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
}


def load(
    path: Path, environ: Mapping[str, str], *, host: str | None = None, port: int | None = None
) -> Config:
    """Read the whole configuration; *host* and *port* of the command line win over the file's.

    Raises: ConfigError, with every problem
    """
    file = _parse(path)
    problems = dict(_reserved(file))
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    server = file.get("server", {})
    table = {**file, "server": {**server, **given}} if isinstance(server, dict) else file
    own = {"path": path, "sources": sources_of(file, given)}
    return _validate(Config, {"journal": {}, **table, **own}, path, environ, (), problems)


def load_journal_path(path: Path, environ: Mapping[str, str]) -> Path:
    """Read `[journal] path` alone; nothing else in the file need be usable.

    Raises: ConfigError
    """
    journal = _parse(path).get("journal", {})
    if isinstance(journal, dict):
        journal = {key: value for key, value in journal.items() if key == "path"}
    return _validate(Journal, journal, path, environ, ("journal",), {}).path


def load_journal(path: Path, environ: Mapping[str, str]) -> Journal:
    """Read `[journal]` alone; nothing else in the file need be usable.

    Raises: ConfigError
    """
    return _validate(Journal, _parse(path).get("journal", {}), path, environ, ("journal",), {})


def _validate(
    kind: type[Table],
    table: Any,
    path: Path,
    environ: Mapping[str, str],
    at: KeyPath,
    problems: Problems,
) -> Table:
    """The *table* found *at* a place of the file, or ConfigError with all its *problems*."""
    directory = path.absolute().parent
    table = _resolve(table, at, environ, directory, problems)
    made = None
    try:
        made = kind.model_validate(table, context={"directory": directory})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            key_path, reason = _told(detail)
            problems.setdefault((*at, *key_path), reason)  # a lost reference is told only as that
    if made is None or problems:
        lines = [f"{path}: {_dotted(key_path)}: {why}" for key_path, why in problems.items()]
        raise ConfigError(lines)
    return made


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        reason = (
            'no such file; the least it needs is two lines: [upstreams.mock] and base_url = "mock:"'
        )
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 (byte {error.start})"
    except (ValueError, RecursionError) as error:  # TOMLDecodeError names the line
        reason = f"is not TOML: {error}"
    raise ConfigError([f"{path}: {reason}"])


def _resolve(
    value: Any, at: KeyPath, environ: Mapping[str, str], directory: Path, problems: Problems
) -> Any:
    """*value* with its references replaced; those that lead nowhere are added to *problems*."""
    if isinstance(value, dict):
        items = value.items()
        return {k: _resolve(v, (*at, k), environ, directory, problems) for k, v in items}
    if isinstance(value, list):
        numbered = enumerate(value)
        return [_resolve(v, (*at, i), environ, directory, problems) for i, v in numbered]
    if isinstance(value, str):
        try:
            return resolve(value, environ, directory)
        except UnresolvedError as error:
            problems[at] = str(error)
    return value


def _reserved(table: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """What the models hold but the file does not say: its own path, the name of an upstream."""
    for key in table.keys() & {"path", "sources"}:
        yield (key,), _unknown((key,))
    upstreams = table.get("upstreams")
    for name, upstream in upstreams.items() if isinstance(upstreams, dict) else ():
        if isinstance(upstream, dict) and "name" in upstream:
            key_path = ("upstreams", name, "name")
            yield key_path, "unknown key; the name of an upstream is that of its table"


def _told(detail: ErrorDetails) -> tuple[KeyPath, str]:
    """Where a problem is and what it is, in the words of the file."""
    key_path = tuple(part for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    if kind == "extra_forbidden":
        return key_path, _unknown(key_path)
    if kind == "refused" and (elsewhere := detail["ctx"]["key"]):
        return tuple(elsewhere.split(".")), detail["msg"]
    return key_path, _REASONS.get(kind, detail["msg"].replace("Input should be", "must be"))


def _unknown(key_path: KeyPath) -> str:
    """Point from a key that does not exist to the one that was probably meant.

    1. the same key in another table, the nearest first: it is right and in the wrong place
    2. a similar one beside it
    3. a similar one anywhere
    """
    steps = [str(step) for step in key_path]
    if len(steps) > 2 and steps[0] == "upstreams":
        steps[1] = "NAME"
    *parents, key = steps
    prefix = "".join(f"{parent}." for parent in parents)
    known = sorted(config_keys(), key=lambda k: not k.startswith(prefix))
    neighbours = sorted({k[len(prefix) :].split(".")[0] for k in known if k.startswith(prefix)})
    leaves = {k.rpartition(".")[2]: k.removeprefix(prefix) for k in reversed(known)}
    near = [leaves[key]] if key in leaves else difflib.get_close_matches(key, neighbours, n=1)
    near = near or [leaves[leaf] for leaf in difflib.get_close_matches(key, sorted(leaves), n=1)]
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(neighbours)}"


def _dotted(key_path: KeyPath) -> str:
    """A key path as TOML writes it, items of a list by number: `server.allowed_hosts[2]`."""
    text = ""
    for step in key_path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", step)
            text += ("." if text else "") + (step if bare else json.dumps(step))
    return text
