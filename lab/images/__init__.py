"""The lab's two container images, and how they come to be: from this checkout, with docker, without a registry.

    context    a folder with just what one image needs, the same bytes for the same commit
    build      context → docker image, skipped where the image has those very bytes already
    archive    images ↔ one file, for rooms without internet
    recipes    the node image and the Python base for machines that no registry answers (Debian packages only)

Knows docker; nothing of clusters.
"""

from lab.images.build import NAMES, build, ensure
from lab.images.errors import ImageFailure

__all__ = ["NAMES", "ImageFailure", "build", "ensure"]
