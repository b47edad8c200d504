"""The bytes that are signed, and which signatures and keys count."""

from __future__ import annotations

import base64
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.decoding.signing import Signable, is_public_key, is_signature, signed_bytes
from raft_exchange.ed25519 import verify
from tests.support.signing import Signer

# The known answer of gateway/DESIGN.md; its private key is the bytes 0 to 31.
CLUSTER_ID: Final = "5f0c1d7a9e3b24680f1e2d3c4b5a6978"
PUBLIC_KEY: Final = base64.b64decode("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
BODY: Final = b'{"market":"BTC-USD","side":"buy","type":"limit","quantity":"0.5","price":"100.25"}'
ANSWER: Final = base64.b64decode(
    "pX/TwFDJ3iiZ+4D5edbTode0OX4jfziZT8OZWc10jeMwAf/gpRxgyCaX97LTj8tOyy1LHpZ/oMw5MpGJOG3kBQ=="
)
REQUEST: Final = Signable(
    *("POST", "/v1/orders", "2026-01-31T12:00:00.000000Z", "8c1d4f0e2b", "my-first-buy", BODY)
)
MESSAGE: Final = b"""\
raft-exchange-signed-1
5f0c1d7a9e3b24680f1e2d3c4b5a6978
POST
/v1/orders
2026-01-31T12:00:00.000000Z
8c1d4f0e2b
my-first-buy
cd59009a031e7fdb62e4d15f8ec18c6bd8d15c0da423f5f97e2be2447e62a876"""

FIELD_PRIME: Final = 2**255 - 19
GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493


def test_the_known_answer() -> None:
    assert signed_bytes(CLUSTER_ID, REQUEST) == MESSAGE
    assert REQUEST.is_formed
    assert is_public_key(PUBLIC_KEY)
    assert is_signature(ANSWER)
    assert verify(PUBLIC_KEY, MESSAGE, ANSWER)


@pytest.mark.parametrize("position", range(0, len(MESSAGE), 17))
def test_another_message_has_another_signature(position: int) -> None:
    other = bytearray(MESSAGE)
    other[position] ^= 1
    assert not verify(PUBLIC_KEY, bytes(other), ANSWER)


def test_the_same_signature_with_a_larger_scalar_is_none() -> None:
    """The equation holds as well for S + L: a second form of one signature would be a replay."""
    scalar = int.from_bytes(ANSWER[32:], "little") + GROUP_ORDER
    assert not is_signature(ANSWER[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_signature_has_64_bytes(length: int) -> None:
    assert not is_signature(bytes(length))


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        (1).to_bytes(32, "little"),
        (1 | 1 << 255).to_bytes(32, "little"),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        *((FIELD_PRIME + more).to_bytes(32, "little") for more in (0, 1, 18)),
        b"",
        bytes(31),
    ],
)
def test_a_key_that_implementations_disagree_about_is_none(key: bytes) -> None:
    """Of small order one signature is good for many messages; not canonical, it is two keys."""
    assert not is_public_key(key)


@given(st.binary(min_size=1, max_size=32))
def test_every_key_that_somebody_makes_counts(seed: bytes) -> None:
    signer = Signer("k", cluster_id="c", seed=seed)
    assert is_public_key(signer.public_key)
    signature = signer.sign(seed)
    assert is_signature(signature)
    assert verify(signer.public_key, seed, signature)


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=70))
def test_verifying_garbage_is_false_and_never_fails(
    key: bytes, message: bytes, signature: bytes
) -> None:
    assert not verify(key, message, signature)


TEXTS = st.text(st.sampled_from("aA1/.:-+ \n\x00é?=&TZ"), max_size=12)


@given(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS))
def test_two_requests_never_have_the_same_bytes(
    one: tuple[str, str, str, str, str], other: tuple[str, str, str, str, str]
) -> None:
    """Of what is formed: a line feed in a part would move the border between two."""
    first, second = Signable(*one, b""), Signable(*other, b"")
    if first.is_formed and second.is_formed and first != second:
        assert signed_bytes("c", first) != signed_bytes("c", second)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("method", text) for text in ("", "post", "POST\n", "P" * 17)),
        *(("target", text) for text in ("", "v1", "/v1 /", "/v1\n", "/é", "/" + "x" * 1_024)),
        *(("timestamp", text) for text in ("", "2026\n", "x" * 41)),
        *(("nonce", text) for text in ("", "a\nb", "x" * 65, "é")),
        *(("idempotency_key", text) for text in ("a\nb", "x" * 65, "é")),
        ("body", bytes(384 * 1024 + 1)),
    ],
)
def test_what_is_not_formed_cannot_be_signed(field: str, value: object) -> None:
    assert not REQUEST._replace(**{field: value}).is_formed
