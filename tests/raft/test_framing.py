"""Frames, writer and reader joined by function calls; and the messages inside them."""

from __future__ import annotations

import pickle
import random

import msgspec
import pytest

from raft_exchange.raft.framing import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    TAG_BYTES,
    FrameError,
    FrameReader,
    FrameWriter,
    decode_message,
    encode_message,
)
from raft_exchange.raft.membership import Refusal, Refused, RemoveMember
from raft_exchange.raft.wire import (
    CHUNK_BYTES_MAX,
    ENTRIES_PER_MESSAGE_MAX,
    ENTRY_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    NUMBER_MAX,
    SNAPSHOT_BYTES_MAX,
    AppendEntries,
    AppendReply,
    ChangeReply,
    Entry,
    PreVoteReply,
    Propose,
    ProposeChange,
    ProposeRefused,
    Removed,
    RequestPreVote,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    SnapshotStatus,
    TimeoutNow,
    VoteReply,
    WireMessage,
)

KEY = bytes(range(32))


def read_all(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.feed(data)
    payloads = []
    while (payload := reader.next_payload()) is not None:
        payloads.append(payload)
    return payloads


def frames(*payloads: bytes) -> list[bytes]:
    writer = FrameWriter(KEY)
    return [writer.frame(payload) for payload in payloads]


def test_payloads_come_out_as_they_went_in_whatever_the_cuts() -> None:
    """Sizes from nothing (a ping) to some reads' worth; TCP cuts anywhere."""
    rng = random.Random(1)
    payloads = [rng.randbytes(rng.choice([0, 1, 15, 16, 100, 5_000])) for _ in range(200)]
    stream = b"".join(frames(*payloads))
    reader, received, position = FrameReader(KEY), [], 0
    while position < len(stream):
        size = rng.randrange(1, 2_000)
        received += read_all(reader, stream[position : position + size])
        position += size
    assert received == payloads
    assert reader.buffered_bytes == 0


def test_the_largest_message_fits() -> None:
    """MESSAGE_BYTES_MAX is allowed, and one byte more is a bug of ours."""
    payload = bytes(MESSAGE_BYTES_MAX)
    (frame,) = frames(payload)
    assert len(frame) == FRAME_BYTES_MAX
    assert read_all(FrameReader(KEY), frame) == [payload]
    with pytest.raises(AssertionError):
        frames(payload + b"x")


def test_every_changed_byte_breaks_the_stream() -> None:
    """The length, the payload and the tag are all authenticated."""
    (frame,) = frames(b"a message")
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 1 << position % 8
        reader = FrameReader(KEY)
        reader.feed(bytes(changed) + bytes(2 * FRAME_BYTES_MAX if position < LENGTH_BYTES else 0))
        with pytest.raises(FrameError):
            reader.next_payload()


def test_a_repeated_frame_breaks_the_stream() -> None:
    """The reader numbers frames itself."""
    one, _ = frames(b"one", b"two")
    reader = FrameReader(KEY)
    assert read_all(reader, one) == [b"one"]
    with pytest.raises(FrameError, match="frame 1 does not open"):
        read_all(reader, one)


def test_reordered_or_missing_frames_break_the_stream() -> None:
    """The second frame is not the first."""
    _, two = frames(b"one", b"two")
    with pytest.raises(FrameError, match="frame 0 does not open"):
        read_all(FrameReader(KEY), two)


def test_a_frame_of_the_other_direction_or_session_does_not_open() -> None:
    """What we sent ourselves is sealed with another key."""
    with pytest.raises(FrameError):
        read_all(FrameReader(bytes(32)), frames(b"one")[0])


def test_a_broken_stream_stays_broken() -> None:
    """There is no way to get in step again; frames before the fault were good."""
    one, two = frames(b"one", b"two")
    reader = FrameReader(KEY)
    reader.feed(one + bytes([*two[:-1], two[-1] ^ 1]) + two)
    assert reader.next_payload() == b"one"
    for _ in range(3):
        with pytest.raises(FrameError):
            reader.next_payload()


def test_a_cut_frame_is_waited_for() -> None:
    """Every truncation of a frame gives nothing, and no error."""
    (frame,) = frames(b"a message")
    for length in range(len(frame)):
        assert read_all(FrameReader(KEY), frame[:length]) == []


@pytest.mark.parametrize("announced", [0, TAG_BYTES - 1, FRAME_BYTES_MAX - 3, 2**31, 2**32 - 1])
def test_an_impossible_length_is_refused_before_anything_is_buffered(announced: int) -> None:
    """Four bytes are enough to judge: a peer cannot make us hold more than one frame."""
    with pytest.raises(FrameError, match="announced"):
        read_all(FrameReader(KEY), announced.to_bytes(4, "big"))


def test_an_unfinished_frame_holds_no_more_than_it_announced() -> None:
    """The reader's memory is one frame and what was read at once."""
    reader = FrameReader(KEY)
    read_all(reader, (FRAME_BYTES_MAX - LENGTH_BYTES).to_bytes(4, "big"))
    chunk = bytes(256 * 1024)
    while reader.buffered_bytes + len(chunk) < FRAME_BYTES_MAX:
        assert read_all(reader, chunk) == []
    with pytest.raises(FrameError, match="does not open"):
        read_all(reader, chunk)
    assert reader.buffered_bytes <= FRAME_BYTES_MAX + len(chunk)


def test_a_key_ends_after_its_number_of_frames() -> None:
    """The writer says so beforehand; a reader does not go on either."""
    writer, reader = FrameWriter(KEY, frames_max=2), FrameReader(KEY, frames_max=2)
    assert read_all(reader, writer.frame(b"1") + writer.frame(b"2")) == [b"1", b"2"]
    assert writer.spent
    with pytest.raises(AssertionError):
        writer.frame(b"3")
    longer = FrameWriter(KEY)
    third = [longer.frame(b"x") for _ in range(3)][2]
    with pytest.raises(FrameError, match="spent"):
        read_all(reader, third)


def test_messages_come_out_as_they_went_in() -> None:
    """A heartbeat, a full message and an answer."""
    entries = [Entry(command=b"\x00payload", index=7 + n, term=3) for n in range(400)]
    for message in (
        AppendEntries(3, 5, 6, 2, entries=[]),
        AppendEntries(3, 5, 6, 2, entries=entries),
        AppendReply(term=3, previous_index=6, success=True, match_index=7),
    ):
        assert decode_message(encode_message(message)) == message


def append_of(commands: list[bytes]) -> bytes:
    entries = [Entry(command, index, 1) for index, command in enumerate(commands, 1)]
    return encode_message(AppendEntries(1, 0, 0, 0, entries))


def test_entries_are_bounded_in_number_and_size() -> None:
    """At each bound the message is taken; one beyond, it is refused."""
    full = bytes(1 + ENTRY_BYTES_MAX)
    assert decode_message(append_of([full]))
    assert decode_message(append_of([b""] * ENTRIES_PER_MESSAGE_MAX))
    assert decode_message(encode_message(Propose(full[1:])))
    for payload in (
        append_of([full + b"x"]),
        append_of([b""] * (ENTRIES_PER_MESSAGE_MAX + 1)),
        encode_message(Propose(full)),
    ):
        with pytest.raises(FrameError):
            decode_message(payload)


NUMBERED: list[WireMessage] = [
    RequestVote(1, 2, 3),
    VoteReply(1, True),
    RequestPreVote(1, 2, 3, 4),
    PreVoteReply(1, 2, True),
    AppendEntries(1, 2, 3, 1, [Entry(b"", 4, 1)]),
    AppendReply(1, 2, True, 3),
    SnapshotChunk(1, 2, 3, 4, bytes(32), 0, b"data"),
    SnapshotReply(1, 2, 3, SnapshotStatus.WANTED),
    TimeoutNow(1),
    ProposeRefused(1),
    ProposeChange(1, RemoveMember("n1")),
    ChangeReply(1, 2, 3, Refused(Refusal.PENDING, "ask again")),
    Removed(1),
]


def numbers_of(message: object) -> list[str]:
    fields = [field.name for field in msgspec.structs.fields(type(message))]
    return [name for name in fields if type(getattr(message, name)) is int]


@pytest.mark.parametrize("message", NUMBERED, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("number", [-5, -1, NUMBER_MAX + 1, 2**63 + 2**62])
def test_every_number_has_bounds(message: WireMessage, number: int) -> None:
    assert decode_message(encode_message(message)) == message
    names = numbers_of(message)
    assert names
    for name in names:
        with pytest.raises(FrameError, match="not a message"):
            decode_message(encode_message(msgspec.structs.replace(message, **{name: number})))


def test_every_message_with_a_number_is_held_to_its_bounds() -> None:
    assert {type(message) for message in NUMBERED} == set(WireMessage.__args__) - {Propose}


@pytest.mark.parametrize(
    ("previous", "entries"),
    [
        ((5, 1), [(7, 1)]),
        ((5, 1), [(5, 1)]),
        ((5, 1), [(6, 1), (8, 1)]),
        ((5, 1), [(6, 1), (6, 1)]),
        ((5, 1), [(6, 2), (7, 1)]),
        ((5, 2), [(6, 1)]),
        ((5, 1), [(6, 3)]),
        ((5, 1), [(6, 1), (7, 4)]),
        ((5, 3), []),
    ],
)
def test_entries_that_no_leader_can_have_are_refused(
    previous: tuple[int, int], entries: list[tuple[int, int]]
) -> None:
    """A gap, a repeat, a term that falls, or one above the leader's own, here 2."""
    run = [Entry(b"", index, term) for index, term in entries]
    with pytest.raises(FrameError, match="term"):
        decode_message(encode_message(AppendEntries(2, 0, *previous, run)))


def test_entries_of_rising_terms_without_a_gap_are_taken() -> None:
    run = [Entry(b"", 6, 1), Entry(b"", 7, 1), Entry(b"", 8, 3)]
    message = AppendEntries(3, 9, 5, 1, run)
    assert decode_message(encode_message(message)) == message


def test_chunks_are_bounded_in_themselves_and_by_their_snapshot() -> None:
    chunk = SnapshotChunk(1, 2, 1, CHUNK_BYTES_MAX, bytes(32), 0, bytes(CHUNK_BYTES_MAX))
    assert decode_message(encode_message(chunk)) == chunk
    for changes in (
        {"size_bytes": 2 * CHUNK_BYTES_MAX, "data": bytes(CHUNK_BYTES_MAX + 1)},
        {"sha256": bytes(31)},
        {"sha256": bytes(33)},
        {"offset": 1},
        {"size_bytes": CHUNK_BYTES_MAX - 1},
        {"size_bytes": SNAPSHOT_BYTES_MAX + 1},
    ):
        with pytest.raises(FrameError):
            decode_message(encode_message(msgspec.structs.replace(chunk, **changes)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "append"}),
        msgspec.msgpack.encode(["append", 1]),
        msgspec.msgpack.encode(["unknown", 1]),
        msgspec.msgpack.encode(["append", "1", 0, 0, 0, []]),
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff" * 1_000,
        pickle.dumps({"type": "append_entries"}, protocol=2),
    ],
)
def test_what_is_not_a_message_is_refused(payload: bytes) -> None:
    """Another shape, another type, nesting, false sizes, a pickle: one kind of error."""
    with pytest.raises(FrameError):
        decode_message(payload)


def test_damaged_messages_raise_nothing_but_a_frame_error() -> None:
    """Ten thousand mutations of a sound message: each is a message or a `FrameError`."""
    rng = random.Random(7)
    sound = append_of([b"command"] * 3)
    refused = 0
    for _ in range(10_000):
        damaged = bytearray(sound)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            decode_message(bytes(damaged[: rng.randrange(1, len(damaged) + 1)]))
        except FrameError:
            refused += 1
    assert refused > 5_000
