"""How commands end when they do not succeed: a sentence on stderr and one of these codes."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import click

from gateway.errors import GatewayError

T = TypeVar("T")

FAILED, USAGE, NOT_FOUND, UNREACHABLE, UNAUTHORISED, PARTLY, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
CODES = {
    "bad_config": USAGE,
    "bad_request": USAGE,
    "not_found": NOT_FOUND,
    "gone": NOT_FOUND,
    "unauthorized": UNAUTHORISED,
    "forbidden": UNAUTHORISED,
}


class CommandError(click.ClickException):
    """Ends the command; click prints the message to stderr."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click knows one code a class

    @classmethod
    def of(cls, code: str, message: str) -> "CommandError":
        """From an error's *code*, as a gateway tells it or as it was raised here."""
        return cls(message, CODES.get(code, FAILED))


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's *work*; errors of the gateway end the command."""
    try:
        return asyncio.run(work)
    except GatewayError as error:
        raise CommandError.of(error.code, error.message) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
