"""The command `gateway`: one file a noun, and the only place that prints."""

import click

from gateway import __version__
from gateway.cli.acting import cancel, delete, export, replay
from gateway.cli.calls import calls
from gateway.cli.check import check
from gateway.cli.db import db
from gateway.cli.keys import keys
from gateway.cli.mock import mock
from gateway.cli.redeliver import redeliver
from gateway.cli.run import run
from gateway.cli.submit import submit
from gateway.cli.tail import tail
from gateway.cli.top import top


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """One process in front of slow AI APIs: concurrent, durable, observable."""


for command in (cancel, replay, delete, redeliver, export, tail):
    calls.add_command(command)
for command in (run, check, mock, calls, top, keys, db, submit):
    main.add_command(command)
