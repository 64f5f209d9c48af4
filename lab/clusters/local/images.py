"""Images on this cluster: a table from name to what to run, since there is nothing to pull.

    balance-lab/demo-app:TAG    the environment the lab itself is installed in: its bin folder leads PATH
    balance-lab/ewma-proxy:TAG  the ewma-proxy binary of that environment, as entry point and as /ewma-proxy

Any other image is refused. Knows nothing of pods.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class ImageNotPresent(Exception):
    """There is no such image here; the message says which there are."""


@dataclass(frozen=True)
class Image:
    """entrypoint, command: as in an image's configuration. env: its environment. files: path inside → path
    here.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def argv(self, command: Sequence[str] | None, args: Sequence[str] | None) -> list[str]:
        """What to execute for a container's `command` and `args`.

        https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
        """
        if command:
            return self.translate([*command, *(args or ())])
        return self.translate([*self.entrypoint, *(args if args else self.command)])

    def translate(self, argv: Sequence[str]) -> list[str]:
        """argv with a program path of the image replaced by the file that stands for it here."""
        return [self.files.get(argv[0], argv[0]), *argv[1:]] if argv else []


class Images:
    """The table. `bin_folder`: where python and ewma-proxy are (default: this environment's)."""

    def __init__(self, bin_folder: Path | None = None) -> None:
        programs = bin_folder or Path(sysconfig.get_path("scripts"))
        proxy = str(programs / "ewma-proxy")
        self._table = {
            "balance-lab/demo-app": Image(
                command=("python", "-m", "demo_app"),
                env={"PATH": f"{programs}:{SYSTEM_PATH}", "PYTHONUNBUFFERED": "1", **source_path("demo_app")},
            ),
            "balance-lab/ewma-proxy": Image(
                entrypoint=(proxy,), env={"PATH": SYSTEM_PATH}, files={"/ewma-proxy": proxy}
            ),
        }

    def find(self, image: str) -> Image:
        """The image of this name, whatever its tag or digest. Raises ImageNotPresent."""
        found = self._table.get(_repository(image))
        if found is None:
            known = ", ".join(f"{name}:dev" for name in self._table)
            raise ImageNotPresent(
                f'image "{image}" is not on the local cluster, where pods are plain processes; it has {known}'
            )
        return found


def source_path(package: str) -> dict[str, str]:
    """PYTHONPATH for a package that is used from a source folder rather than installed; else nothing."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        return {}
    parent = Path(places[0]).parent
    return {} if str(parent) in (sysconfig.get_path("purelib"), sys.prefix) else {"PYTHONPATH": str(parent)}


def _repository(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
