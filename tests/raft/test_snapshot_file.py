"""The bytes of a snapshot: whole and unchanged, or refused."""

from __future__ import annotations

import pytest

from raft_exchange.raft import snapshot_file
from raft_exchange.raft.entries import Position
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.snapshot_file import (
    FORMAT_VERSION,
    Header,
    Image,
    SnapshotDamaged,
    decode,
    decode_header,
    encode,
    header_of,
)

IMAGE = Image(7, 1_000, "ab" * 32, (b"the state " * 20, b"", b"its projection"))


def header(image: Image = IMAGE) -> Header:
    configuration = Configuration(("a", "b"))
    return header_of(
        image, cluster="c", at=Position(9, 3), log_bytes=1_234, configuration=configuration
    )


def written(image: Image = IMAGE) -> bytes:
    return b"".join(encode(header(image), image.sections))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "PIECE_BYTES_MAX", 128)


def test_what_is_written_is_read_back() -> None:
    found, sections = decode(written())
    assert found == header()
    assert tuple(sections) == IMAGE.sections


def test_the_header_is_read_without_the_rest() -> None:
    assert decode_header(written()[:128])[0] == header()


def test_equal_content_is_equal_bytes() -> None:
    """Nothing of the node or the moment is in it."""
    assert written() == written()


def test_content_is_cut_without_regard_to_where_a_section_ends() -> None:
    for size in range(120, 140):
        image = Image(7, 1_000, "", (b"a" * size, b"b" * size))
        assert tuple(decode(written(image))[1]) == image.sections


def test_any_changed_byte_is_noticed() -> None:
    raw = written()
    for offset in range(len(raw)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(raw)
            damaged[offset] ^= change
            with pytest.raises(SnapshotDamaged):
                decode(bytes(damaged))


def test_any_missing_end_is_noticed() -> None:
    raw = written()
    for size in range(len(raw)):
        with pytest.raises(SnapshotDamaged):
            decode(raw[:size])


@pytest.mark.parametrize("more", [b"\0", b"\0" * 8, b"x" * 200])
def test_bytes_behind_the_end_are_noticed(more: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        decode(written() + more)


def test_pieces_of_two_snapshots_do_not_make_one() -> None:
    """Every chunk's own sum holds; the sum over all does not."""
    raw = written()
    other = written(Image(7, 1_000, "ab" * 32, (b"The state " * 20, b"", b"its projection")))
    assert len(raw) == len(other)
    middle = len(raw) // 2
    mixtures = [raw[:at] + other[at:] for at in range(middle - 140, middle)]
    for mixture in mixtures:
        if mixture not in (raw, other):
            with pytest.raises(SnapshotDamaged):
                decode(mixture)


def test_another_format_is_named() -> None:
    raw = bytearray(written())
    raw[8] = FORMAT_VERSION + 1
    with pytest.raises(SnapshotDamaged, match=f"format {FORMAT_VERSION + 1}"):
        decode(bytes(raw))
