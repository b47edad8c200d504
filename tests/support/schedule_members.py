"""One member of a hand-driven cluster: the stock library as delivered, or our group.

Both are asked and told the same. `acknowledged` is what the member told those who proposed
through it; `applied` what its state machine holds; `log` the payloads it stores.
"""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal, MemoryJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.raft.group import Group, Hooks, Timing
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import NoPoller
from raft_exchange.raft.snapshot_file import Image
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.wire import (
    AppendReply,
    RequestVote,
    SnapshotReply,
    VoteReply,
    WireMessage,
)
from tests.support.disk import Disk
from tests.support.inline_writer import InlineWriter

Post = Callable[[str, str, Any], bool]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WireMessage)


class Wire(Transport):  # type: ignore[misc]  # the library is untyped
    """The library's transport interface; `send` is the member's."""

    def __init__(self, send: Callable[[str, Any], bool]) -> None:
        super().__init__(None, None, None)
        self._send = send

    def send(self, node: Node, message: Any) -> bool:
        return self._send(node.id, message)

    def receive(self, sender: str, message: Any) -> None:
        self._onMessageReceived(Node(sender), message)

    def connected(self, peer: str) -> None:
        self._onNodeConnected(Node(peer))

    def disconnected(self, peer: str) -> None:
        self._onNodeDisconnected(Node(peer))


class Member(ABC):
    """What a schedule may do with a member, and see of it."""

    raft: Any
    wire: Wire

    def __init__(self, name: str, names: str, post: Post) -> None:
        self.name = name
        self.names = names
        self.post = post
        self.acknowledged: list[bytes] = []
        self.errors: list[BaseException] = []
        self.is_running = False
        self.on_apply: Callable[[bytes], None] = lambda payload: None
        self.on_acknowledged: Callable[[bytes], None] = lambda payload: None

    @abstractmethod
    def start(self) -> None:
        """Start the process on what its disk holds."""

    @abstractmethod
    def stop(self) -> None:
        """End the process without its last words."""

    @abstractmethod
    def power_cut(self) -> None:
        """Leave on the disk what the worst of the permitted outcomes leaves."""

    @abstractmethod
    def propose(self, payload: bytes) -> None:
        """Submit a payload through this member."""

    @abstractmethod
    def append_raw(self, command: bytes) -> None:
        """As leader: put an entry with these bytes into the log."""

    @abstractmethod
    def begin_compaction(self) -> None:
        """Begin to replace the applied part of the log by a snapshot."""

    def compact(self) -> None:
        """Do so, to the end."""
        self.begin_compaction()
        for _ in range(10):
            self.tick()

    @property
    @abstractmethod
    def applied(self) -> list[bytes]:
        """What the state machine holds, in order."""

    @property
    @abstractmethod
    def log(self) -> list[bytes]:
        """The payloads of the ordinary entries that are held."""

    @property
    @abstractmethod
    def is_leader(self) -> bool:
        """Whether this member believes to lead."""

    @property
    @abstractmethod
    def term(self) -> int:
        """The current term."""

    @property
    @abstractmethod
    def commit_index(self) -> int:
        """The greatest index this member believes to be committed."""

    def tick(self) -> None:
        if self.is_running:
            self._guard(lambda: self.raft.doTick(0.0))

    def receive(self, sender: str, message: Any) -> None:
        if self.is_running:
            self._guard(lambda: self.wire.receive(sender, message))

    @abstractmethod
    def _guard(self, step: Callable[[], None]) -> None:
        """Run one step as the product would: what becomes of an exception?"""


def open_stock_journal(file: Path) -> FileJournal:
    """Open the library's file journal; it leaves a file to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return FileJournal(str(file))


class StockMachine(SyncObj):  # type: ignore[misc]  # the library is untyped
    """A replicated list as the library's manual has it."""

    def __init__(self, member: Stock, conf: SyncObjConf) -> None:
        self.member = member  # set before the library's constructor: not part of the snapshot
        names = member.founders if member.name in member.founders else member.names
        others = [Node(name) for name in names if name != member.name]
        super().__init__(Node(member.name), others, conf, nodeClass=Node, transport=member.wire)
        self.stored: list[bytes] = []

    @replicated  # type: ignore[untyped-decorator]
    def store(self, payload: bytes) -> None:
        self.stored.append(payload)
        self.member.on_apply(payload)


class Stock(Member):
    """pysyncobj as delivered, in batch mode; in `folder`, if given, its own file journal."""

    raft: StockMachine

    def __init__(
        self,
        name: str,
        names: str,
        post: Post,
        *,
        folder: Path | None = None,
        founders: str | None = None,
        has_dump_file: bool = False,
        **conf: Any,
    ) -> None:
        super().__init__(name, names, post)
        self.founders = names if founders is None else founders
        self.file = None if folder is None else folder / f"{name}.journal"
        self._written_back: dict[str, bytes] = {}
        self._conf = conf
        if has_dump_file:
            assert folder is not None
            conf |= {"fullDumpFile": str(folder / f"{name}.dump"), "useFork": False}

    def start(self) -> None:
        self.wire = Wire(self._send)
        # `library.py` hands journal and poller through the settings, for this process.
        self.journal = MemoryJournal() if self.file is None else open_stock_journal(self.file)
        timing = {"raftMinTimeout": 0.3, "raftMaxTimeout": 0.6, "appendEntriesPeriod": 0.05}
        conf = SyncObjConf(
            autoTick=False,
            pollerType=NoPoller(),
            journalFile=self.journal,
            **{**timing, **self._conf},
        )
        self.raft = StockMachine(self, conf)
        self.is_running = True

    def stop(self) -> None:
        if self.is_running:
            self.is_running = False
            self.journal._destroy()

    def write_back(self, *suffixes: str) -> None:
        """Let the system write back, by itself and in its own order, these files as they are."""
        assert self.file is not None
        for suffix in suffixes:
            name = self.file.name + suffix
            self._written_back[name] = self.file.with_name(name).read_bytes()

    def power_cut(self) -> None:
        assert self.file is not None
        for path in self.file.parent.glob(f"{self.file.name}*"):
            path.unlink()
        for name, data in self._written_back.items():
            self.file.with_name(name).write_bytes(data)

    def propose(self, payload: bytes) -> None:
        def answer(result: object, error: int) -> None:
            if error == 0:
                self.acknowledged.append(payload)
                self.on_acknowledged(payload)

        self.raft.store(payload, callback=answer)

    def append_raw(self, command: bytes) -> None:
        self.journal.add(command, self.journal[-1][1] + 1, self.term)

    def begin_compaction(self) -> None:
        self.raft.forceLogCompaction()

    @property
    def applied(self) -> list[bytes]:
        return self.raft.stored

    @property
    def log(self) -> list[bytes]:
        commands = [command for command, _, _ in self.journal[:]]
        return [pickle.loads(command[1:])[1][0] for command in commands if command[:1] == b"\0"]

    @property
    def is_leader(self) -> bool:
        return bool(self.raft._isLeader())

    @property
    def term(self) -> int:
        return int(self.raft.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        return int(self.raft.raftCommitIndex)

    def _send(self, receiver: str, message: Any) -> bool:
        return self.post(self.name, receiver, copy.deepcopy(message))

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self.errors.append(error)  # the library's thread logs it and goes on


class Stopped(Exception):
    """The process ended itself."""


class Unlucky(random.Random):
    """Of what was not synced, nothing arrived."""

    def choice(self, seq: Any) -> Any:
        return seq[0]

    def random(self) -> float:
        return 0.99


class Ours(Member):
    """Our group on the real journal on a simulated disk. What it applied is its answer."""

    raft: Group

    def __init__(
        self,
        name: str,
        names: str,
        post: Post,
        *,
        folder: Path | None = None,
        founders: str | None = None,
        **stock: Any,
    ) -> None:
        super().__init__(name, names, post)
        self.founders = names if founders is None else founders
        self.disk = Disk()
        self.disk.random = Unlucky()

    def start(self) -> None:
        self.wire = Wire(self._send)
        self.journal = Journal(self.disk.directory(), segment_bytes=4096)
        self._applied: list[bytes] = []
        self._proposed: set[bytes] = set()
        self.is_running = True
        self.raft = Group(
            self_id=self.name,
            founders=self.founders if self.name in self.founders else (),
            journal=self.journal,
            transport=self.wire,
            timing=Timing(),
            hooks=Hooks(
                admit=lambda payload: payload,
                apply=self._apply,
                leader_changed=lambda leader: None,
                propose_refused=lambda: None,
                wake=lambda: None,
                fail=self._fail,
            ),
        )
        self.snapshots = Snapshots(
            SnapshotStore(self.disk.directory("snapshots/"), cluster="schedules"),
            log=self.journal,
            machine=self,
            writer=InlineWriter(),
            pace=Pace(),
        )
        self.raft.keep_snapshots(self.snapshots)
        if self.name not in self.founders:  # a joiner knows whom it asks
            for name in self.founders:
                self.raft.know(name)

    def stop(self) -> None:
        self.is_running = False
        self.disk.kill()

    def power_cut(self) -> None:
        self.disk.power_cut()

    def propose(self, payload: bytes) -> None:
        if self.raft.propose(payload):
            self._proposed.add(payload)

    def append_raw(self, command: bytes) -> None:
        self.journal.add(command, self.journal.last_index + 1, self.term)

    def begin_compaction(self) -> None:
        self.snapshots.request()

    def capture(self) -> Image:
        return Image(len(self._applied), 0, "", [msgspec.msgpack.encode(self._applied)])

    def prepare(self, image: Image) -> Callable[[], None]:
        (section,) = image.sections
        applied = msgspec.msgpack.decode(section, type=list[bytes])

        def put_in_place() -> None:
            self._applied = applied

        return put_in_place

    @property
    def applied(self) -> list[bytes]:
        return self._applied

    @property
    def log(self) -> list[bytes]:
        commands = [command for command, _, _ in self.journal[:]]
        return [command[1:] for command in commands if command[:1] == b"\0"]

    @property
    def is_leader(self) -> bool:
        return self.raft.is_leader

    @property
    def term(self) -> int:
        return self.raft.term

    @property
    def commit_index(self) -> int:
        return self.raft.commit_index

    def _apply(self, index: int, term: int, payload: bytes) -> None:
        self._applied.append(payload)
        self.on_apply(payload)
        if payload in self._proposed:
            self.acknowledged.append(payload)
            self.on_acknowledged(payload)

    def _send(self, receiver: str, message: WireMessage) -> bool:
        if isinstance(message, RequestVote | VoteReply | AppendReply | SnapshotReply):
            assert not self.journal.pending, f"{message} speaks of what is not synced"
        return self.post(self.name, receiver, _decoder.decode(_encoder.encode(message)))

    def _fail(self, error: BaseException) -> NoReturn:
        self.errors.append(error)
        raise Stopped from error

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Stopped:
            self.stop()
