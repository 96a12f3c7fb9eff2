"""
The group of all commands.
"""

from __future__ import annotations

import importlib
import sys

import click

from egressor.errors import ConfigError

from .text import meant

__all__ = ["cli", "run"]

# Command, its module beside this one, its name there, and its line in the help, which must not cost an import.
_COMMANDS = {
    "demo": ("demo", "demo", "Try it all against local services that limit, fail and recover."),
    "serve": ("serve", "serve", "Run the gateway."),
    "check": ("config", "check", "Check the configuration, and show what holds."),
    "explain": ("config", "explain", "Show the steps that a call to a service takes."),
    "init": ("config", "init", "Write a commented configuration file."),
    "key": ("key", "key", "Make a key for a client of the gateway."),
    "status": ("operate", "status", "Show how the services are."),
    "pause": ("operate", "pause", "Refuse all calls to a service until it is resumed."),
    "resume": ("operate", "resume", "End a pause."),
    "reset-breaker": ("operate", "reset_breaker", "Close a service's breaker, and forget what it has counted."),
    "lift-ban": ("operate", "lift_ban", "End a service's suspension now."),
    "history": ("history", "history", "Show what operators did, how breakers changed, and bans."),
    "errors": ("errors", "errors", "Show what failed, and resolve or mute it."),
    "costs": ("costs", "costs", "Show what calls have cost, and how budgets stand."),
    "bans": ("bans", "bans", "Show which services have banned us."),
    "doctor": ("doctor", "doctor", "Look whether store, ledger and what they stand on are fit."),
}


class _Lazy(click.Group):
    """
    A group whose commands are imported when they are asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"egressor.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        Find a command; an unknown one is told which is near.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            message = f"{error.message.rstrip('.')}{meant(args[0], _COMMANDS)}"
            raise click.UsageError(message, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="egressor", prog_name="egressor", message="%(prog)s %(version)s")
def cli() -> None:
    """
    One gate for all calls to other people's APIs.

    The configuration is the file that --config or EGRESSOR_CONFIG names, else egressor.toml here.
    """


def run(args: list[str] | None = None) -> int:
    """
    Run a command, and return its exit code; an error becomes one line.
    """
    try:
        code = cli.main(args=args, prog_name="egressor", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        sys.stderr.write(f"egressor: {_line(error)}\n")
        return error.exit_code
    except ConfigError as error:
        sys.stderr.write(f"egressor: {error}\n")
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 1
    return code if isinstance(code, int) else 0


def _line(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}; see {context.command_path} --help"
