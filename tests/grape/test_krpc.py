"""KRPC: the datagrams of a real network byte for byte, round trips, and garbage."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.contact import Contact
from grape.items import Item
from grape.krpc import (
    AnnouncePeer,
    Failure,
    FindNode,
    Get,
    GetPeers,
    KrpcError,
    Message,
    Ping,
    Put,
    Query,
    Response,
    decode_message,
    encode_message,
)

A = b"A" * 20
B = b"B" * 20
T = b"T" * 20
K = b"K" * 32
S = b"S" * 64
H = b"H" * 20
LOOPBACK = "127.0.0.1"

# Each line was seen between two real grapes on ports 20001 and 20002, ids, tokens, keys replaced.
SEEN: list[tuple[bytes, Message]] = [
    (
        b"d1:ad2:id20:" + A + b"6:target20:" + A + b"e1:q9:find_node1:t2:\x00\x011:y1:qe",
        Query(b"\x00\x01", A, FindNode(A)),
    ),
    (
        b"d1:rd2:id20:" + A + b"5:nodes26:" + B + b'\x7f\x00\x00\x01N"e1:t2:\x00\x011:y1:re',
        Response(b"\x00\x01", A, nodes=(Contact(B, (LOOPBACK, 20002)),)),
    ),
    (
        b"d1:ad2:id20:" + A + b"9:info_hash8:rpc_teste1:q9:get_peers1:t2:\x00\x021:y1:qe",
        Query(b"\x00\x02", A, GetPeers(b"rpc_test")),
    ),
    (
        b"d1:rd2:id20:"
        + B
        + b"5:nodes26:"
        + A
        + b"\x7f\x00\x00\x01N!5:token20:"
        + T
        + b"e1:t2:\x00\x021:y1:re",
        Response(b"\x00\x02", B, nodes=(Contact(A, (LOOPBACK, 20001)),), token=T),
    ),
    (
        b"d1:ad2:id20:"
        + A
        + b"12:implied_porti0e9:info_hash8:rpc_test4:porti1337e5:token20:"
        + T
        + b"e1:q13:announce_peer1:t2:\x00\x031:y1:qe",
        Query(b"\x00\x03", A, AnnouncePeer(b"rpc_test", port=1337, token=T)),
    ),
    (b"d1:rd2:id20:" + B + b"e1:t2:\x00\x031:y1:re", Response(b"\x00\x03", B)),
    (
        b"d1:rd2:id20:"
        + B
        + b"5:token20:"
        + T
        + b"6:valuesl6:\x7f\x00\x00\x01\x059ee1:t2:\x00\x041:y1:re",
        Response(b"\x00\x04", B, peers=((LOOPBACK, 1337),), token=T),
    ),
    (
        b"d1:ad2:id20:" + A + b"6:target20:" + H + b"e1:q3:get1:t2:\x00\x051:y1:qe",
        Query(b"\x00\x05", A, Get(H)),
    ),
    (
        b"d1:ad2:id20:" + A + b"5:token20:" + T + b"1:v11:hello worlde1:q3:put1:t2:\x00\x061:y1:qe",
        Query(b"\x00\x06", A, Put(Item(v=b"hello world"), token=T)),
    ),
    (
        b"d1:ad3:casi2e2:id20:"
        + A
        + b"1:k32:"
        + K
        + b"3:seqi3e3:sig64:"
        + S
        + b"5:token20:"
        + T
        + b"1:v2:v3e1:q3:put1:t2:\x00\x081:y1:qe",
        Query(b"\x00\x08", A, Put(Item(v=b"v3", k=K, seq=3, sig=S), token=T, cas=2)),
    ),
    (
        b"d1:ad2:id20:"
        + A
        + b"1:k32:"
        + K
        + b"4:salt3:foo3:seqi3e3:sig64:"
        + S
        + b"5:token20:"
        + T
        + b"1:v2:v3e1:q3:put1:t2:\x00\x081:y1:qe",
        Query(b"\x00\x08", A, Put(Item(v=b"v3", k=K, salt=b"foo", seq=3, sig=S), token=T)),
    ),
    (
        b"d1:eli302e33:sequence number less than currente1:t2:\x00\x071:y1:ee",
        Failure(b"\x00\x07", 302, "sequence number less than current"),
    ),
    (
        b"d1:eli301e35:CAS mismatch, re-read and try againe1:t2:\x00\x091:y1:ee",
        Failure(b"\x00\x09", 301, "CAS mismatch, re-read and try again"),
    ),
]

node_ids = st.binary(min_size=20, max_size=20)
transactions = st.none() | st.binary(max_size=8)
addresses = st.tuples(st.ip_addresses(v=4).map(str), st.integers(1, 65_535))
names = st.binary(max_size=300)
tokens = st.binary(max_size=20)
immutable = st.builds(Item, v=st.binary(max_size=50) | st.integers(-9, 9))
mutable = st.builds(
    Item,
    v=st.binary(max_size=50),
    k=st.just(K),
    salt=st.binary(max_size=64),
    seq=st.integers(0, 2**40),
    sig=st.just(S),
)
arguments = st.one_of(
    st.just(Ping()),
    st.builds(FindNode, node_ids),
    st.builds(GetPeers, names),
    st.builds(AnnouncePeer, names, port=st.integers(1, 65_535), token=tokens),
    st.builds(Get, node_ids),
    st.builds(Put, immutable | mutable, token=tokens, cas=st.none() | st.integers(0, 9)),
)
messages = st.one_of(
    st.builds(Query, transactions, node_ids, arguments),
    st.builds(
        Response,
        transactions,
        node_ids,
        nodes=st.none() | st.lists(st.builds(Contact, node_ids, addresses), max_size=20).map(tuple),
        peers=st.none() | st.lists(addresses, max_size=20).map(tuple),
        token=st.none() | tokens,
        item=st.none() | immutable,
    ),
    st.builds(Failure, transactions, st.integers(0, 999), st.text(max_size=50)),
)


@pytest.mark.parametrize(("data", "message"), SEEN, ids=lambda item: type(item).__name__)
def test_datagrams_are_those_of_the_grapes_in_the_field(data: bytes, message: Message) -> None:
    assert encode_message(message) == data
    assert decode_message(data) == message


@given(messages)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=200))
def test_garbage_raises_only_its_own_error(data: bytes) -> None:
    with contextlib.suppress(KrpcError):
        decode_message(data)


@given(messages, st.data())
def test_a_damaged_message_raises_only_its_own_error(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KrpcError):
        decode_message(bytes(damaged))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (b"d1:ade1:q9:find_node1:t1:x1:y1:qe", "`find_node` missing required `a.target` field"),
        (b"d1:ade1:q9:get_peers1:t1:x1:y1:qe", "`get_peers` missing required `a.info_hash` field"),
        (
            b"d1:ad9:info_hash8193:" + b"n" * 8_193 + b"e1:q9:get_peers1:t1:x1:y1:qe",
            "`get_peers` missing required `a.info_hash` field",
        ),
        # One datagram of this kind ends a grape of the field.
        (
            b"d1:ad6:targeti1ee1:q9:find_node1:t1:x1:y1:qe",
            "`find_node` missing required `a.target` field",
        ),
    ],
)
def test_an_asker_is_told_which_argument_is_missing(query: bytes, text: str) -> None:
    with pytest.raises(KrpcError) as raised:
        decode_message(query)
    assert raised.value.answer == Failure(b"x", 203, text)


@pytest.mark.parametrize(
    "data",
    [
        b"i1e",
        b"d1:t1:x1:y1:qe",  # a query without q: ends a grape of the field
        b"d1:q4:ping1:t1:x1:y1:qe",
        b"d1:ade1:q4:pong1:t1:x1:y1:qe",
        b"d1:ade1:qi1e1:t1:x1:y1:qe",
        b"d1:ade1:q4:ping1:t1:xe",
        b"d1:ade1:q4:ping1:ti1e1:y1:qe",
        b"d1:ade1:q4:ping1:t33:" + b"x" * 33 + b"1:y1:qe",
        b"d1:ad9:info_hash1:n4:porti0e5:token1:Te1:q13:announce_peer1:t1:x1:y1:qe",
        b"d1:ad9:info_hash1:n4:porti65536e5:token1:Te1:q13:announce_peer1:t1:x1:y1:qe",
        # An integer token: ends a grape of the field.
        b"d1:ad9:info_hash1:n4:porti1e5:tokeni1ee1:q13:announce_peer1:t1:x1:y1:qe",
        b"d1:ad9:info_hash1:n4:porti1ee1:q13:announce_peer1:t1:x1:y1:qe",
        b"d1:ad5:token1:T1:v1:ve1:q3:put1:t1:x1:y1:qe",  # no id
        b"d1:rd2:id3:abce1:t1:x1:y1:re",
        b"d1:rle1:t1:x1:y1:re",
    ],
)
def test_what_is_no_message_is_met_with_silence(data: bytes) -> None:
    with pytest.raises(KrpcError) as raised:
        decode_message(data)
    assert raised.value.answer is None


def test_a_query_may_lack_its_transaction_and_its_id() -> None:
    assert decode_message(b"d1:ade1:q4:ping1:y1:qe") == Query(None, None, Ping())


def test_an_implied_port_needs_no_port() -> None:
    query = decode_message(
        b"d1:ad12:implied_porti1e9:info_hash1:n5:token1:Te1:q13:announce_peer1:t1:x1:y1:qe"
    )
    assert isinstance(query, Query)
    assert query.arguments == AnnouncePeer(b"n", port=0, token=b"T", implied_port=True)


def test_a_cut_list_of_nodes_is_read_as_far_as_it_goes() -> None:
    whole = b"N" * 20 + b"\x01\x02\x03\x04\x00\x05"
    data = b"d1:rd2:id20:" + A + b"5:nodes30:" + whole + b"1234e1:t1:x1:y1:re"
    response = decode_message(data)
    assert isinstance(response, Response)
    assert response.nodes == (Contact(b"N" * 20, ("1.2.3.4", 5)),)


def test_peers_that_are_none_are_left_out() -> None:
    data = b"d1:rd2:id20:" + A + b"6:valuesl3:abci1e6:\x01\x02\x03\x04\x00\x00ee1:t1:x1:y1:re"
    response = decode_message(data)
    assert isinstance(response, Response)
    assert response.peers == ()
