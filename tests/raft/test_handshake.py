"""The handshake, both sides joined by function calls: what it grants, and all that it refuses."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container
from typing import Any

import pytest

from raft_exchange.raft.handshake import (
    ENTROPY_BYTES,
    HANDSHAKE_BYTES_MAX,
    Credentials,
    Handshake,
    HandshakeRefused,
    Refusal,
    Session,
    _node_id,
)

SECRET = b"a secret of the cluster, random."
OTHER_SECRET = b"another secret, also random....."
ALICE = Credentials("alice", "exchange-1", SECRET)
BOB = Credentials("bob", "exchange-1", SECRET)
ALL = ("alice", "bob", "carol")


def side(
    credentials: Credentials,
    *,
    dial_to: str | None = None,
    members: Container[str] = ALL,
    seed: int = 0,
) -> Handshake:
    """One side whose randomness follows from its name and `seed`."""
    rng = random.Random(f"{credentials.node_id} {dial_to} {seed}")
    entropy = rng.randbytes(ENTROPY_BYTES)
    return Handshake(credentials, dial_to=dial_to, members=members, entropy=entropy)


def reason_of(side: Handshake, data: bytes) -> Refusal:
    with pytest.raises(HandshakeRefused) as caught:
        side.receive(data)
    assert side.session is None, "a refused side has no keys"
    return caught.value.reason


def session_of(side: Handshake) -> Session:
    assert side.session is not None
    return side.session


def test_two_members_agree_on_who_they_are_and_on_two_keys() -> None:
    """Each side's sending key is the other's receiving key, and the two differ."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    assert acceptor.start() == b""
    answer = acceptor.receive(dialler.start())
    assert acceptor.session is None, "the acceptor believes nobody before message 3"
    assert acceptor.receive(dialler.receive(answer)) == b""
    here, there = session_of(dialler), session_of(acceptor)
    assert (here.peer_id, there.peer_id) == ("bob", "alice")
    assert (here.send_key, here.receive_key) == (there.receive_key, there.send_key)
    assert here.send_key != here.receive_key


def test_it_works_byte_by_byte() -> None:
    """TCP may cut anywhere."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    answer = b"".join(acceptor.receive(bytes([b])) for b in dialler.start())
    confirm = b"".join(dialler.receive(bytes([b])) for b in answer)
    for b in confirm:
        acceptor.receive(bytes([b]))
    assert session_of(acceptor).receive_key == session_of(dialler).send_key


def test_what_follows_the_last_message_is_kept_for_the_frames() -> None:
    """A dialler may send frames together with its confirmation."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    confirm = dialler.receive(acceptor.receive(dialler.start()))
    acceptor.receive(confirm + b"frames")
    assert session_of(acceptor).rest == b"frames"


def test_one_side_says_no_more_than_announced_before_it_is_believed() -> None:
    """HANDSHAKE_BYTES_MAX is what the dialler sends in all."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    hello = dialler.start()
    confirm = dialler.receive(acceptor.receive(hello))
    assert len(hello) + len(confirm) == HANDSHAKE_BYTES_MAX


@pytest.mark.parametrize(
    ("stranger", "dial_to", "reason"),
    [
        (Credentials("alice", "exchange-1", OTHER_SECRET), "bob", Refusal.WRONG_SECRET),
        (Credentials("alice", "exchange-2", SECRET), "bob", Refusal.WRONG_CLUSTER),
        (Credentials("bob", "exchange-1", SECRET), "alice", Refusal.OWN_ID),
        (Credentials("alice", "exchange-1", SECRET), "carol", Refusal.WRONG_TARGET),
        (Credentials("mallory", "exchange-1", SECRET), "bob", Refusal.NOT_A_MEMBER),
    ],
)
def test_the_acceptor_refuses_and_can_say_why(
    stranger: Credentials, dial_to: str, reason: Refusal
) -> None:
    """The reasons are told apart on our side; the peer gets no byte."""
    assert reason_of(side(BOB), side(stranger, dial_to=dial_to).start()) is reason


class TwoFaced(Handshake):
    """Reads as one member and answers as another."""

    def _hello(self, step: Any, target: str) -> bytes:
        self._credentials = BOB
        return super()._hello(step, target)


def test_a_dialler_refuses_a_member_it_did_not_dial() -> None:
    """Even if that one holds the secret: a faulty member is not taken for another."""
    dialler = side(ALICE, dial_to="carol")
    carol = Credentials("carol", "exchange-1", SECRET)
    faulty = TwoFaced(carol, dial_to=None, members=ALL, entropy=bytes(ENTROPY_BYTES))
    assert reason_of(dialler, faulty.receive(dialler.start())) is Refusal.UNEXPECTED_PEER


def test_the_dialler_refuses_an_acceptor_with_another_secret() -> None:
    """Mutual: a fake acceptor cannot make the message that the dialler waits for."""
    fake = side(Credentials("bob", "exchange-1", OTHER_SECRET))
    dialler = side(ALICE, dial_to="bob")
    hello = dialler.start()
    assert reason_of(fake, hello) is Refusal.WRONG_SECRET
    forged = hello[:5] + b"\x02" + hello[6:]  # the best it can do: our own words as an answer
    assert reason_of(dialler, forged) is Refusal.WRONG_SECRET


def test_another_version_is_told_apart_whatever_its_size() -> None:
    """Six bytes are enough to tell; a later version's message may be shorter than ours."""
    hello = side(ALICE, dial_to="bob").start()
    assert reason_of(side(BOB), hello[:4] + b"\x02") is Refusal.WRONG_VERSION


def test_garbage_is_refused_at_its_first_wrong_byte() -> None:
    """A stranger who speaks another protocol does not hold a place until the timeout."""
    assert reason_of(side(BOB), b"G") is Refusal.GARBAGE
    assert reason_of(side(BOB), b"RXR!") is Refusal.GARBAGE


def test_our_own_message_reflected_to_us_is_refused() -> None:
    """As an answer to our dial, and as a dial by somebody else."""
    dialler = side(ALICE, dial_to="bob")
    hello = dialler.start()
    assert reason_of(dialler, hello) is Refusal.GARBAGE, "a hello is no answer"
    assert reason_of(side(ALICE), hello) is Refusal.OWN_ID


def test_messages_relabelled_as_another_step_are_refused() -> None:
    """Each step has its own proof key, so the label alone does not make the message."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    answer = acceptor.receive(dialler.start())
    as_hello = answer[:5] + b"\x01" + answer[6:]
    assert reason_of(side(ALICE), as_hello) is Refusal.WRONG_SECRET


LENGTHS = {"hello": 264, "answer": 264, "confirm": 38}


@pytest.mark.parametrize("message", LENGTHS)
def test_every_changed_byte_is_refused(message: str) -> None:
    """Each byte of each message in turn, with one bit flipped; no acceptor ends up with keys."""
    for position in range(LENGTHS[message]):
        dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)

        def pass_on(name: str, data: bytes, *, position: int = position) -> bytes:
            assert len(data) == LENGTHS[name]
            if name != message:
                return data
            flipped = bytearray(data)
            flipped[position] ^= 1 << position % 8
            return bytes(flipped)

        refusal = None
        try:
            answer = acceptor.receive(pass_on("hello", dialler.start()))
            confirm = dialler.receive(pass_on("answer", answer))
            acceptor.receive(pass_on("confirm", confirm))
        except HandshakeRefused as error:
            refusal = error.reason
        assert refusal is not None, position
        assert acceptor.session is None, position


@pytest.mark.parametrize("length", [0, 1, 5, 6, 100, 263])
def test_half_a_message_is_waited_for_and_grants_nothing(length: int) -> None:
    """Truncation is not an error, only not enough; the owner's timeout ends it."""
    acceptor = side(BOB)
    assert acceptor.receive(side(ALICE, dial_to="bob").start()[:length]) == b""
    assert acceptor.session is None


def test_a_recorded_session_does_not_open_a_second_one() -> None:
    """Message 1 may be repeated and earns an answer; message 3 covers the new answer's nonce."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB, seed=1)
    hello = dialler.start()
    answer = acceptor.receive(hello)
    confirm = dialler.receive(answer)
    acceptor.receive(confirm)
    session_of(acceptor)

    again = side(BOB, seed=2)
    assert again.receive(hello) != answer
    assert reason_of(again, confirm) is Refusal.WRONG_SECRET


def test_a_recorded_answer_does_not_satisfy_a_new_dial() -> None:
    """The answer's proof covers the dialler's nonce."""
    answer = side(BOB).receive(side(ALICE, dial_to="bob", seed=1).start())
    later = side(ALICE, dial_to="bob", seed=2)
    later.start()
    assert reason_of(later, answer) is Refusal.WRONG_SECRET


def test_bytes_before_their_turn_are_refused() -> None:
    """Nobody may send ahead: that is what bounds the bytes of the unproven."""
    hello = side(ALICE, dial_to="bob").start()
    assert reason_of(side(BOB), hello + b"x") is Refusal.OUT_OF_TURN
    dialler = side(ALICE, dial_to="bob")
    answer = side(BOB).receive(dialler.start())
    assert reason_of(dialler, answer + b"x") is Refusal.OUT_OF_TURN


def test_each_connection_has_keys_of_its_own() -> None:
    """Same members, same secret, other nonces and ephemeral keys: four different keys."""
    keys = set()
    for seed in (1, 2):
        dialler, acceptor = side(ALICE, dial_to="bob", seed=seed), side(BOB, seed=seed)
        acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
        keys |= {session_of(acceptor).send_key, session_of(acceptor).receive_key}
    assert len(keys) == 4


def test_a_key_of_low_order_is_refused() -> None:
    """A faulty holder of the secret cannot make the session's secret a constant."""
    dialler = side(ALICE, dial_to="bob")
    dialler._private_key = _NullKey()  # type: ignore[assignment]
    assert reason_of(side(BOB), dialler.start()) is Refusal.GARBAGE


class _NullKey:
    def public_key(self) -> _NullKey:
        return self

    def public_bytes_raw(self) -> bytes:
        return bytes(32)


@pytest.mark.parametrize(
    ("size", "field"), [(0, b""), (65, b"x" * 64), (3, b"bobby"), (2, b"\xff\xff")]
)
def test_an_id_has_one_spelling(size: int, field: bytes) -> None:
    """What a faulty member may put into the field for an id, and no sound one does."""
    with pytest.raises(HandshakeRefused, match="garbage"):
        _node_id(field.ljust(64, b"\x00"), size)


def test_the_bytes_of_this_version_are_pinned() -> None:
    """Whoever changes a byte or a key derivation changes PROTOCOL_VERSION, and this test."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    hello = dialler.start()
    answer = acceptor.receive(hello)
    confirm = dialler.receive(answer)
    keys = session_of(dialler).send_key + session_of(dialler).receive_key
    digest = hashlib.sha256(hello + answer + confirm + keys).hexdigest()
    assert hello[:6] == b"RXRT\x01\x01"
    assert digest == "a96c95b38fd3b12528a49be7eb59112309e7c4734edd6b0f08dff8a392a356c6"


@pytest.mark.parametrize("node_id", ["", "x" * 65, "é" * 33])
def test_an_id_outside_its_bounds_is_refused_at_home(node_id: str) -> None:
    """1 to 64 bytes, counted in UTF-8."""
    with pytest.raises(ValueError, match="node id"):
        Credentials(node_id, "exchange-1", SECRET)


def test_ids_up_to_the_bound_work() -> None:
    """Sixty-four bytes, not all of them ASCII."""
    long = Credentials("é" * 32, "exchange-1", SECRET)
    members = (long.node_id, "bob")
    dialler, acceptor = side(long, dial_to="bob", members=members), side(BOB, members=members)
    acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
    assert session_of(acceptor).peer_id == long.node_id


def test_secrets_do_not_appear_in_logs() -> None:
    """Neither the cluster's nor a session's."""
    dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
    dialler.receive(acceptor.receive(dialler.start()))
    session = session_of(dialler)
    assert repr(session.send_key) not in repr(session)
    assert repr(SECRET) not in repr(ALICE)


def test_a_short_or_missing_secret_is_refused_at_home() -> None:
    """A guessable secret could be tried out against one recorded handshake."""
    with pytest.raises(ValueError, match="secret"):
        Credentials("alice", "exchange-1", b"short")
    with pytest.raises(ValueError, match="cluster id"):
        Credentials("alice", "", SECRET)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_raise_nothing_but_a_refusal(seed: int) -> None:
    """At any point of the handshake, with or without a sound beginning."""
    rng = random.Random(seed)
    for _ in range(200):
        dialler, acceptor = side(ALICE, dial_to="bob"), side(BOB)
        hello = dialler.start()
        garbage = rng.randbytes(rng.randrange(1, 600))
        sound = rng.randrange(7)
        victim, sound_prefix = rng.choice([(acceptor, hello[:sound]), (dialler, b"RXRT\x01\x02")])
        try:
            victim.receive(sound_prefix)
            victim.receive(garbage)
        except HandshakeRefused:
            pass
        assert victim.session is None
