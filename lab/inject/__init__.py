"""The sidecar into a manifest and out again. Manifest in, manifest out; knows no cluster.

sidecar   what the sidecar's container looks like
document  one document: inject, undo
stream    YAML text of many documents, comments and order kept
"""

from lab.inject.document import ANNOTATION, InjectError, inject, undo
from lab.inject.sidecar import CONTAINER, Options
from lab.inject.stream import rewrite

__all__ = ["ANNOTATION", "CONTAINER", "InjectError", "Options", "inject", "rewrite", "undo"]
