"""The transport that pysyncobj drives: who is connected to whom, over authenticated frames.

A member is a node id that was named with `addNode`. For each of them there is at most one
established connection. What must stay true:

* `_onNodeConnected` and `_onNodeDisconnected` alternate for each member, and messages are
  delivered in between only, from the one connection that was announced.
* The newer connection of a member replaces the older, which so cannot deliver late. The order is
  that in which sockets were opened here. If both sides dial at once, the greater id's dial wins
  on both sides, whatever the order in which each sees them.
* Everything is bounded: strangers, their bytes, time and failures; what is sent and not taken;
  what is handled in one turn of the loop; and what the log says about it.

The node with the greater id dials at once; the lesser only after a while without a connection,
for the case that the address of one is known to the other alone. An address is asked for at each
dial and only says how to reach a member; who it is, the handshake proves.

Everything runs on the loop's thread. Only a host *name* (not an IP address) in the address book
makes asyncio look it up in its thread pool.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from pysyncobj.node import Node
from pysyncobj.transport import Transport, TransportNotReadyError

from raft_exchange.raft.admission import HELD_AGAINST_ADDRESS, BoundedLog, FailureLimiter
from raft_exchange.raft.connection import (
    BEAT_S,
    DECIDED_BY_US,
    Connection,
    Loss,
    TransportSettings,
    TransportStats,
)
from raft_exchange.raft.framing import encode_message
from raft_exchange.raft.handshake import Credentials, Refusal
from raft_exchange.raft.wire import WireMessage

ACCEPT_BACKLOG: Final = 128
STOP_GRACE_S: Final = 1.0
"""How long a stop waits for the last words to leave."""

Address = tuple[str, int]

_logger = logging.getLogger(__name__)


class _Member:
    """What we know of one other node."""

    def __init__(self, node: Node, *, redial_s: float, dial_at_s: float) -> None:
        self.node = node
        self.connection: Connection | None = None
        self.announced = False  # what the library was told last
        self.established_at_s = -math.inf
        self.dial: asyncio.Task[None] | None = None
        self.dial_at_s = dial_at_s  # infinite while a dial or a connection lasts
        self.redial_s = redial_s


class PeerTransport(Transport):  # type: ignore[misc]  # the library is untyped
    """Carries `WireMessage`s between the members; hand it to `SyncObj(transport=...)`.

    Build it on the running loop, `await start()`, construct the `SyncObj`, then `addNode` every
    other member: the library does that for later changes only.

    Args:
        credentials: our id, the cluster's name and its secret.
        listen: host and port to accept on; "" is every interface, port 0 any free one.
        resolve: the address book: node id -> host and port, or None while unknown.
        wake: called after messages were delivered or a member connected, so that a tick follows.
        jitter: a random number in 0..1 each time, to keep redials apart.
        settings: bounds and times.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        listen: Address,
        resolve: Callable[[str], Address | None],
        wake: Callable[[], None],
        jitter: Callable[[], float],
        settings: TransportSettings | None = None,
    ) -> None:
        super().__init__(None, None, ())
        self.credentials = credentials
        self.settings = settings if settings is not None else TransportSettings()
        self.stats = TransportStats()
        self.members: dict[str, _Member] = {}
        self._listen = listen
        self._resolve = resolve
        self._wake = wake
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._opening: dict[Connection, float] = {}  # -> when its time is over; oldest first
        self._sockets: set[Connection] = set()  # until the loop has closed them
        self.failures = FailureLimiter(self.settings.failures_burst, self.settings.failures_per_s)
        self._stranger_log = BoundedLog(_logger, clock_s=self._loop.time)
        self._member_log = BoundedLog(_logger, clock_s=self._loop.time)
        self._turn_bytes: int | None = None  # None: no end of turn is scheduled
        self._wake_due = False

    # --- for the owner ----------------------------------------------------------------------

    async def start(self) -> None:
        """Bind, and from now on accept and dial.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        assert self._server is None, "started once"
        self._server = await self._loop.create_server(
            lambda: self._connection(dial_to=None), *self._listen, backlog=ACCEPT_BACKLOG
        )
        self._on_beat()

    async def stop(self) -> None:
        """Close everything; what was already sent still leaves, for `STOP_GRACE_S` at most."""
        dials = [member.dial for member in self.members.values() if member.dial is not None]
        self._shut_down()
        await asyncio.gather(*dials, return_exceptions=True)
        if self._sockets:
            gone = [connection.gone for connection in self._sockets]
            await asyncio.wait(gone, timeout=STOP_GRACE_S)
        for connection in self._sockets:
            connection.abort()
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def address(self) -> Address:
        """Where we accept: host and port, as bound."""
        assert self._server is not None
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    # --- for the library --------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether we accept connections."""
        return self._server is not None and not self._stopped

    def tryGetReady(self) -> None:
        """Refuse to be waited for: only `start` makes the transport ready.

        Raises:
            TransportNotReadyError: not started, or stopped.
        """
        if not self.ready:
            raise TransportNotReadyError

    def addNode(self, node: Node) -> None:
        """Make `node` a member and connect to it. Its address need not be known yet."""
        assert node.id != self.credentials.node_id, "we are not a peer of our own"
        if node.id in self.members:
            return
        dials_first = self.credentials.node_id > node.id
        wait_s = 0.0 if dials_first else self.settings.patience_s
        self.members[node.id] = _Member(
            node, redial_s=self.settings.redial_s_min, dial_at_s=self._loop.time() + wait_s
        )

    def dropNode(self, node: Node) -> None:
        """Close what there is with `node` and forget it; it will be refused from now on."""
        member = self.members.get(node.id)
        if member is None:
            return
        self._abandon_dials(member)
        if member.connection is not None:
            member.connection.close(Loss.DROPPED)
        self.members.pop(node.id, None)

    def send(self, node: Node, message: WireMessage) -> bool:
        """Write a message to a member now. False: it was dropped, and nothing will repeat it."""
        member = self.members.get(node.id)
        if member is None or member.connection is None:
            return False
        return member.connection.send(encode_message(message))

    def destroy(self) -> None:
        """Stop without waiting and without telling: `SyncObj.destroy` calls it."""
        self.setOnMessageReceivedCallback(None)
        self.setOnNodeConnectedCallback(None)
        self.setOnNodeDisconnectedCallback(None)
        self._shut_down()

    # --- for the connections ----------------------------------------------------------------

    def opened(self, connection: Connection) -> bool:
        """Let a socket in, or not: see `ConnectionOwner`."""
        self._sockets.add(connection)
        connection.gone.add_done_callback(lambda _: self._sockets.discard(connection))
        now_s = self._loop.time()
        if connection.dial_to is None:
            self.stats.accepted += 1
            if not self.ready or self.failures.blocks(connection.address[0], now_s=now_s):
                self._note_refusal(connection, Refusal.BLOCKED)
                return False
            strangers = [other for other in self._opening if other.dial_to is None]
            if len(strangers) >= self.settings.strangers_max:
                strangers[0].close(Refusal.EVICTED)
        elif not self.ready or connection.dial_to not in self.members:
            return False
        self._opening[connection] = now_s + self.settings.handshake_s_max
        return True

    def admits(self, connection: Connection, peer_id: str) -> bool:
        """Whether this is the connection to keep for that member."""
        member = self.members.get(peer_id)
        if member is None:
            return False
        current = member.connection
        if current is None:
            return True
        if (connection.dial_to is None) == (current.dial_to is None):
            return connection.number > current.number
        is_greater_ids = (connection.dial_to is not None) == (self.credentials.node_id > peer_id)
        # Crossing dials: both sides must prefer the same one. A lesser id that dials although
        # the greater's connection is old has lost that one: patience is longer than this.
        age_s = self._loop.time() - member.established_at_s
        return is_greater_ids or age_s > self.settings.handshake_s_max

    def established(self, connection: Connection) -> None:
        """Put the connection in its member's place and tell the library."""
        del self._opening[connection]
        member = self.members[connection.peer_id]
        self.stats.established += 1
        older, member.connection = member.connection, connection
        member.established_at_s = self._loop.time()
        member.dial_at_s = math.inf
        if connection.dial_to is None:
            self._abandon_dials(member)
        if older is not None:
            older.close(Loss.REPLACED)
        if member.connection is not connection:
            return  # a callback of the older one's end dropped the member
        where = (connection.peer_id, *connection.address)
        self._member_log.write(logging.INFO, "connected to %s at %s:%d", *where)
        member.announced = True
        self._onNodeConnected(member.node)
        self._wake()

    def delivered(self, connection: Connection, message: WireMessage) -> None:
        """Hand a message to the library."""
        self._wake_due = True
        self._onMessageReceived(self.members[connection.peer_id].node, message)

    def read(self, size: int) -> None:
        """Wake the owner, and let no flood of messages keep the loop for itself."""
        if self._turn_bytes is None:
            self._turn_bytes = 0
            self._loop.call_soon(self._end_turn)
        self._turn_bytes += size
        if self._turn_bytes > self.settings.incoming_bytes_per_turn:
            for connection in self._connections():
                connection.pause_reading()
        if self._wake_due:
            self._wake_due = False
            self._wake()

    def refused(self, connection: Connection, reason: Refusal) -> None:
        """Count it, hold it against a stranger's address, dial a member again later."""
        del self._opening[connection]
        self._note_refusal(connection, reason)
        if connection.dial_to is None:
            if reason in HELD_AGAINST_ADDRESS:
                self.failures.failed(connection.address[0], now_s=self._loop.time())
            return
        member = self.members.get(connection.dial_to)
        if member is not None and member.connection is None:
            self._redial_later(member)

    def lost(self, connection: Connection, reason: Loss, detail: str) -> None:
        """Tell the library, once, and dial again."""
        self.stats.lost[reason] += 1
        level = logging.INFO if reason in DECIDED_BY_US else logging.WARNING
        where = (connection.peer_id, *connection.address)
        why = f"{reason.value}: {detail}" if detail else reason.value
        self._member_log.write(level, "lost %s at %s:%d: %s", *where, why)
        member = self.members[connection.peer_id]
        if member.connection is connection:
            member.connection = None
            # A connection that does not last must not be tried again and again at full speed.
            if self._loop.time() - member.established_at_s > self.settings.redial_s_max:
                member.redial_s = self.settings.redial_s_min
            self._redial_later(member, patient=True)
        if member.announced:
            member.announced = False
            self._onNodeDisconnected(member.node)

    # --- inside -----------------------------------------------------------------------------

    def _connection(self, *, dial_to: str | None) -> Connection:
        return Connection(self, dial_to=dial_to, number=next(self._numbers))

    def _connections(self) -> list[Connection]:
        return [m.connection for m in self.members.values() if m.connection is not None]

    def _end_turn(self) -> None:
        assert self._turn_bytes is not None
        paused = self._turn_bytes > self.settings.incoming_bytes_per_turn
        self._turn_bytes = None
        if paused:
            for connection in self._connections():
                connection.resume_reading()

    def _on_beat(self) -> None:
        now_s = self._loop.time()
        for connection, until_s in list(self._opening.items()):
            if now_s >= until_s and connection in self._opening:
                connection.close(Refusal.TIMEOUT)
        for member in list(self.members.values()):
            if member.connection is not None:
                member.connection.beat()
            elif now_s >= member.dial_at_s and member.node.id in self.members:
                self._dial(member)
        if not self._stopped:
            self._timer = self._loop.call_later(BEAT_S, self._on_beat)

    def _dial(self, member: _Member) -> None:
        address = self._resolve(member.node.id)
        if address is None:
            member.dial_at_s = self._loop.time() + self.settings.redial_s_min
            return
        self.stats.dialled += 1
        member.dial_at_s = math.inf
        member.dial = self._loop.create_task(self._open_socket(member, address))
        member.dial.add_done_callback(_raise_what_was_not_foreseen)

    async def _open_socket(self, member: _Member, address: Address) -> None:
        try:
            async with asyncio.timeout(self.settings.handshake_s_max):
                await self._loop.create_connection(
                    lambda: self._connection(dial_to=member.node.id), *address
                )
        except (OSError, ValueError, OverflowError) as error:
            # The last two: an address book that names no host or port there can be.
            self.stats.dials_failed += 1
            what = (member.node.id, *address, str(error) or type(error).__name__)
            self._member_log.write(logging.INFO, "cannot reach %s at %s:%s: %s", *what)
            self._redial_later(member)
        finally:
            member.dial = None

    def _redial_later(self, member: _Member, *, patient: bool = False) -> None:
        wait_s = member.redial_s * (0.5 + self._jitter())
        if patient and self.credentials.node_id < member.node.id:
            wait_s = self.settings.patience_s
        member.dial_at_s = self._loop.time() + wait_s
        member.redial_s = min(2 * member.redial_s, self.settings.redial_s_max)

    def _abandon_dials(self, member: _Member) -> None:
        if member.dial is not None:
            member.dial.cancel()
        for connection in list(self._opening):
            if connection.dial_to == member.node.id:
                connection.close(Refusal.SUPERSEDED)

    def _shut_down(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._opening):
            connection.close(Refusal.SUPERSEDED)
        for member in list(self.members.values()):
            if member.dial is not None:
                member.dial.cancel()
            if member.connection is not None:
                member.connection.close(Loss.STOPPED)

    def _note_refusal(self, connection: Connection, reason: Refusal) -> None:
        self.stats.refused[reason] += 1
        level = logging.INFO if reason is Refusal.SUPERSEDED else logging.WARNING
        which = f"the dial to {connection.dial_to}" if connection.dial_to else "a connection"
        what = (which, *connection.address, reason.value)
        self._stranger_log.write(level, "gave up %s at %s:%d: %s", *what)


def _raise_what_was_not_foreseen(dial: asyncio.Task[Any]) -> None:
    # The loop's exception handler sees a bug in a dial now, not at garbage collection.
    if not dial.cancelled():
        dial.result()
