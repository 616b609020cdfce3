"""`key`: a key for one who uses the service."""

from datetime import datetime
from typing import Annotated

import typer

from app import keys
from app.keys import InvalidKeys


def key(
    name: Annotated[
        str, typer.Argument(help="Who will hold it: letters, digits, dots, hyphens, underscores.")
    ],
    expires: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day (UTC) on which it opens."),
    ] = None,
) -> None:
    """Make a key: it is shown once and kept nowhere; the service is given its entry. See docs/security.md."""
    made = keys.new_key()
    try:
        entry = keys.entry_of(name, made, expires.date() if expires else None)
    except InvalidKeys as error:
        raise typer.BadParameter(f"{error}.", param_hint="NAME") from None
    typer.echo(f"key    {made}")
    typer.echo(f"entry  {entry}")
