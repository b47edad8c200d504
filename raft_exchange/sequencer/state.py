"""Everything that is replicated: the exchange, the sessions and the idempotency window.

Rules. The state after an entry is a function of the state before and the entry's bytes. An entry
first moves the logged clock, which expires what is due; then, if it is the next of its session,
its requests are applied in order. Each request first meets what lets it in (its key, or its
signature, which is opened here), then the idempotency window, then the time and nonce of its
signature, then its deadline, then the exchange. Notices come last; one of them may move the active
version, which holds from the next entry on.

A session is (node, boot), its batches numbered from 1 without gaps. Only the next number is
applied: a lower one is a repeat whose first copy was applied; a higher one has overtaken a batch
that its node will send again, and itself with it. A lower boot belongs to a process that is gone.
A mere high-water mark would lose the batch that was overtaken.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import msgspec

from raft_exchange.matching import snapshot
from raft_exchange.matching.limits import SESSIONS_MAX
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import AdvanceTime, Command, CommandRefused, RejectCode
from raft_exchange.matching.versions import Versions, refuse_newer
from raft_exchange.sequencer.applied import Applied, Result
from raft_exchange.sequencer.codec import (
    RELEASE,
    Batch,
    Request,
    SignedItem,
    SignedRequest,
    encode_batch,
)
from raft_exchange.sequencer.idempotency import (
    IdempotencyWindow,
    Stored,
    batch_key,
    decode_events,
    fingerprint,
)
from raft_exchange.sequencer.notices import Notice, Roster
from raft_exchange.sequencer.selfcheck import Record, SelfCheck
from raft_exchange.sequencer.signed import Signatures, signed_fingerprint

SNAPSHOT_VERSION: Final = 1
BOUNDED_SINCE: Final = 3
"""The version since which the bytes of remembered results are bounded, not only their number."""
MISMATCH: Final = CommandRefused(RejectCode.IDEMPOTENCY_MISMATCH, "idempotency_key")
_TOO_LATE: Final = CommandRefused(RejectCode.DEADLINE_PASSED, "deadline")


class Once(NamedTuple):
    """Under which key a command is done once, what it stands for, and until when it may be done."""

    account: str
    key: str
    fingerprint: bytes
    deadline_us: int


class Session(msgspec.Struct, frozen=True, array_like=True):
    """The last batch applied of one node; `used_at` is the log index it stood at."""

    boot: int
    number: int
    used_at: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The canonical form of a `ReplicatedState`; `version` is that of this layout."""

    version: int
    exchange: bytes
    sessions: list[tuple[str, Session]]
    window: list[Stored]
    selfcheck: Record = Record()


class CannotOpen(ValueError):
    """Signed requests were met by a tool that does not know whose they are."""


class SnapshotError(ValueError):
    """The bytes are not a snapshot this release reads."""


_decoder = msgspec.msgpack.Decoder(Snapshot)


class ReplicatedState:
    """The state that every replica holds; changed by `apply` alone.

    `versions` is what this release knows; `version` the active one, at most its newest.
    `signatures` opens signed requests: it is not replicated, and each replica has the same.
    """

    def __init__(
        self, versions: Versions = RELEASE, *, signatures: Signatures | None = None
    ) -> None:
        self.versions = versions
        self.signatures = signatures
        self.exchange = Exchange()
        self.selfcheck = SelfCheck()
        self._sessions: dict[str, Session] = {}
        self._window = IdempotencyWindow()

    @property
    def version(self) -> int:
        """The active version: what is proposed is written in it, and needs no later one."""
        return self.exchange.version

    @property
    def bytes_remembered(self) -> int:
        """How many bytes the results under idempotency keys have."""
        return self._window.size_bytes

    @property
    def keys_remembered(self) -> int:
        """How many idempotency keys are in the window."""
        return len(self._window)

    @property
    def sessions(self) -> int:
        """How many sessions of nodes are remembered."""
        return len(self._sessions)

    def write(self, batch: Batch) -> bytes:
        """Return the bytes of an entry to propose, in the active version. O(requests)."""
        return encode_batch(batch, version=self.version, versions=self.versions)

    def apply(self, index: int, term: int, time_us: int, batch: Batch) -> Applied:
        """Apply one entry of the log and return what it did. Total for any decodable batch.

        Raises:
            NewerVersion: the members moved on to a version that this release does not know.
        """
        results = [self._run(AdvanceTime(time_us))]
        self._window.expire(now_us=self.exchange.time_us)
        duplicate = not self._is_next(batch)
        if not duplicate:
            if batch.node:
                self._note(batch, index)
            results.extend(self._answer_all(batch.requests))
            results.extend(map(self._note_said, batch.notices))
        self._end_entry(index, results)
        return Applied(
            index,
            term,
            self.exchange.time_us,
            batch.node,
            batch.boot,
            batch.number,
            duplicate,
            tuple(results),
        )

    def stored(self, account: str, key: str) -> Stored | None:
        """Return the first result under an account's key, while remembered. Changes nothing."""
        return self._window.get(account, key)

    def next_due_us(self) -> int | None:
        """Return the logged time at which something expires next, if anything will."""
        return self.exchange.next_due_us()

    def _end_entry(self, index: int, results: list[Result]) -> None:
        exchange = self.exchange
        events = [result.events for result in results]
        self.selfcheck.end_entry(
            index,
            self.versions.encode((index, events), exchange.version),
            size=len(exchange.live.by_id) + len(self._window),
            sequence=exchange.sequence,
            time_us=exchange.time_us,
        )

    def _note_said(self, notice: Notice) -> Result:
        self.exchange.count_command()
        if isinstance(notice, Roster) and not self.selfcheck.has_begun:
            self.selfcheck.begin(hashlib.sha256(self.encode()).digest())
        self.selfcheck.take(notice, time_us=self.exchange.time_us)
        version = self.selfcheck.version_all_read()
        if version > self.version:
            refuse_newer("the exchange from here on", version, self.versions.newest)
            self.exchange.version = version
        return Result(self.exchange.sequence, (), 0, 0)

    def _is_next(self, batch: Batch) -> bool:
        if not batch.node:
            return not batch.requests
        session = self._sessions.get(batch.node)
        if session is None or batch.boot > session.boot:
            return batch.number == 1
        return batch.boot == session.boot and batch.number == session.number + 1

    def _note(self, batch: Batch, index: int) -> None:
        self._sessions[batch.node] = Session(batch.boot, batch.number, index)
        if len(self._sessions) > SESSIONS_MAX:
            # Members are few and named; this bounds what endless new names could cost.
            oldest = min(self._sessions, key=lambda node: self._sessions[node].used_at)
            del self._sessions[oldest]

    def _answer_all(self, requests: list[Request]) -> list[Result]:
        results: list[Result] = []
        refused = 0  # so many of the next requests share the fate of the head of their batch
        for request in requests:
            command = request.command
            if isinstance(command, SignedItem):
                continue  # answered with its head
            if isinstance(command, SignedRequest):
                results += self._answer_signed(request, command)
                continue
            if refused:
                refused -= 1
                results.append(self._refused(MISMATCH))
                continue
            result = self._answer(request, command)
            results.append(result)
            if request.followers and result.events == (MISMATCH,):
                refused = request.followers
        return results

    def _answer(self, request: Request, command: Command) -> Result:
        # Before the window: a revoked key reads no earlier results, and stores none.
        exchange = self.exchange
        refused = exchange.refuse_key(request.key_id, command) if request.key_id else None
        refused = refused or exchange.refuse_unsigned(command)
        if refused is not None:
            return self._refused(refused)
        if not request.idempotency_key:
            return self._run(command, deadline_us=request.deadline_us)
        once = Once(
            getattr(command, "account", ""),
            request.idempotency_key,
            self._fingerprint(request, command),
            request.deadline_us,
        )
        return self._run_once(once, command)

    def _answer_signed(self, head: Request, signed: SignedRequest) -> list[Result]:
        """Return the results of a signed request and of the items that follow it."""
        if self.signatures is None:
            raise CannotOpen("a signed request: say of which cluster the log is")
        opened = self.signatures.open(self.exchange, head)
        key = head.idempotency_key
        if not isinstance(opened, CommandRefused):
            stored = self._window.get(opened.account, key) if key else None
            if stored is None:
                refused = self.exchange.use_signature(
                    signed.key_id, timestamp_us=opened.timestamp_us, nonce=signed.nonce
                )
            else:
                is_same = stored.fingerprint == signed_fingerprint(signed, 0)
                refused = None if is_same else MISMATCH
            if refused is None:
                return [
                    self._run_once(
                        Once(
                            opened.account,
                            batch_key(key, position),
                            signed_fingerprint(signed, position) if key else b"",
                            head.deadline_us,
                        ),
                        command,
                    )
                    for position, command in enumerate(opened.commands)
                ]
            opened = refused
        return [self._refused(opened) for _ in range(1 + head.followers)]

    def _run_once(self, once: Once, command: Command | CommandRefused) -> Result:
        """Run a command that no result is remembered for; without a key none ever is."""
        stored = self._window.get(once.account, once.key) if once.key else None
        if stored is not None:
            return self._replay(stored, once)
        if isinstance(command, CommandRefused):
            result = self._refused(command)
        else:
            result = self._run(command, deadline_us=once.deadline_us)
        if once.key:
            self._window.put(
                Stored(
                    once.account,
                    once.key,
                    once.fingerprint,
                    result.sequence,
                    self.exchange.time_us,
                    self.versions.encode(result.events, self.version),
                ),
                bounds_bytes=self.version >= BOUNDED_SINCE,
            )
        return result

    def _fingerprint(self, request: Request, command: Command) -> bytes:
        return fingerprint(command, request.followers, self.versions)

    def _replay(self, stored: Stored, once: Once) -> Result:
        if stored.fingerprint != once.fingerprint:
            return self._refused(MISMATCH)
        self.exchange.count_command()
        return Result(
            self.exchange.sequence, decode_events(stored.events), stored.sequence, stored.time_us
        )

    def _refused(self, refused: CommandRefused) -> Result:
        """Return the result of what is refused before the exchange looks at it."""
        self.exchange.count_command()
        return Result(self.exchange.sequence, (refused,), 0, 0)

    def _run(self, command: Command, *, deadline_us: int = 0) -> Result:
        exchange = self.exchange
        if deadline_us and exchange.time_us > deadline_us:
            return self._refused(_TOO_LATE)
        events = exchange.apply(command)
        return Result(exchange.sequence, tuple(events), 0, 0)

    # Snapshots ----------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Return the canonical bytes: equal for equal states, whatever their history. O(n)."""
        return self.versions.encode(
            Snapshot(
                SNAPSHOT_VERSION,
                snapshot.encode(self.exchange, self.versions),
                sorted(self._sessions.items()),
                self._window.entries(),
                self.selfcheck.record(),
            ),
            self.version,
        )

    @classmethod
    def decode(cls, data: bytes, versions: Versions = RELEASE) -> ReplicatedState:
        """Return the state that `encode` wrote.

        Raises:
            SnapshotError: not a snapshot.
            NewerVersion: of a later release.
        """
        try:
            decoded = _decoder.decode(data)
            refuse_newer("the layout of the state", decoded.version, SNAPSHOT_VERSION)
            exchange = snapshot.decode(decoded.exchange, versions)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise SnapshotError(f"not a state snapshot: {error}") from error
        keys = {(stored.account, stored.key) for stored in decoded.window}
        if len(keys) != len(decoded.window):
            raise SnapshotError("an idempotency key stands twice")
        state = cls(versions)
        state.exchange = exchange
        state.selfcheck = SelfCheck(decoded.selfcheck)
        state._sessions = dict(decoded.sessions)
        for stored in decoded.window:
            state._window.put(stored)
        return state

    def adopt(self, restored: ReplicatedState) -> None:
        """Become `restored`, which a snapshot gave; whoever holds this object sees the change.

        O(orders): neighbours in a queue know each other, and no collection would find them.
        """
        for order in self.exchange.live.by_id.values():
            order.ahead = order.behind = None
        self.exchange = restored.exchange
        self._sessions = restored._sessions
        self._window = restored._window
        self.selfcheck = restored.selfcheck

    def session_of(self, node: str) -> tuple[int, int]:
        """Return the boot and the last applied number of a node's session; zeros for none."""
        session = self._sessions.get(node)
        return (0, 0) if session is None else (session.boot, session.number)

    def state_hash(self) -> str:
        """Return the SHA-256 (hex) of the canonical bytes. O(n)."""
        return hashlib.sha256(self.encode()).hexdigest()

    def check(self) -> None:
        """Assert every invariant. O(n)."""
        self.exchange.check()
        self._window.check()
        self.selfcheck.check()
        assert len(self._sessions) <= SESSIONS_MAX
