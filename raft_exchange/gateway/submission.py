"""From commands to their committed results: who asks, how it may be repeated, what came of it.

A write goes to the core as one group, so that its commands stand next to each other in one entry
and share one fate: all committed, all refused before the log, or all unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import TIME_FORM, is_label
from raft_exchange.decoding.times import NotATime, parse_time_us
from raft_exchange.gateway.access import principal_of
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.signatures import SIGNATURE_HEADERS, SIGNED
from raft_exchange.matching.limits import IDEMPOTENCY_KEY_BYTES_MAX
from raft_exchange.matching.messages import (
    CancelAfter,
    Command,
    CommandRefused,
    CreateAccount,
    OrderCommand,
    RejectCode,
)
from raft_exchange.sequencer.codec import Request, SignedItem, SignedRequest
from raft_exchange.sequencer.idempotency import batch_key
from raft_exchange.sequencer.outcome import Committed, Outcome, Refused, Unknown


class Envelope(NamedTuple):
    """What a request's headers say about its commands; "" and 0 stand for none.

    `key_id` names the key by which the request was let in, for the exchange to judge once more.
    `signed` is the request as it was signed, which goes into the log in place of what it asks.
    """

    account: str
    idempotency_key: str
    deadline_us: int
    key_id: str = ""
    signed: SignedRequest | None = None

    @property
    def asker(self) -> str:
        """The id of the key that was shown or that signed."""
        return self.key_id if self.signed is None else self.signed.key_id


def envelope_of(request: web.Request) -> Envelope:
    """Return account, idempotency key, deadline and key id of a write.

    Raises:
        Problem: `bad_field`, or as `access.principal_of`.
    """
    principal, headers = principal_of(request), request.headers
    key = headers.get("Idempotency-Key")
    if key is not None and not is_label(key, IDEMPOTENCY_KEY_BYTES_MAX):
        allowed = f"1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
        raise _bad_header("Idempotency-Key", key, allowed)
    deadline = headers.get("X-Deadline")
    deadline_us = _deadline_us(deadline) if deadline else 0
    signed = request.get(SIGNED)
    key_id = "" if signed is not None else principal.key_id
    return Envelope(principal.account, key or "", deadline_us, key_id, signed)


def _deadline_us(text: str) -> int:
    try:
        deadline_us = parse_time_us(text)
    except NotATime:
        deadline_us = 0
    if deadline_us <= 0:  # 0 stands for "none" in a request
        raise _bad_header("X-Deadline", text, TIME_FORM)
    return deadline_us


def _bad_header(name: str, value: str, allowed: str) -> Problem:
    return Problem(
        ErrorCode.BAD_FIELD,
        f"the header {name} is malformed",
        field=name,
        value=value,
        allowed=allowed,
    )


async def submit(context: Context, envelope: Envelope, command: Command) -> Committed:
    """Sequence one command and return its result, refused or not.

    Raises:
        Problem: it never reached the log, or what became of it is unknown.
    """
    _refuse_unsigned(context, envelope, command)
    key, deadline_us = envelope.idempotency_key, envelope.deadline_us
    asked = command if envelope.signed is None else envelope.signed
    request = Request(asked, key, deadline_us, key_id=envelope.key_id)
    return (await submit_group(context, envelope.account, [request]))[0]


async def submit_batch(
    context: Context, envelope: Envelope, commands: Sequence[tuple[int, Command]]
) -> list[Committed]:
    """Sequence the commands of a batch next to each other, each with its index in the batch.

    The first carries the client's key and counts those that follow it: a batch of another length,
    or a single order, under the same key is told apart by it before anything runs.

    Raises:
        Problem: as `submit`.
    """
    for _, command in commands:
        _refuse_unsigned(context, envelope, command)
    key, deadline_us = envelope.idempotency_key, envelope.deadline_us
    requests = [
        Request(
            command,
            batch_key(key, index) if position else key,
            deadline_us,
            0 if position else len(commands) - 1,
            envelope.key_id,
        )
        for position, (index, command) in enumerate(commands)
    ]
    return await submit_group(context, envelope.account, requests)


async def submit_signed_batch(
    context: Context, envelope: Envelope, signed: SignedRequest, *, orders: int
) -> list[Committed]:
    """Sequence a batch as it was signed, whole: each of its orders has a result.

    Raises:
        Problem: as `submit`.
    """
    head = Request(signed, envelope.idempotency_key, envelope.deadline_us, orders - 1)
    items = [Request(SignedItem())] * (orders - 1)
    return await submit_group(context, envelope.account, [head, *items])


def _refuse_unsigned(context: Context, envelope: Envelope, command: Command) -> None:
    """Refuse what this node takes signed only, whatever its market does."""
    is_required = context.settings.require_signed_orders and envelope.signed is None
    if is_required and isinstance(command, OrderCommand | CancelAfter):
        raise Problem(
            ErrorCode.UNAUTHENTICATED,
            "this node takes signed orders only",
            field="X-Signature",
            allowed=f"the headers {', '.join(SIGNATURE_HEADERS)}",
        )


async def submit_group(
    context: Context, account: str, requests: Sequence[Request]
) -> list[Committed]:
    """Sequence `requests` of `account`, which is opened first if this node does not know it.

    Raises:
        Problem: the group never reached the log, what became of it is unknown, or no account can
            be opened any more.
    """
    if account in context.marketdata.accounts:
        return [committed(outcome) for outcome in await context.core.submit(requests)]
    opening, *rest = await context.core.submit([Request(CreateAccount(account)), *requests])
    opened = committed(opening)
    event = opened.events[0]
    if isinstance(event, CommandRefused) and event.code is not RejectCode.ALREADY_EXISTS:
        raise refusal(event, opened, sent={"account": account})
    return [committed(outcome) for outcome in rest]


def committed(outcome: Outcome) -> Committed:
    """Return a committed outcome.

    Raises:
        Problem: it was refused before the log, or is unknown.
    """
    if isinstance(outcome, Committed):
        return outcome
    if isinstance(outcome, Refused):
        raise Problem(ErrorCode(outcome.code.value), outcome.detail)
    assert isinstance(outcome, Unknown)
    raise Problem(
        ErrorCode.OUTCOME_UNKNOWN,
        "the request may still take effect; send it again with the same Idempotency-Key",
    )


def write_headers(result: Committed) -> dict[str, str]:
    """Return the headers of the answer to a write."""
    headers = {"X-Sequence": str(result.sequence)}
    if result.replayed:
        headers["Idempotent-Replay"] = "true"
    return headers
