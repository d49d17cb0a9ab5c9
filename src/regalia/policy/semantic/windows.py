"""A text in the stretches that are embedded: long enough to hold a thought, short enough to be quick."""

WINDOW = 600
"""Code points of a stretch: some 150 tokens of the 512 that the embedding model reads."""

OVERLAP = 100


def windows(text: str) -> list[tuple[int, int]]:
    """The spans of stretches that cover a text, each but the last WINDOW long."""
    if len(text) <= WINDOW:
        return [(0, len(text))] if text.strip() else []
    starts = range(0, len(text) - OVERLAP, WINDOW - OVERLAP)
    spans = [(start, min(start + WINDOW, len(text))) for start in starts]
    return [span for span in spans if text[slice(*span)].strip()]
