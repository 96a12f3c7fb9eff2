"""
The command ``key``.
"""

from __future__ import annotations

import json

import click

from egressor.gateway.keys import digest, new_key
from egressor.policies import ClientKey

__all__ = ["key"]


@click.command
@click.argument("name")
@click.option("--user", help="The scope's user of all of the client's calls; default: what the client says.")
@click.option("--feature", help="The scope's feature of all of its calls; default: what the client says.")
@click.option("--service", "services", multiple=True, help="A service that it may call, once for each; default: all.")
def key(name: str, user: str | None, feature: str | None, services: tuple[str, ...]) -> None:
    """
    Make a key for the client NAME: print it once, and the table for the configuration, which holds only its hash.
    """
    fresh = new_key()
    # Checked as the file will be: what is printed can be pasted.
    made = ClientKey(name=name, sha256=digest(fresh), user=user, feature=feature, services=services)
    click.echo(f"# Give this to the client; nobody can show it again:\n#   {fresh}\n# Put this into the configuration:")
    click.echo("[[gateway.keys]]")
    for each in ("name", "sha256", "user", "feature", "services"):
        value = getattr(made, each)
        if value:
            # JSON's texts and lists of texts are TOML's, too.
            shown = list(value) if isinstance(value, tuple) else value
            click.echo(f"{each} = {json.dumps(shown, ensure_ascii=False)}")
