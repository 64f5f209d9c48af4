"""`lab inject`: a filter, manifest in, manifest out. Parses, calls, prints; knows no cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.errors import BadInput
from lab.inject import Options, rewrite


@click.command(epilog="Example: kubectl get deployment web -o yaml | lab inject | kubectl apply -f -")
@click.argument("file", default="-")
@click.option("--undo", is_flag=True, help="Take the sidecar out again.")
@click.option("--image", default="balance-lab/ewma-proxy:dev", show_default=True, help="The sidecar's image.")
def command(file: str, undo: bool, image: str) -> int:
    """Add the sidecar to every Deployment in FILE (- or nothing: standard input) and print the result.

    Other kinds pass through untouched; comments and order stay.
    """
    sys.stdout.write(rewrite(_read(file), None if undo else Options(image=image)))
    return 0


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except UnicodeDecodeError as e:
        raise BadInput(f"{'standard input' if file == '-' else file} is not UTF-8 text", "is it a manifest?") from e
    except OSError as e:
        raise BadInput(f"cannot read {file}: {e.strerror}", "give a file, or a manifest on standard input") from e
