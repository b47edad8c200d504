"""The RPC arrays: what a stock peer writes is read, and nothing else gets through or breaks us."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.envelope import (
    Call,
    ErrorCode,
    GrenacheError,
    Reply,
    decode_call,
    decode_json,
    decode_reply,
    encode_call,
    encode_json,
    encode_reply,
    gunzip,
    gzip,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
almost_envelopes = st.lists(json_values, max_size=4).map(encode_json)
anything = st.binary() | st.text().map(str.encode) | json_values.map(encode_json) | almost_envelopes


def test_the_bytes_are_those_of_a_stock_peer() -> None:
    """Captured from grenache-nodejs-http and -ws."""
    assert encode_call(Call("947733b4", "http_svc", {"hello": "world"})) == (
        b'["947733b4","http_svc",{"hello":"world"}]'
    )
    assert encode_reply(Reply("947733b4", None, {"echo": 1})) == b'["947733b4",null,{"echo":1}]'
    assert encode_reply(Reply("rid", "boom", {"x": 1})) == b'["rid","boom",{"x":1}]'


@given(key=st.text(min_size=1), payload=json_values)
def test_a_call_survives_the_wire(key: str, payload: Any) -> None:
    call = Call("rid", key, payload)
    assert decode_call(encode_call(call)) == call


@given(error=st.none() | st.text(min_size=1), result=json_values)
def test_a_reply_survives_the_wire(error: str | None, result: Any) -> None:
    reply = Reply("rid", error, result)
    assert decode_reply(encode_reply(reply)) == reply


@given(anything)
def test_no_bytes_break_the_decoder_of_calls(data: bytes) -> None:
    """Whatever a peer sends is a call or a GrenacheError."""
    try:
        call = decode_call(data)
    except GrenacheError:
        return
    assert isinstance(call.key, str)
    assert isinstance(call.rid, str | int | float)


@given(anything)
def test_no_bytes_break_the_decoder_of_replies(data: bytes) -> None:
    """Whatever a peer sends is a reply or a GrenacheError."""
    try:
        reply = decode_reply(data)
    except GrenacheError:
        return
    assert reply.error is None or reply.error


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.REPLY_EMPTY),
        (b"null", ErrorCode.REPLY_EMPTY),
        (b"0", ErrorCode.REPLY_EMPTY),
        (b'""', ErrorCode.REPLY_EMPTY),
        (b"<html>", ErrorCode.REPLY_EMPTY),
        (b"{}", ErrorCode.REPLY_INVALID),
        (b"[]", ErrorCode.REPLY_INVALID),
        (b'["rid"]', ErrorCode.REPLY_INVALID),
        (b"7", ErrorCode.REPLY_INVALID),
    ],
)
def test_replies_that_hang_or_kill_a_stock_client_are_errors_here(
    data: bytes, code: ErrorCode
) -> None:
    with pytest.raises(GrenacheError) as raised:
        decode_reply(data)
    assert raised.value.code is code


def test_an_error_that_is_not_text_becomes_text() -> None:
    assert decode_reply(b'["rid",{"code":7},null]') == Reply("rid", '{"code":7}', None)


def test_missing_parts_are_null() -> None:
    """JavaScript leaves out what is undefined."""
    assert decode_reply(b'["rid",null]') == Reply("rid", None, None)
    assert decode_call(b'["rid","key"]') == Call("rid", "key", None)


def test_a_raw_payload_is_the_text_it_was_sent_as() -> None:
    raw = decode_call(b'["rid", "key", {"price": 100.250000000000000001}, 8]', raw_payload=True)
    assert raw == Call("rid", "key", b'{"price": 100.250000000000000001}')
    assert decode_call(b'["rid","key"]', raw_payload=True) == Call("rid", "key", b"null")
    assert decode_call('["rid","key","ż"]', raw_payload=True).payload == '"ż"'.encode()


@given(anything)
def test_no_bytes_break_the_decoder_of_raw_calls(data: bytes) -> None:
    """And they are a call exactly when they are one with the payload decoded."""
    try:
        raw = decode_call(data, raw_payload=True)
    except GrenacheError:
        with pytest.raises(GrenacheError):
            decode_call(data)
        return
    assert isinstance(raw.payload, bytes)
    assert raw[:2] == decode_call(data)[:2]


def test_the_stream_header_goes_before_the_body() -> None:
    call = decode_call(b'["body","body_key",7]', header='["header","header_key"]')
    assert call == Call("header", "header_key", 7)
    assert decode_call(b'["body","key",7]', header="[null,null]") == Call("body", "key", 7)


@pytest.mark.parametrize("header", ["", "{", "7", "[]", "[1,2,3]", "null"])
def test_a_broken_stream_header_is_named(header: str) -> None:
    with pytest.raises(GrenacheError) as raised:
        decode_call(b'["rid","key",7]', header=header)
    assert raised.value.code is ErrorCode.HEADER_PARSE_GR


@given(json_values)
def test_our_json_is_read_by_any_parser(value: Any) -> None:
    assert json.loads(encode_json(value)) == value == decode_json(encode_json(value))


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        decode_json(b"[" * 1_000_000)


@given(st.binary(max_size=2_000))
def test_what_was_packed_is_unpacked(data: bytes) -> None:
    assert gunzip(gzip(data), bytes_max=2_000) == data


@given(st.binary(max_size=200))
def test_no_bytes_break_the_unpacker(data: bytes) -> None:
    unpacked = gunzip(data, bytes_max=1_000)
    assert unpacked is None or gunzip(gzip(unpacked), bytes_max=1_000) == unpacked


def test_a_bomb_is_unpacked_no_further_than_the_bound() -> None:
    bomb = gzip(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(OverflowError):
        gunzip(bomb, bytes_max=1_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000
    assert gunzip(gzip(b"x" * 1_000), bytes_max=1_000) == b"x" * 1_000, "the bound itself passes"


def test_a_body_cut_short_is_not_unpacked() -> None:
    assert gunzip(gzip(b"x" * 1_000)[:-1], bytes_max=1_000) is None
