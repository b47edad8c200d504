"""One socket between two nodes: first a handshake, then frames, then closed.

    OPENING ──handshake done, owner admits──► ESTABLISHED ──any fault──► CLOSED
       └────────────refused, or out of time──────────────────────────────►┘

What must stay true: the owner hears `refused` once for a connection that was never established,
or `established` once and then `lost` once; nothing is delivered after either end. Closing is
immediate on our side, whatever the socket still does.

Silence is measured in the owner's beats, not with a clock: after a stall of our own loop there
was one beat and not two seconds' worth, so we do not blame every peer for our pause.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from raft_exchange.raft.framing import (
    FRAME_BYTES_MAX,
    FrameError,
    FrameReader,
    FrameWriter,
    decode_message,
)
from raft_exchange.raft.handshake import (
    ENTROPY_BYTES,
    Credentials,
    Handshake,
    HandshakeRefused,
    Refusal,
    Session,
)
from raft_exchange.raft.wire import WireMessage

BEAT_S: Final = 0.05
"""How often the owner calls `Connection.beat`."""


class Loss(enum.StrEnum):
    """Why an established connection ended."""

    CLOSED_BY_PEER = "closed_by_peer"
    NETWORK_ERROR = "network_error"
    SILENCE = "silence"
    BAD_FRAME = "bad_frame"
    CONGESTED = "congested"
    """The peer did not read for too long."""
    KEY_SPENT = "key_spent"
    REPLACED = "replaced"
    """A newer connection of the same member took its place."""
    DROPPED = "dropped"
    """The member was removed."""
    STOPPED = "stopped"


DECIDED_BY_US: Final = frozenset({Loss.REPLACED, Loss.DROPPED, Loss.STOPPED})
"""Ends that nobody needs to look into."""


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Bounds and times of the transport. The defaults fit a LAN and Raft's 100 ms heartbeats."""

    handshake_s_max: float = 2.0
    """From the open socket to the last proof; also for opening a socket."""
    strangers_max: int = 32
    """Sockets that did not yet prove themselves; beyond it the oldest is closed."""
    failures_burst: float = 64.0
    failures_per_s: float = 8.0
    """Failed handshakes of one address; beyond them it is not heard."""
    redial_s_min: float = 0.1
    redial_s_max: float = 1.0
    patience_s: float = 2.0
    """How long the lesser id waits to be dialled before it dials."""
    ping_s: float = 0.5
    silence_s_max: float = 2.0
    outgoing_bytes_max: int = 32 * 1024 * 1024
    """Per member, sealed and not yet taken by the kernel; beyond it messages are dropped."""
    congested_s_max: float = 5.0
    incoming_bytes_per_turn: int = 1024 * 1024
    """Of all members, in one turn of the loop; beyond it reading pauses for a turn."""

    def __post_init__(self) -> None:
        assert self.outgoing_bytes_max >= 2 * FRAME_BYTES_MAX, "room for the largest message"
        assert 0 < self.ping_s < self.silence_s_max, "pings come before silence is judged"
        assert 0 < self.redial_s_min <= self.redial_s_max


@dataclass(slots=True)
class TransportStats:
    """What happened since the start; the metrics read it."""

    accepted: int = 0
    dialled: int = 0
    dials_failed: int = 0
    established: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)
    lost: Counter[Loss] = field(default_factory=Counter)
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    """Of frames, as read; handshakes are not in it."""
    bytes_out: int = 0
    messages_dropped: int = 0
    """Not sent because the member was congested."""


class ConnectionOwner(Protocol):
    """What a connection needs from the transport that holds it."""

    @property
    def credentials(self) -> Credentials:
        """Who we are."""

    @property
    def members(self) -> Container[str]:
        """The ids of everybody we talk to, at any moment."""

    @property
    def settings(self) -> TransportSettings:
        """Bounds and times."""

    @property
    def stats(self) -> TransportStats:
        """Where frames and bytes are counted."""

    def opened(self, connection: Connection) -> bool:
        """A socket is open. False closes it unheard."""

    def admits(self, connection: Connection, peer_id: str) -> bool:
        """The peer is who it says. False closes, before it hears our last proof."""

    def established(self, connection: Connection) -> None:
        """`connection.peer_id` is set, and `send` works."""

    def delivered(self, connection: Connection, message: WireMessage) -> None:
        """A message came."""

    def read(self, size: int) -> None:
        """That many bytes were handled; the owner may pause reading for a turn."""

    def refused(self, connection: Connection, reason: Refusal) -> None:
        """The connection ended before it was established."""

    def lost(self, connection: Connection, reason: Loss, detail: str) -> None:
        """The connection ended after it was established."""


class Connection(asyncio.Protocol):
    """Pumps bytes between one socket and the sans-I/O parts.

    Args:
        dial_to: the member we dialled, or None for a socket that we accepted.
        number: grows with every socket of the owner; says which connection is the newer.
    """

    def __init__(self, owner: ConnectionOwner, *, dial_to: str | None, number: int) -> None:
        self.dial_to = dial_to
        self.number = number
        self.peer_id = ""
        self.address = ("unknown", 0)
        self.gone = asyncio.get_running_loop().create_future()  # done when the socket is
        self._owner = owner
        self._closed = False
        self._handshake: Handshake | None = None
        self._writer: FrameWriter | None = None
        self._reader: FrameReader | None = None
        self._congested = False
        self._beats_congested = 0
        self._beats_without_input = 0
        self._beats_without_output = 0

    # --- called by the loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake, if the owner lets the socket in."""
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        if peername:  # an IPv6 name has four parts
            self.address = (peername[0], peername[1])
        settings = self._owner.settings
        _set_socket_options(transport.get_extra_info("socket"), settings)
        # `pause_writing` comes when the buffer is above the mark: one more frame still fits.
        mark = settings.outgoing_bytes_max - FRAME_BYTES_MAX
        self._transport.set_write_buffer_limits(high=mark, low=mark // 2)
        if not self._owner.opened(self):
            self._closed = True
            self._transport.abort()
            return
        self._handshake = Handshake(
            self._owner.credentials,
            dial_to=self.dial_to,
            members=self._owner.members,
            entropy=os.urandom(ENTROPY_BYTES),
        )
        if hello := self._handshake.start():
            self._transport.write(hello)

    def data_received(self, data: bytes) -> None:
        """Feed the handshake, and when it is done the frames."""
        if self._closed:
            return
        if self._handshake is None:
            self._receive_frames(data)
        else:
            self._receive_handshake(self._handshake, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is gone; whose doing it was is known by now or is the peer's."""
        self.gone.set_result(None)
        if exc is None:
            self.close(Loss.CLOSED_BY_PEER)
        else:
            self.close(Loss.NETWORK_ERROR, str(exc))

    def pause_writing(self) -> None:
        """Drop what would be sent from here on: Raft repeats itself."""
        self._congested = True
        self._beats_congested = 0

    def resume_writing(self) -> None:
        """Send again."""
        self._congested = False

    # --- called by the owner ----------------------------------------------------------------

    @property
    def is_established(self) -> bool:
        """Whether messages flow."""
        return self._writer is not None and not self._closed

    def send(self, payload: bytes) -> bool:
        """Seal and write one payload now. False if it was dropped or the connection is over."""
        if self._closed or self._transport.is_closing():
            return False
        assert self._writer is not None, "established first"
        if self._congested:
            self._owner.stats.messages_dropped += 1
            return False
        if self._writer.spent:
            self.close(Loss.KEY_SPENT)
            return False
        frame = self._writer.frame(payload)
        self._transport.write(frame)
        self._beats_without_output = 0
        self._owner.stats.frames_out += 1
        self._owner.stats.bytes_out += len(frame)
        return True

    def beat(self) -> None:
        """Judge silence and congestion, and ping if we were silent; every `BEAT_S`."""
        assert self.is_established
        settings = self._owner.settings
        self._beats_without_input += 1
        self._beats_without_output += 1
        self._beats_congested += 1
        if self._beats_without_input * BEAT_S > settings.silence_s_max:
            self.close(Loss.SILENCE)
        elif self._congested:
            if self._beats_congested * BEAT_S > settings.congested_s_max:
                self.close(Loss.CONGESTED)
        elif self._beats_without_output * BEAT_S >= settings.ping_s:
            self.send(b"")

    def pause_reading(self) -> None:
        """Leave what comes in the kernel until `resume_reading`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, reason: Loss | Refusal, detail: str = "") -> None:
        """End the connection now and tell the owner, once.

        What was written and is not yet in the kernel is lost, except at a stop: the last words
        of a node that leaves (it may hand over leadership) are still sent.
        """
        if self._closed:
            return
        was_established = self.is_established
        self._closed = True
        self._handshake = None
        if reason is Loss.STOPPED:
            self._transport.close()
        else:
            self._transport.abort()
        if was_established:
            assert isinstance(reason, Loss), reason
            self._owner.lost(self, reason, detail)
        else:
            refusal = reason if isinstance(reason, Refusal) else Refusal.CLOSED
            self._owner.refused(self, refusal)

    def abort(self) -> None:
        """Give up what a `close` at the stop still wanted to send."""
        self._transport.abort()

    # --- inside -----------------------------------------------------------------------------

    def _receive_handshake(self, handshake: Handshake, data: bytes) -> None:
        try:
            answer = handshake.receive(data)
        except HandshakeRefused as error:
            self.close(error.reason)
            return
        session = handshake.session
        if session is not None and not self._owner.admits(self, session.peer_id):
            self.close(Refusal.SUPERSEDED)
            return
        if answer:
            self._transport.write(answer)
        if session is not None:
            self._establish(session)

    def _establish(self, session: Session) -> None:
        self._handshake = None
        self.peer_id = session.peer_id
        self._writer = FrameWriter(session.send_key)
        self._reader = FrameReader(session.receive_key)
        self._owner.established(self)
        if session.rest and not self._closed:
            self._receive_frames(session.rest)

    def _receive_frames(self, data: bytes) -> None:
        assert self._reader is not None
        self._beats_without_input = 0
        stats = self._owner.stats
        stats.bytes_in += len(data)
        try:
            self._reader.feed(data)
            # A delivery may close this very connection: nothing is delivered after that.
            while not self._closed and (payload := self._reader.next_payload()) is not None:
                stats.frames_in += 1
                if payload:
                    self._owner.delivered(self, decode_message(payload))
        except FrameError as error:
            self.close(Loss.BAD_FRAME, str(error))
        self._owner.read(len(data))


def _set_socket_options(sock: socket.socket, settings: TransportSettings) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # unacknowledged data: a dead path, sooner than TCP's
        timeout_ms = round(2_000 * settings.silence_s_max)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
