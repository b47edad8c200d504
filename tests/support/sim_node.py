"""One node of a simulated cluster: the production parts on the disk and links of a world."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.ed25519 import verify
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.raft.group import Group, Hooks, Timing
from raft_exchange.raft.wire import WireMessage
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Request
from raft_exchange.sequencer.outcome import Outcome
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.replica import LeaderClock, Replica
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import ReplicatedState
from raft_exchange.sequencer.witness import Witness

if TYPE_CHECKING:
    from tests.support.world import World

TICK_S = 0.01
CLUSTER_ID = "c0ffee"
EPOCH_US = 1_700_000_000_000_000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WireMessage)


class SimTransport(Transport):  # type: ignore[misc]
    """The library's transport interface over the world's links."""

    def __init__(self, world: World, node_id: str) -> None:
        super().__init__(None, None, None)
        self._world = world
        self._id = node_id
        self.is_closed = False
        self.named: set[str] = set()  # whom this side talks to

    def addNode(self, node: Node) -> None:
        self.named.add(node.id)
        self._world.at(self._world.now_s + 0.001, lambda: self._world.connect(self._id, node.id))

    def dropNode(self, node: Node) -> None:
        self.named.discard(node.id)
        self._world.disconnect(self._id, node.id, again_in_s=None)

    def send(self, node: Node, message: WireMessage) -> bool:
        return not self.is_closed and self._world.send(self._id, node.id, _encoder.encode(message))

    def deliver(self, sender: str, data: bytes) -> None:
        self._onMessageReceived(Node(sender), _decoder.decode(data))

    def connected(self, peer: str) -> None:
        self._onNodeConnected(Node(peer))

    def disconnected(self, peer: str) -> None:
        self._onNodeDisconnected(Node(peer))

    def destroy(self) -> None:
        self.is_closed = True


class SimFence:
    """Whether a node is fenced, on a disk that loses nothing."""

    def __init__(self) -> None:
        self.reason = ""
        self.noted: list[str] = []

    @property
    def is_up(self) -> bool:
        return bool(self.reason)

    def put_up(self, reason: str) -> None:
        self.reason = reason

    def note(self, member: str, index: int) -> None:
        self.noted.append(member)


class InlineHasher:
    """Hashes at once and answers at the next poll: as if a child had been quick."""

    def __init__(self) -> None:
        self._done: list[tuple[int, bytes]] = []

    def start(self, index: int, encode: Callable[[], bytes]) -> bool:
        self._done.append((index, hashlib.sha256(encode()).digest()))
        return True

    def poll(self) -> tuple[int, bytes] | None:
        return self._done.pop(0) if self._done else None

    def stop(self) -> None:
        self._done.clear()


class SimNode:
    """One node's process: what a crash loses, and `disk`, which survives it."""

    def __init__(
        self, world: World, node_id: str, clock_skew_us: int, *, founders: Sequence[str]
    ) -> None:
        self.world = world
        self.id = node_id
        self.founders = tuple(founders)
        self.clock_skew_us = clock_skew_us
        self.disk: Any = world.make_disk(node_id)
        self.boot = 0
        self.versions = VERSIONS  # of the release it runs
        self.signatures = Signatures(CLUSTER_ID, verify)
        self.fence = SimFence()
        self.is_running = False
        self.is_gone = False  # for ever, with its disk
        self._is_stopped = False
        self._unheard: list[tuple[float, Callable[[], None]]] = []
        self.has_room = True  # on its disk, above the reserve
        self.lag_s = 0.0  # how late its ticks are, on average
        self.corrupt: Callable[[Applied, ReplicatedState], None] | None = None
        self.may_differ = False  # from the others: its entries are not held against theirs

    @property
    def is_stopped(self) -> bool:
        """As by SIGSTOP: it runs nothing, hears nothing, and keeps its memory."""
        return self._is_stopped

    @is_stopped.setter
    def is_stopped(self, is_stopped: bool) -> None:
        self._is_stopped = is_stopped
        if not is_stopped:
            unheard, self._unheard = self._unheard, []
            for at_s, hear in unheard:
                while at_s <= self.world.now_s:
                    at_s += TICK_S
                self.world.at(at_s, hear)

    def hear_later(self, hear: Callable[[], None]) -> None:
        """Keep what arrived while it is stopped, as the kernel does: FIFO, as it all waits alike.

        It is heard within a tick after the process goes on.
        """
        self._unheard.append((self.world.now_s + TICK_S, hear))

    def start(self) -> None:
        """Start the process on what the disk holds."""
        assert not self.is_running
        self.boot += 1
        self.is_running = True
        self._is_scheduled = False
        self.transport = SimTransport(self.world, self.id)
        self.state = ReplicatedState(self.versions, signatures=self.signatures)
        self.marketdata = MarketData()
        self.replica = Replica(self.state, self.marketdata, on_applied=self._on_applied)
        clock = LeaderClock(self.now_us, self.elapsed_us, self.state)
        self.journal = self.world.open_journal(self.disk)
        self.group = Group(
            self_id=self.id,
            founders=self.founders,
            journal=self.journal,
            transport=self.transport,
            timing=Timing(),
            hooks=Hooks(
                admit=clock.admit,
                apply=self.replica.apply,
                leader_changed=self._leader_changed,
                propose_refused=lambda: self.pipeline.propose_refused(now_s=self.world.now_s),
                wake=self.wake,
                fail=self._fail,
                restored=self._on_restored,
                standing=lambda: self.witness.standing,
                has_room=lambda: self.has_room,
            ),
        )
        self.snapshots = self.world.open_snapshots(self)
        if self.snapshots is not None:
            self.group.keep_snapshots(self.snapshots)
        self.pipeline = Pipeline(
            node=self.id,
            boot=self.boot,
            log=self.group,
            wake=self.wake,
            encode=self.state.write,
        )
        self.witness = Witness(
            node=self.id,
            state=self.state,
            group=self.group,
            hasher=InlineHasher(),
            fence=self.fence,
        )
        for node_id in self.world.ids:  # nodes of one cluster find each other, members or not
            self.group.know(node_id)
        self.group.connect_members()
        self._timer(self.boot)

    def crash(self) -> None:
        """kill -9, and for a disk that models it, the loss of power."""
        self.is_running = False
        self.is_stopped = False
        self.transport.destroy()
        self.world.network_down(self.id)
        self.world.crash_disk(self.disk)

    def wake(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            boot = self.boot
            lag_s = self.world.random.expovariate(1 / self.lag_s) if self.lag_s else 0.0
            self.world.at(self.world.now_s + 1e-5 + lag_s, lambda: self._tick(boot))

    def now_us(self) -> int:
        return EPOCH_US + self.elapsed_us() + self.clock_skew_us

    def elapsed_us(self) -> int:
        return int(self.world.now_s * 1_000_000)

    def submit(self, requests: Sequence[Request], resolve: Callable[[list[Outcome]], None]) -> None:
        self.pipeline.submit(requests, resolve, now_s=self.world.now_s)

    def _timer(self, boot: int) -> None:
        if self.is_running and boot == self.boot:
            self.wake()
            self.world.at(self.world.now_s + TICK_S, lambda: self._timer(boot))

    def _tick(self, boot: int) -> None:
        if boot != self.boot or not self.is_running:
            return
        self._is_scheduled = False
        if self.is_stopped:
            return
        self.pipeline.tick(
            now_s=self.world.now_s, now_us=self.now_us(), next_due_us=self.state.next_due_us()
        )
        self.witness.tick(now_s=self.world.now_s)
        self.group.do_tick()
        self.world.note_leader(self)
        self.world.roll.note(self)

    def _leader_changed(self, leader: str | None) -> None:
        self.pipeline.leader_changed(leader, now_s=self.world.now_s)

    def _on_applied(self, applied: Applied) -> None:
        if self.corrupt is not None:
            self.corrupt(applied, self.state)
        self.witness.applied(applied)
        if self.fence.is_up:
            return
        if not self.may_differ:
            self.world.note_applied(self, applied)
        self.pipeline.applied(applied, now_s=self.world.now_s)

    def _on_restored(self) -> None:
        self.world.note_restored(self)
        self.pipeline.restored(*self.state.session_of(self.id), now_s=self.world.now_s)

    def _fail(self, error: BaseException) -> NoReturn:
        raise error
