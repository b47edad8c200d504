"""An introduction is believed if a holder of the secret made it for this very question."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.introduction import (
    INTRODUCTION_BYTES_MAX,
    Distrust,
    Distrusted,
    believe,
    introduce,
)
from raft_exchange.raft.formation import REFUSED_MAX, Statement
from raft_exchange.raft.members import MEMBERS_MAX, MemberAddress
from raft_exchange.raft.proof import sign
from tests.support.forming import statement

SECRET = b"0123456789abcdef"
NONCE = "ab" * 16


def why_not(data: bytes, *, nonce: str = NONCE, cluster: str = "exchange") -> Distrust:
    with pytest.raises(Distrusted) as caught:
        believe(data, nonce=nonce, cluster=cluster, secret=SECRET)
    return caught.value.reason


def test_a_node_of_the_cluster_is_believed() -> None:
    data = introduce(statement("n1"), nonce=NONCE, secret=SECRET)
    assert believe(data, nonce=NONCE, cluster="exchange", secret=SECRET) == statement("n1")


def test_another_secret_another_question_and_no_proof_are_not_believed() -> None:
    data = introduce(statement("n1"), nonce=NONCE, secret=SECRET)
    assert why_not(introduce(statement("n1"), nonce=NONCE, secret=b"x" * 16)) == "wrong_secret"
    assert why_not(data, nonce="cd" * 16) == "wrong_secret"
    assert why_not(introduce(statement("n1"), nonce="", secret=SECRET)) == "wrong_secret"


def test_a_cluster_of_another_name_is_told_from_a_wrong_secret() -> None:
    data = introduce(statement("n1", cluster="other"), nonce=NONCE, secret=SECRET)
    assert why_not(data) == "wrong_cluster"


def test_a_statement_changed_by_one_byte_is_not_believed() -> None:
    data = introduce(statement("n1"), nonce=NONCE, secret=SECRET)
    forged = data.replace(b'"n1:7081"', b'"n2:7081"')
    assert forged != data
    assert why_not(forged) == "wrong_secret"


def test_what_is_proved_must_be_a_statement_all_the_same() -> None:
    """A release with other fields, or ids that are none, is no node of ours."""
    for raw in (b"{}", b"[]", b'{"id":"a b"}', b'"\\ud800"'):
        proof = sign(SECRET, "introduction", NONCE.encode(), raw).hex()
        data = b'{"statement":%s,"nonce":"","proof":"%s"}' % (raw, proof.encode())
        assert why_not(data) == "malformed"


def test_the_longest_statement_fits() -> None:
    longest = "n" * 64
    member = MemberAddress(longest, "h" * 253 + ":65535", "http://" + "h" * 290)
    full = msgspec.structs.replace(
        statement(longest),
        raft_address=member.raft_address,
        http_url=member.http_url,
        accepted=(longest,) * MEMBERS_MAX,
        refused=("a" * 32,) * REFUSED_MAX,
        members=(member,) * MEMBERS_MAX,
    )
    data = introduce(full, nonce=NONCE, secret=SECRET)
    assert believe(data, nonce=NONCE, cluster="exchange", secret=SECRET) == full


def test_too_much_is_not_looked_at() -> None:
    data = introduce(statement("n1"), nonce=NONCE, secret=SECRET)
    assert why_not(data + b" " * INTRODUCTION_BYTES_MAX) == "malformed"


@pytest.mark.parametrize("head", [b'{"x":', b'{"statement":', b""])
def test_json_as_deep_as_it_may_be_long_is_malformed(head: bytes) -> None:
    assert why_not(head + b"[" * (INTRODUCTION_BYTES_MAX - len(head))) == "malformed"


@given(st.binary(max_size=300))
def test_garbage_is_malformed(data: bytes) -> None:
    assert why_not(data) in ("malformed", "wrong_secret")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@given(json_values, json_values, json_values)
def test_any_json_in_the_places_of_an_introduction_is_not_believed(
    said: object, nonce: object, proof: object
) -> None:
    data = json.dumps({"statement": said, "nonce": nonce, "proof": proof}).encode()
    assert why_not(data) in ("malformed", "wrong_secret")


def test_a_statement_says_what_it_says() -> None:
    """Its fields are what other releases read: a change of them is a change of format."""
    assert [field.name for field in msgspec.structs.fields(Statement)] == [
        *("id", "name", "cluster", "expect", "raft_address", "http_url"),
        *("cluster_id", "accepted", "refused", "members"),
    ]
