"""What can go wrong with models, each in a sentence that says what to do."""

from regalia.errors import RegaliaError


class ModelError(RegaliaError):
    """Something about a model or its source."""


class ModelNotFound(ModelError):
    """No model of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no model {name!r} here; `regalia models list` shows what there is")
        self.name = name


class SourceError(ModelError):
    """The source can't be read, or what it holds can't be used."""


class ModelCorrupt(ModelError):
    """A registered file is not what it was at registration. `file` names it."""

    def __init__(self, model: str, file: str, expected: str, got: str) -> None:
        super().__init__(f"model {model}, file {file}: expected {expected}, got {got}")
        self.model = model
        self.file = file
        self.expected = expected
        self.got = got
