"""The command `lab`: a file per command, each of which parses, calls the library and prints.

Exit codes: 0 it is so, 1 the claim does not hold, 2 usage or bad input, 3 the cluster or the environment failed.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from lab import __version__

COMMANDS = ("up", "down", "status", "mesh", "inject", "scenario", "verdict", "stat", "images")


class Commands(click.Group):
    """Loads only the command that is asked for: the Kubernetes client takes long to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lab.cli.{name}").command
        return command


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: lab up && lab scenario run 02-even --json even.json && lab down",
)
@click.version_option(__version__, prog_name="lab")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def root(debug: bool) -> None:
    """Shows, measures and fixes pinned gRPC traffic on Kubernetes."""
    if debug:
        os.environ["BALANCE_LAB_DEBUG"] = "1"


def main() -> None:
    """The entry point: one line per error, never a traceback unless asked for."""
    try:
        code = root.main(standalone_mode=False)
    except click.ClickException as e:
        _say(e.format_message(), _usage_hint(e))
        code = 2
    except (click.Abort, KeyboardInterrupt):
        _say("stopped; nothing was undone", "lab status tells what is there")
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as e:
        code = _failed(e)
    sys.exit(code if isinstance(code, int) else 0)


def _failed(e: Exception) -> int:
    known = getattr(e, "exit_code", None)
    if os.environ.get("BALANCE_LAB_DEBUG"):
        traceback.print_exc()
    if isinstance(known, int):
        _say(str(e), "")
        return known
    _say(f"unexpected {type(e).__name__}: {e}".splitlines()[0], "run again with: lab --debug …")
    return 3


def _usage_hint(e: click.ClickException) -> str:
    context = getattr(e, "ctx", None)
    return f"see: {context.command_path} --help" if context is not None else ""


def _say(message: str, hint: str) -> None:
    print(f"lab: {message}{'; ' + hint if hint else ''}", file=sys.stderr)
