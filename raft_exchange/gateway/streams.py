"""The hub of a node's streams: who reads what, when it is sent, and when a reader is cut off.

Theory of operation. Applying an entry only wakes the hub. At most every `FLUSH_S`, or less often
where there are many readers (`READER_S`), it turns what changed since its position into messages,
one for each channel that has readers, encodes each once, frames them once for all readers of the
same channels, and hands the same bytes to every socket. A reader's queue is its socket's write
buffer: the hub never waits for one, and starts no task.

Rules:
- All readers stand at the hub's position. A new one is first brought there: what is due is sent
  to the others, then it gets snapshots, or what it missed since the sequence it names.
- A reader whose queue is over its bound, when something is due, is told so and cut off. If all
  queues together are over theirs, the fullest go.
- Readers are served a slice at a time, and between two slices the loop is left to orders.
- After a snapshot of the state, or a gap in the history, every reader is told to start over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.channels import Channel
from raft_exchange.gateway.stream_messages import CutOff, GoingAway, Heartbeat, Message, Resync
from raft_exchange.gateway.stream_rendering import (
    Encoded,
    StreamRendering,
    encode,
    touched_markets,
)
from raft_exchange.gateway.subscribers import Framing, Reading, Subscriber
from raft_exchange.marketdata.candles import MINUTE_US
from raft_exchange.marketdata.changes import Change
from raft_exchange.marketdata.view import MarketData
from raft_exchange.metrics import STREAM_TRANSPORTS, StreamFigures

FLUSH_S: Final = 0.02
READER_S: Final = 0.00025
"""A flush waits this long for each reader after the one before: to write to one takes 12 us, most
of it the system's, so readers take a twentieth of the loop's time however many there are."""

HEARTBEAT_S: Final = 15.0
SWEEP_S: Final = 1.0
SUBSCRIBERS_MAX: Final = 1_000
ALL_QUEUES_BYTES_MAX: Final = 256 * 1024 * 1024
RESUME_CHANGES_MAX: Final = 5_000
"""Who missed more is sent snapshots: they cost less than going through it all."""

SLICE: Final = 16
"""Readers that are written to at once, 0.2 ms of the loop."""

SLICE_PAUSE_S: Final = 0.001
GRACE_S: Final = 5.0
"""What a reader that is cut off gets to read why."""

NOTICES: Final = "stream"
"""The kind of what belongs to no channel."""


class Streams:
    """All readers of one node."""

    def __init__(self, marketdata: MarketData) -> None:
        self._marketdata = marketdata
        self._rendering = StreamRendering(marketdata)
        self._subscribers: dict[Subscriber, None] = {}
        self._groups: dict[Reading, dict[Subscriber, None]] = {}
        self._readers: dict[Channel, int] = {}
        self._tickers: dict[Channel, tuple[object, ...]] = {}
        self._due: deque[tuple[Subscriber, bytes]] = deque()
        self._position = 0
        self._keys_seen = self._keys_now()
        self._minute = 0
        self._loop = asyncio.get_running_loop()
        self._flushed_at_s = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._deliver_timer: asyncio.TimerHandle | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._heartbeat_at_s = 0.0
        self._is_going_away = False
        self._cut_off = 0

    # What happens ---------------------------------------------------------------------------------

    def applied(self) -> None:
        """Note that something was applied: it is sent soon, but nothing to who lost their key."""
        if self._keys_now() != self._keys_seen:
            self._end_revoked()
        if self._readers and self._flush_timer is None:
            pause_s = max(FLUSH_S, READER_S * len(self._subscribers))
            at_s = max(self._loop.time(), self._flushed_at_s + pause_s)
            self._flush_timer = self._loop.call_at(at_s, self._flush_due)

    def _keys_now(self) -> tuple[int, int]:
        keys = self._marketdata.keys  # another register after a snapshot was installed
        return id(keys), keys.revocations

    def _end_revoked(self) -> None:
        self._keys_seen = self._keys_now()
        for subscriber in list(self._subscribers):
            if not self._may_read(subscriber):
                subscriber.end("key_revoked")
                self.drop(subscriber)

    def _may_read(self, subscriber: Subscriber) -> bool:
        keys = self._marketdata.keys
        return all(keys.is_good(p.account, p.key_id) for p in subscriber.principals)

    def going_away(self) -> None:
        """Tell every reader to go on elsewhere, and take no new ones."""
        self._is_going_away = True
        self.flush()
        self._tell_all(GoingAway("going_away", self._position))

    def close(self) -> None:
        """End every stream, and take no new ones. Idempotent."""
        self._is_going_away = True
        self._deliver_all()
        self.end_all("going_away")

    def end_all(self, reason: str) -> None:
        """End every stream as it stands, without sending anything more. Idempotent."""
        self._due.clear()
        for subscriber in list(self._subscribers):
            subscriber.end(reason)
            self.drop(subscriber)

    # Readers --------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Say whether there is room for one more reader.

        Raises:
            Problem: `draining` or `overloaded`.
        """
        if self._is_going_away:
            raise Problem(ErrorCode.DRAINING, "this node is stopping; read from another one")
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            raise Problem(
                ErrorCode.OVERLOADED, f"this node streams to {SUBSCRIBERS_MAX} readers already"
            )

    def add(self, subscriber: Subscriber) -> None:
        """Take a reader that was admitted, without channels yet.

        It is ended at once where that came too late: its handler waited for something meanwhile.
        """
        self._subscribers[subscriber] = None
        if self._is_going_away:
            subscriber.end("going_away")
        elif not self._may_read(subscriber):
            subscriber.end("key_revoked")
        if self._sweep_timer is None:
            self._heartbeat_at_s = self._loop.time() + HEARTBEAT_S
            self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)

    def drop(self, subscriber: Subscriber) -> None:
        """Forget a reader. Idempotent."""
        if subscriber in self._subscribers:
            self.unsubscribe(subscriber, subscriber.channels)
            del self._subscribers[subscriber]

    def subscribe(
        self, subscriber: Subscriber, channels: Iterable[Channel], *, since: int | None
    ) -> None:
        """Add channels to a reader and bring it to the hub's position; nothing if it was ended.

        Args:
            subscriber: one that was added; it may have been dropped since.
            channels: of markets that there are; those it has already are begun anew.
            since: the sequence it has seen everything up to; None to begin with snapshots.
        """
        wanted = list(channels)
        self.flush()
        if subscriber not in self._subscribers or subscriber.is_gone:
            return
        known = dict.fromkeys(subscriber.channels)
        for channel in wanted:
            if channel not in known:
                known[channel] = None
                self._readers[channel] = self._readers.get(channel, 0) + 1
        self._regroup(subscriber, tuple(known))
        messages = self._catch_up(wanted, since)
        subscriber.write(subscriber.framing(messages, self._position), asked=True)

    def unsubscribe(self, subscriber: Subscriber, channels: Iterable[Channel]) -> None:
        """Take channels from a reader, as far as it has them."""
        self._deliver_all()
        gone = set(channels) & set(subscriber.channels)
        self._regroup(subscriber, tuple(c for c in subscriber.channels if c not in gone))
        for channel in gone:
            self._readers[channel] -= 1
            if not self._readers[channel]:
                del self._readers[channel]
                self._tickers.pop(channel, None)

    def _regroup(self, subscriber: Subscriber, channels: tuple[Channel, ...]) -> None:
        """Give a reader these channels, and put it with those that are sent the same bytes."""
        before, after = subscriber.reading, (subscriber.framing, channels)
        if before in self._groups:
            self._groups[before].pop(subscriber, None)
            if not self._groups[before]:
                del self._groups[before]
        subscriber.channels = channels
        if channels:
            self._groups.setdefault(after, {})[subscriber] = None

    def can_resume(self, since: int | None) -> bool:
        """Say whether who saw everything up to there is sent what came after, not snapshots."""
        return self._missed(since) is not None

    def _missed(self, since: int | None) -> Sequence[Change] | None:
        changes = None if since is None else self._marketdata.history.since(since)
        return changes if changes is not None and len(changes) <= RESUME_CHANGES_MAX else None

    def _catch_up(self, channels: list[Channel], since: int | None) -> list[Encoded]:
        changes = self._missed(since)
        if since is None or changes is None:
            messages = [m for channel in channels for m in self._rendering.start(channel)]
            return messages if since is None else [self._resync(channels), *messages]
        messages = list(self._rendering.updates(channels, changes, since=since).values())
        messages += [self._rendering.ticker(c) for c in channels if c.kind == "ticker"]
        return messages or [self._notice(self._heartbeat())]

    # Sending --------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what changed up to now."""
        self._deliver_all()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._flushed_at_s = self._loop.time()
        since, self._position = self._position, self._marketdata.sequence
        changes = self._marketdata.history.since(since) if since <= self._position else None
        if changes is None:
            self._start_over()
        elif self._readers:
            messages = self._rendering.updates(self._readers, changes, since=since)
            messages |= self._changed_tickers(changes)
            self._queue(messages)

    def _flush_due(self) -> None:
        self._flush_timer = None
        self.flush()

    def _changed_tickers(self, changes: Sequence[Change]) -> dict[Channel, Encoded]:
        """Return the tickers that differ from those sent last: by trade, best price or minute."""
        minute = self._marketdata.time_us // MINUTE_US
        touched = touched_markets(changes) if minute == self._minute else None
        self._minute = minute
        changed = {}
        for channel in self._readers:
            if channel.kind != "ticker" or (touched is not None and channel.name not in touched):
                continue
            market = self._marketdata.markets[channel.name]
            shown = (*market.depth.bests(), *market.day.at(self._marketdata.time_us))
            if self._tickers.get(channel) != shown:
                self._tickers[channel] = shown
                changed[channel] = self._rendering.ticker(channel)
        return changed

    def _queue(self, messages: dict[Channel, Encoded]) -> None:
        if not messages:
            return
        for (framing, channels), subscribers in self._groups.items():
            # In the order they asked for them; the last message of a flush carries the id.
            theirs = [messages[channel] for channel in channels if channel in messages]
            if theirs:
                data = framing(theirs, self._position)
                self._due.extend((subscriber, data) for subscriber in subscribers)
        self._deliver()

    def _deliver(self) -> None:
        """Serve a slice of the readers now, the others a little later."""
        self._serve(SLICE)
        self._deliver_timer = (
            self._loop.call_later(SLICE_PAUSE_S, self._deliver) if self._due else None
        )

    def _deliver_all(self) -> None:
        self._serve(len(self._due))
        if self._deliver_timer is not None:
            self._deliver_timer.cancel()
            self._deliver_timer = None

    def _serve(self, count: int) -> None:
        for _ in range(min(count, len(self._due))):
            subscriber, data = self._due.popleft()
            if subscriber.is_gone:
                continue
            if subscriber.is_slow:
                self._cut(subscriber)
            else:
                subscriber.write(data)

    def _start_over(self) -> None:
        for subscriber in list(self._subscribers):
            channels = list(subscriber.channels)
            if channels and not subscriber.is_gone:
                messages = self._catch_up(channels, since=-1)
                subscriber.write(subscriber.framing(messages, self._position), asked=True)

    # Notices --------------------------------------------------------------------------------------

    def _notice(self, message: Message) -> Encoded:
        return encode(NOTICES, message)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat("heartbeat", self._position, format_time_us(self._marketdata.time_us))

    def _resync(self, channels: list[Channel]) -> Encoded:
        labels = [channel.label for channel in channels]
        return self._notice(Resync("resync", self._position, "too_old", labels))

    def _tell_all(self, message: Message) -> None:
        told = [self._notice(message)]
        framed: dict[Framing, bytes] = {}
        self._deliver_all()
        for subscriber in self._subscribers:
            data = framed.get(subscriber.framing)
            if data is None:
                data = framed[subscriber.framing] = subscriber.framing(told, self._position)
            self._due.append((subscriber, data))
        self._deliver()

    def _cut(self, subscriber: Subscriber) -> None:
        """Tell a reader that is too slow, should it ever read that far, and end its stream."""
        self._cut_off += 1
        reason = self._notice(CutOff("cut_off", self._position, "slow_reader"))
        subscriber.write(subscriber.framing([reason], self._position))
        subscriber.end("slow_reader")
        self._loop.call_later(GRACE_S, subscriber.abort)

    def _sweep(self) -> None:
        """Forget readers that are gone, hold all queues to their bound, send the heartbeat."""
        for subscriber in [s for s in self._subscribers if s.is_gone]:
            subscriber.end("gone")
            self.drop(subscriber)
        self._shorten_queues()
        now_s = self._loop.time()
        if now_s >= self._heartbeat_at_s:
            self._heartbeat_at_s = now_s + HEARTBEAT_S
            self.flush()
            self._tell_all(self._heartbeat())
        self._sweep_timer = None
        if self._subscribers:
            self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)

    def _shorten_queues(self) -> None:
        total = sum(subscriber.queue_bytes for subscriber in self._subscribers)
        if total <= ALL_QUEUES_BYTES_MAX:
            return
        for subscriber in sorted(self._subscribers, key=lambda s: s.queue_bytes, reverse=True):
            if total <= ALL_QUEUES_BYTES_MAX:
                break
            total -= subscriber.queue_bytes
            self._cut(subscriber)

    # Numbers for metrics --------------------------------------------------------------------------

    def figures(self) -> StreamFigures:
        """Return what the metrics show."""
        subscribers = dict.fromkeys(STREAM_TRANSPORTS, 0)
        for subscriber in self._subscribers:
            subscribers[subscriber.transport_name] += 1
        queues = [subscriber.queue_bytes for subscriber in self._subscribers]
        history = self._marketdata.history
        return StreamFigures(
            subscribers=subscribers,
            channels=len(self._readers),
            cut_off=self._cut_off,
            queued_bytes=sum(queues),
            queue_bytes_longest=max(queues, default=0),
            history_changes=len(history),
            history_bytes=history.bytes,
        )


STREAMS: Final = web.AppKey("streams", Streams)
