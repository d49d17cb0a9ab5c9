"""Two checkpoints and the tiles between them: no choice of tiles hides that the older tree was rewritten."""

from itertools import combinations

import pytest

from regalia_verify.errors import NotVerified
from regalia_verify.log import verify_extension
from verify.paper_log import DIGEST, Files, PaperLog, event, sample_log

OLD, NEW, REWRITTEN = 300, 600, 270


def grown(rewritten: int = -1) -> PaperLog:
    """A log of 600 entries, perhaps with another one at an index."""
    log = sample_log(0)
    for n in range(len(log.entries), NEW):
        log.add(event("model.registered", name="another" if n == rewritten else f"m{n}", digest=DIGEST))
    return log


def mixtures(one: Files, other: Files) -> list[Files]:
    """The files of one log with some, or all, of the tiles that it has in another form in the other."""
    differing = [path for path in one if path.startswith("tile/") and one[path] != other[path]]
    chosen = [some for count in range(len(differing) + 1) for some in combinations(differing, count)]
    return [Files(one | {path: other[path] for path in some}) for some in chosen]


def test_no_mixture_of_old_and_new_tiles_hides_a_rewritten_entry() -> None:
    honest, forged = grown(), grown(REWRITTEN)
    old, new = honest.signed(OLD).encode(), forged.signed().encode()
    attempts = mixtures(forged.publish(), honest.publish())
    assert len(attempts) == 8  # a bundle and two tiles differ
    for files in attempts:
        with pytest.raises(NotVerified, match="does not lead to the root signed for"):
            verify_extension(old, new, honest.policy(), files)
    verify_extension(old, honest.signed().encode(), honest.policy(), honest.publish())


def test_a_tile_that_changes_between_two_readings_is_read_once() -> None:
    honest, forged = grown(), grown(REWRITTEN)

    class Turning(Files):
        """Shows the forged tiles once each, and the honest ones from then on."""

        def read(self, path: str, limit: int) -> bytes:
            data = super().read(path, limit)
            self[path] = honest.publish()[path]
            return data

    with pytest.raises(NotVerified) as caught:
        verify_extension(
            honest.signed(OLD).encode(),
            forged.signed().encode(),
            honest.policy(),
            Turning(forged.publish()),
        )
    assert caught.value.reason == "log_rewritten"
