"""A child's log stays within its bounds, and holds nothing that clients sent."""

from pathlib import Path

import pytest

from regalia.engines.childlog import BoundedLog, without_content


def test_a_log_is_bounded_and_keeps_two_files(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "engine-x.log", limit=1000)
    for number in range(100):
        log.write(b"%050d\n" % number)
    log.close()
    files = {path.name: path.read_bytes() for path in (tmp_path / "logs").iterdir()}
    assert set(files) == {"engine-x.log", "engine-x.log.1"}
    assert all(len(content) <= 1000 for content in files.values())
    assert files["engine-x.log"].endswith(b"99\n")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (
            b"0.03.315.311 E srv    send_error: task id = 208, error: secret\n",
            b"0.03.315.311 E srv    send_error:\n",
        ),
        (b"0.03.315.282 E failed to parse grammar\n", b"0.03.315.282 E failed\n"),
        (b"/src/ggml.c:123: GGML_ASSERT(a == b) failed\n", b"/src/ggml.c:123: GGML_ASSERT\n"),
        (
            b'  File "/x/embed_child.py", line 7, in serve\n',
            b'  File "/x/embed_child.py", line 7, in serve\n',
        ),
        (b"root ::= secret\n", None),
        (b"secret\n", None),
    ],
)
def test_of_a_serving_child_only_heads_and_places_are_kept(line: bytes, kept: bytes | None) -> None:
    assert without_content(line) == kept
