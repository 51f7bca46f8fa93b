"""`gateway check`: whether config.toml can be used, and what it then says."""

import json
import os
from pathlib import Path

import click

from gateway.config import as_toml, exposed_secrets, load, masked
from gateway.errors import ConfigError
from gateway.journal.condition import shared_directory


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The file to check.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of TOML.")
@click.pass_context
def check(context: click.Context, path: Path, *, as_json: bool) -> None:
    """Validate the configuration and print it, defaults included and secrets masked."""
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        click.echo(error.message, err=True)
        context.exit(2)
    if exposed := exposed_secrets(config):
        click.echo(f"{path}: others may read the file, with {', '.join(exposed)}", err=True)
    if directory := shared_directory(config.journal.path):
        click.echo(f"{path}: others may write to {directory}, where the journal is", err=True)
    click.echo(json.dumps(masked(config), indent=2) if as_json else as_toml(config), nl=as_json)
