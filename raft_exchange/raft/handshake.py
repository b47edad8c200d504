"""How two members prove themselves to each other: bytes in, bytes out, no socket and no clock.

Three messages of fixed size, read with `struct` before any other parser sees the connection:

    dialler                                             acceptor
    1 HELLO    cluster, ids, nonce, X25519 key, proof ->
                 <- cluster, ids, nonce, X25519 key, proof    HELLO 2
    3 CONFIRM  proof                                  ->

A proof is an HMAC-SHA256 over everything said so far, this message included. There are three
proof keys, one per message, all derived (HKDF) from the cluster's secret and name. The two
session keys, one per direction, come from the X25519 secret, the cluster's secret and the
transcript. What follows from it:

* Mutual authentication: each side's proof covers a nonce that the other has just drawn, so a
  recorded session is worth nothing; only message 1 can be repeated, and it earns message 2 only.
* A stranger learns nothing: without the first proof the acceptor closes and says nothing.
* No reflection: the steps have keys of their own, and nobody talks to their own id.
* Forward secrecy: the ephemeral keys are forgotten; the secret alone opens no recording.
* No misdirection: the ids of both ends are under every proof, so a stale address is noticed.

The secret proves membership of the cluster, not which member: whoever holds it may claim any id.
Rule of this file: every refusal is a `Refusal`, decided in the order of that list.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import hmac
import struct
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from raft_exchange.raft.proof import derive_key

PROTOCOL_VERSION: Final = 1
NODE_ID_BYTES_MAX: Final = 64
SECRET_BYTES_MIN: Final = 16
ENTROPY_BYTES: Final = 64  # a nonce and an ephemeral private key
KEY_BYTES: Final = 32

_MAGIC: Final = b"RXRT"
_PREFIX: Final = struct.Struct("!4sBB")  # magic, version, step
_HELLO: Final = struct.Struct("!32sB64sB64s32s32s")  # cluster, from, to, nonce, public key
_PROOF_BYTES: Final = 32
_HELLO_BYTES: Final = _PREFIX.size + _HELLO.size + _PROOF_BYTES
_CONFIRM_BYTES: Final = _PREFIX.size + _PROOF_BYTES
HANDSHAKE_BYTES_MAX: Final = _HELLO_BYTES + _CONFIRM_BYTES
"""The most that one side says before it is believed."""


class _Step(enum.IntEnum):
    """The three messages; also which proof key a message uses."""

    HELLO = 1
    HELLO_BACK = 2
    CONFIRM = 3


_SIZE: Final = {
    _Step.HELLO: _HELLO_BYTES,
    _Step.HELLO_BACK: _HELLO_BYTES,
    _Step.CONFIRM: _CONFIRM_BYTES,
}


class Refusal(enum.StrEnum):
    """Why a connection never became a member's. We log and count it; the peer is not told."""

    GARBAGE = "garbage"
    """Not this protocol at all."""
    WRONG_VERSION = "wrong_version"
    OUT_OF_TURN = "out_of_turn"
    """More bytes than the step allows."""
    WRONG_CLUSTER = "wrong_cluster"
    WRONG_SECRET = "wrong_secret"
    """The proof does not fit: another secret, a replay, or bytes changed on the way."""
    OWN_ID = "own_id"
    """It claims to be us."""
    WRONG_TARGET = "wrong_target"
    """It wanted another node: an address book is stale."""
    NOT_A_MEMBER = "not_a_member"
    UNEXPECTED_PEER = "unexpected_peer"
    """We dialled one member and another answered."""
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """The peer went away before the end; perhaps it refused us."""
    EVICTED = "evicted"
    """Too many strangers at once; the one waiting longest made room."""
    BLOCKED = "blocked"
    """Too many failures from this address lately."""
    SUPERSEDED = "superseded"
    """Sound, but not the connection to keep: a newer or crossing one exists, or we stop."""


class HandshakeRefused(Exception):
    """The peer broke the protocol or is not whom we talk to; close the connection."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are and what makes us a member of the cluster.

    Args:
        node_id: 1 to 64 bytes of UTF-8.
        cluster_id: the name that all members share; hashed on the wire.
        secret: at least 16 bytes, and random: a guessable secret can be tried out offline by
            whoever records one handshake.

    Raises:
        ValueError: one of these bounds is passed.
    """

    node_id: str
    cluster_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.node_id.encode()) <= NODE_ID_BYTES_MAX:
            raise ValueError(f"a node id has 1..{NODE_ID_BYTES_MAX} bytes: {self.node_id!r}")
        if not self.cluster_id:
            raise ValueError("the cluster id is empty")
        if len(self.secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the cluster secret needs at least {SECRET_BYTES_MIN} bytes")

    @property
    def cluster_hash(self) -> bytes:
        """The cluster's name as it goes over the wire; 32 bytes."""
        return hashlib.sha256(b"raft-exchange cluster\x00" + self.cluster_id.encode()).digest()


@dataclass(frozen=True, slots=True)
class Session:
    """What a finished handshake leaves behind: the peer, and one key for each direction."""

    peer_id: str
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    rest: bytes = field(repr=False)
    """What the peer already sent after its last handshake message."""


@dataclass(frozen=True, slots=True)
class _Hello:
    sender: str
    target: str
    public_key: bytes


class Handshake:
    """One side of one handshake, for one connection.

    Args:
        dial_to: the member we dialled, or None when the peer dialled us.
        members: the ids of everybody we talk to; read when the peer has proved the secret.
        entropy: 64 fresh random bytes, never used twice.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        dial_to: str | None,
        members: Container[str],
        entropy: bytes,
    ) -> None:
        assert len(entropy) == ENTROPY_BYTES, len(entropy)
        assert dial_to != credentials.node_id, "a node does not dial itself"
        self.session: Session | None = None
        self._credentials = credentials
        self._peer_id = dial_to
        self._members = members
        self._nonce = entropy[:32]
        self._private_bytes = entropy[32:]
        self._session_keys: tuple[bytes, bytes] | None = None  # between HELLO and CONFIRM
        self._awaited = _Step.HELLO if dial_to is None else _Step.HELLO_BACK
        self._transcript = b""
        self._received = b""

    # Both are made when first needed: a stranger who sends garbage costs neither.

    @functools.cached_property
    def _private_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._private_bytes)

    @functools.cached_property
    def _proof_keys(self) -> dict[_Step, bytes]:
        return _proof_keys(self._credentials)

    def start(self) -> bytes:
        """Return the bytes to send before anything is received: the dialler speaks first."""
        if self._peer_id is None:
            return b""
        assert not self._transcript, "started once"
        return self._hello(_Step.HELLO, self._peer_id)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer and return the answer, which may be empty.

        After it, `session` is set if this side is done. Bytes that follow the last message are in
        `session.rest`; before that a peer has no right to send more than one message.

        Raises:
            HandshakeRefused: close the connection, and do not use this object again.
        """
        assert self.session is None, "the handshake is over"
        self._received += data
        self._check_prefix()
        size = _SIZE[self._awaited]
        if len(self._received) < size:
            return b""
        message, rest = self._received[:size], self._received[size:]
        self._received = b""
        match self._awaited:
            case _Step.HELLO:
                return self._on_hello(message, rest)
            case _Step.HELLO_BACK:
                return self._on_hello_back(message, rest)
            case _Step.CONFIRM:
                return self._on_confirm(message, rest)

    def _check_prefix(self) -> None:
        # Judged byte by byte as it arrives: a stranger is not kept waiting for its full size,
        # and a message of another version may have another size.
        received = self._received
        if received[: len(_MAGIC)] != _MAGIC[: len(received)]:
            raise HandshakeRefused(Refusal.GARBAGE)
        if len(received) > 4 and received[4] != PROTOCOL_VERSION:
            raise HandshakeRefused(Refusal.WRONG_VERSION)
        if len(received) > 5 and received[5] != self._awaited:
            raise HandshakeRefused(Refusal.GARBAGE)

    def _on_hello(self, message: bytes, rest: bytes) -> bytes:
        hello = self._open_hello(message, rest)
        if hello.sender not in self._members:
            raise HandshakeRefused(Refusal.NOT_A_MEMBER)
        self._peer_id = hello.sender
        shared_secret = self._agree(hello.public_key)
        answer = self._hello(_Step.HELLO_BACK, hello.sender)
        self._session_keys = self._derive_session_keys(shared_secret)
        self._awaited = _Step.CONFIRM
        return answer

    def _on_hello_back(self, message: bytes, rest: bytes) -> bytes:
        hello = self._open_hello(message, rest)
        if hello.sender != self._peer_id:
            raise HandshakeRefused(Refusal.UNEXPECTED_PEER)
        ours, theirs = self._derive_session_keys(self._agree(hello.public_key))
        self.session = Session(hello.sender, ours, theirs, rest=b"")
        return self._seal(_Step.CONFIRM, _PREFIX.pack(_MAGIC, PROTOCOL_VERSION, _Step.CONFIRM))

    def _on_confirm(self, message: bytes, rest: bytes) -> bytes:
        self._check_proof(message)
        assert self._peer_id is not None
        assert self._session_keys is not None
        theirs, ours = self._session_keys
        self.session = Session(self._peer_id, ours, theirs, rest)
        return b""

    def _hello(self, step: _Step, target: str) -> bytes:
        sender_bytes, target_bytes = self._credentials.node_id.encode(), target.encode()
        body = _HELLO.pack(
            self._credentials.cluster_hash,
            len(sender_bytes),
            sender_bytes,
            len(target_bytes),
            target_bytes,
            self._nonce,
            self._private_key.public_key().public_bytes_raw(),
        )
        return self._seal(step, _PREFIX.pack(_MAGIC, PROTOCOL_VERSION, step) + body)

    def _open_hello(self, message: bytes, rest: bytes) -> _Hello:
        """Check what both hellos have in common, cheapest and least telling first."""
        if rest:
            raise HandshakeRefused(Refusal.OUT_OF_TURN)
        fields = _HELLO.unpack_from(message, _PREFIX.size)
        cluster_hash, sender_size, sender_bytes, target_size, target_bytes, _, public_key = fields
        if not hmac.compare_digest(cluster_hash, self._credentials.cluster_hash):
            raise HandshakeRefused(Refusal.WRONG_CLUSTER)
        self._check_proof(message)
        hello = _Hello(
            _node_id(sender_bytes, sender_size), _node_id(target_bytes, target_size), public_key
        )
        if hello.sender == self._credentials.node_id:
            raise HandshakeRefused(Refusal.OWN_ID)
        if hello.target != self._credentials.node_id:
            raise HandshakeRefused(Refusal.WRONG_TARGET)
        return hello

    def _seal(self, step: _Step, message: bytes) -> bytes:
        self._transcript += message
        proof = hmac.digest(self._proof_keys[step], self._transcript, "sha256")
        self._transcript += proof
        return message + proof

    def _check_proof(self, message: bytes) -> None:
        said = self._transcript + message[:-_PROOF_BYTES]
        expected = hmac.digest(self._proof_keys[self._awaited], said, "sha256")
        if not hmac.compare_digest(expected, message[-_PROOF_BYTES:]):
            raise HandshakeRefused(Refusal.WRONG_SECRET)
        self._transcript += message

    def _agree(self, public_key: bytes) -> bytes:
        try:
            return self._private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError as error:  # a point of low order: the "secret" would be public
            raise HandshakeRefused(Refusal.GARBAGE) from error

    def _derive_session_keys(self, shared_secret: bytes) -> tuple[bytes, bytes]:
        """Return the dialler's and the acceptor's sending key, after both hellos were said."""
        assert len(self._transcript) == 2 * _HELLO_BYTES, len(self._transcript)
        keys = _hkdf(
            shared_secret + self._credentials.secret,
            salt=hashlib.sha256(self._transcript).digest(),
            info=b"session",
            size=2 * KEY_BYTES,
        )
        return keys[:KEY_BYTES], keys[KEY_BYTES:]


def _proof_keys(credentials: Credentials) -> dict[_Step, bytes]:
    size = KEY_BYTES * len(_Step)
    keys = _hkdf(credentials.secret, salt=credentials.cluster_hash, info=b"proofs", size=size)
    return {step: keys[i * KEY_BYTES :][:KEY_BYTES] for i, step in enumerate(_Step)}


def _hkdf(key_material: bytes, *, salt: bytes, info: bytes, size: int) -> bytes:
    label = b"raft-exchange transport %d " % PROTOCOL_VERSION + info
    return derive_key(key_material, salt=salt, info=label, size_bytes=size)


def _node_id(padded: bytes, size: int) -> str:
    """Decode an id from its field; called only after the proof, so only a faulty member fails."""
    if not 1 <= size <= NODE_ID_BYTES_MAX or padded[size:].strip(b"\x00"):
        raise HandshakeRefused(Refusal.GARBAGE)
    try:
        return padded[:size].decode()
    except UnicodeDecodeError as error:
        raise HandshakeRefused(Refusal.GARBAGE) from error
