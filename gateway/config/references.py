"""References in the strings of config.toml: `${NAME}` and `${file:PATH}`.

A reference may be a whole string or a part of one. What it is replaced by is not looked at again,
so a secret may contain anything. Only `${` means something: any other `$` stands for itself, `$$`
included, and `$${` writes the two characters `${`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<what>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Referenced(str):
    """Text that came, at least in part, through a reference; a number may be read from it."""

    __slots__ = ()


class UnresolvedError(ValueError):
    """A reference leads nowhere. The message names it and never holds what others stand for."""


def resolve(text: str, environ: Mapping[str, str], directory: Path) -> str:
    """Replace every reference in *text*; relative paths start at *directory*.

    Returns: a `Referenced` if there was one, else the text as it is
    Raises:  UnresolvedError, at the first reference that leads nowhere
    """

    def replace(match: re.Match[str]) -> str:
        what = match["what"]
        if what is None:
            return "${"
        if not match["end"]:
            raise UnresolvedError("${ without its }; write $${ for the characters themselves")
        if what.startswith("file:"):
            return _read(directory / what.removeprefix("file:"))
        if not _NAME.fullmatch(what):
            raise UnresolvedError(f"{_shown(what)} is neither ${{NAME}} nor ${{file:PATH}}")
        if what not in environ:
            raise UnresolvedError(f"${{{what}}} is not set in the environment")
        return environ[what]

    resolved, count = _REFERENCE.subn(replace, text)
    return Referenced(resolved) if count else text


def is_reference(text: str) -> bool:
    """Whether *text* is, or holds, a reference."""
    return any(match["what"] is not None for match in _REFERENCE.finditer(text))


def _read(path: Path) -> str:
    """The file's text without the line end that editors and `echo` leave at its end."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UnresolvedError(f"{_shown(f'file:{path}')}: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise UnresolvedError(f"{_shown(f'file:{path}')} cannot be read as UTF-8 text") from error


def _shown(what: str) -> str:
    """The reference on one line, whatever characters it holds."""
    return "${" + what.encode("unicode_escape").decode() + "}"
