"""Registered models: where they come from, what they are, and whether they are still that."""

from regalia.models.errors import ModelCorrupt, ModelError, ModelNotFound, SourceError
from regalia.models.fetched import OnProgress, Progress
from regalia.models.manifest import Manifest, ModelFile
from regalia.models.pypi import embedding_source
from regalia.models.store import ModelStore

__all__ = [
    "Manifest",
    "ModelCorrupt",
    "ModelError",
    "ModelFile",
    "ModelNotFound",
    "ModelStore",
    "OnProgress",
    "Progress",
    "SourceError",
    "embedding_source",
]
