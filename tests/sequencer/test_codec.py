"""The entry codec: what goes in comes out, a stamp moves only the time, garbage is told."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.matching.limits import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, TIME_US_MAX
from raft_exchange.matching.messages import (
    CancelAll,
    CancelOrder,
    Command,
    CreateAccount,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.matching.versions import VERSIONS, NewerVersion
from raft_exchange.sequencer.codec import (
    Batch,
    CodecError,
    Request,
    decode_batch,
    encode_batch,
    encoded_size,
    stamp,
    time_of,
)

names = st.text(max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(CreateAccount, names),
    st.builds(CancelOrder, names, int64, names),
    st.builds(CancelAll, names, st.none() | names, st.none() | st.sampled_from(Side)),
    st.builds(
        PlaceOrder,
        names,
        names,
        st.sampled_from(Side),
        st.sampled_from(OrderType),
        st.sampled_from(TimeInForce),
        int64,
        int64,
        int64,
        st.booleans(),
        st.none() | st.sampled_from(SelfTradePrevention),
        names,
    ),
)
batches = st.builds(
    Batch,
    names,
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.lists(st.builds(Request, commands, names, st.integers(0, TIME_US_MAX)), max_size=20),
)


@given(batches, st.integers(0, TIME_US_MAX))
def test_a_batch_comes_back_as_it_went(batch: Batch, time_us: int) -> None:
    assert decode_batch(encode_batch(batch, time_us=time_us)) == (time_us, batch)


@given(batches, st.integers(0, TIME_US_MAX))
def test_the_stamp_changes_the_time_and_nothing_else(batch: Batch, time_us: int) -> None:
    stamped = stamp(encode_batch(batch), time_us)
    assert time_of(stamped) == time_us
    assert decode_batch(stamped) == (time_us, batch)


@given(st.binary(max_size=300))
def test_garbage_raises_only_the_codecs_own_error(data: bytes) -> None:
    with contextlib.suppress(CodecError, NewerVersion):
        decode_batch(data)


@given(batches, st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_entry_raises_only_the_codecs_own_error(
    batch: Batch, position: int, value: int
) -> None:
    data = bytearray(encode_batch(batch))
    data[position % len(data)] = value
    with contextlib.suppress(CodecError, NewerVersion):
        decode_batch(bytes(data))


def test_the_next_format_is_refused_by_name() -> None:
    data = encode_batch(Batch("n1", 1, 1, []))
    newest = VERSIONS.newest
    told = f"of version {newest + 1}; this release reads versions up to {newest}"
    with pytest.raises(NewerVersion, match=told):
        decode_batch(bytes([newest + 1]) + data[1:])


def test_a_batch_of_too_many_requests_is_refused() -> None:
    requests = [Request(CreateAccount("a"))] * (BATCH_COMMANDS_MAX + 1)
    with pytest.raises(AssertionError):
        encode_batch(Batch("n1", 1, 1, requests))
    body = msgspec.msgpack.encode(Batch("n1", 1, 1, requests))
    with pytest.raises(CodecError, match="513 requests; allowed 512"):
        decode_batch(encode_batch(Batch("n1", 1, 1, []))[:9] + body)


def test_an_entry_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(CodecError, match="an entry of"):
        decode_batch(bytes([1]) + bytes(BATCH_BYTES_MAX))


def test_the_size_of_a_request_is_what_it_adds_to_its_batch() -> None:
    request = Request(CreateAccount("somebody"), "key", 5)
    one = len(encode_batch(Batch("n1", 1, 1, [request])))
    two = len(encode_batch(Batch("n1", 1, 1, [request, request])))
    assert two - one == encoded_size(request)


@pytest.mark.parametrize("where", ["batch", "request", "command"])
def test_a_field_of_a_later_release_is_refused_and_not_ignored(where: str) -> None:
    """An old replica that ignored it would apply something else than a new one."""
    entry = encode_batch(Batch("n1", 1, 1, [Request(CancelOrder("a", 1, ""))]))
    batch = msgspec.msgpack.decode(entry[9:])
    request = batch[3][0]
    command = request[0]
    {"batch": batch, "request": request, "command": command}[where].append(1)
    with pytest.raises(CodecError, match="at most length"):
        decode_batch(entry[:9] + msgspec.msgpack.encode(batch))
