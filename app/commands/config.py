"""Command group `config`: the settings in force."""

import typer

from app.commands.terminal import (
    AsJson,
    fields,
    settings,
    show,
)
from app.settings import SECRETS

config = typer.Typer(help="How this installation is set up.", no_args_is_help=True)


@config.command("show")
def show_config(as_json: AsJson = False) -> None:
    """Show the settings; secrets are hidden."""
    values = settings().model_dump(mode="json")
    public_values = {name: "(set)" if name in SECRETS and value else value for name, value in values.items()}
    show(public_values, as_json, lambda view: fields(view, tuple(view)))
