"""What can go wrong with images, as one line for a person. Exit code 3: the environment failed."""

from __future__ import annotations

from lab.errors import LabError


class ImageFailure(LabError):
    """An image cannot be built from what is here."""
