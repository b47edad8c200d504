"""A proof is worth something for one secret, one purpose and exactly these fields."""

from __future__ import annotations

from raft_exchange.raft.proof import PROOF_BYTES, sign, verify

SECRET = b"0123456789abcdef"
PROOF = sign(SECRET, "node", b"ab", b"c")


def test_a_proof_holds_for_what_was_signed() -> None:
    assert len(PROOF) == PROOF_BYTES
    assert verify(SECRET, "node", PROOF, b"ab", b"c")


def test_another_secret_purpose_field_or_split_is_another_statement() -> None:
    assert not verify(SECRET + b"0", "node", PROOF, b"ab", b"c")
    assert not verify(SECRET, "join", PROOF, b"ab", b"c")
    assert not verify(SECRET, "node", PROOF, b"ab", b"d")
    assert not verify(SECRET, "node", PROOF, b"a", b"bc")
    assert not verify(SECRET, "node", PROOF, b"abc")


def test_any_bytes_may_claim_to_be_a_proof() -> None:
    for claimed in (b"", PROOF[:-1], PROOF + b"\x00", bytes(PROOF_BYTES)):
        assert not verify(SECRET, "node", claimed, b"ab", b"c")
