"""Who is a member of the group: to add one, to remove one, at any node.

These are for operators, who show a key of the scope `admin` or, where there are no keys, ask from
the node's own machine, and for nodes
that want to join, which prove the cluster secret: `X-Proof` is the hex of an HMAC over the hex
digits in `X-Nonce` and the body (to add), or the id (to remove). To repeat a proved request is
harmless, so nonces are not remembered: who is a member already is not added again, and who was
removed never returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, bad_field, decode_object, known_fields
from raft_exchange.gateway.access import is_on_own_machine, principal_of
from raft_exchange.gateway.answers import MembersAnswer
from raft_exchange.gateway.bodies import body_bytes, query_of
from raft_exchange.gateway.context import CONTEXT, FRONT
from raft_exchange.gateway.rendering import answer
from raft_exchange.matching.messages import Scope
from raft_exchange.sequencer.outcome import MEMBER_FIELDS, MemberRefusal, MemberRefused, Members

PATH: Final = "/v1/cluster/members"
NONCE_HEADER: Final = "X-Nonce"
PROOF_HEADER: Final = "X-Proof"
NONCE: Final = re.compile(r"[0-9a-f]{32,128}")

CODES: Final[Mapping[MemberRefusal, ErrorCode]] = {
    MemberRefusal.PENDING: ErrorCode.CHANGE_PENDING,
    MemberRefusal.NO_LEADER: ErrorCode.NO_LEADER,
    MemberRefusal.NO_QUORUM: ErrorCode.NO_QUORUM,
    MemberRefusal.ID_REMOVED: ErrorCode.MEMBER_REMOVED,
    MemberRefusal.TOO_MANY: ErrorCode.LIMIT_REACHED,
    MemberRefusal.NOT_A_MEMBER: ErrorCode.UNKNOWN_MEMBER,
    MemberRefusal.UNKNOWN: ErrorCode.OUTCOME_UNKNOWN,
}


async def post_member(request: web.Request) -> web.Response:
    """Add a node: 202, for it votes only when it has caught up; `/v1/cluster` shows when."""
    query_of(request, ())
    body = await body_bytes(request)
    _admit(request, "join", body)
    fields = decode_object(body)
    known_fields(fields, tuple(MEMBER_FIELDS))
    said = [_text(fields, name) for name in MEMBER_FIELDS]
    return _outcome(await request.app[CONTEXT].core.add_member(*said), status=202, member=said[0])


async def delete_member(request: web.Request) -> web.Response:
    """Remove a member for ever: 200 when that is committed."""
    query_of(request, ())
    member = request.match_info["member"]
    _admit(request, "leave", member.encode())
    if not re.search(MEMBER_FIELDS["id"][0], member):
        raise Problem(
            ErrorCode.UNKNOWN_MEMBER, "no member has such an id", field="id", value=member
        )
    return _outcome(await request.app[CONTEXT].core.remove_member(member), member=member)


def _admit(request: web.Request, purpose: str, said: bytes) -> None:
    nonce, proof = (request.headers.get(name, "") for name in (NONCE_HEADER, PROOF_HEADER))
    if not nonce and not proof:
        if request.app[CONTEXT].settings.auth_required:
            principal_of(request).demand(Scope.ADMIN)
            return
        if is_on_own_machine(request):
            return
    try:
        is_proved = bool(NONCE.fullmatch(nonce)) and request.app[FRONT].vouches(
            purpose, bytes.fromhex(proof), nonce.encode(), said
        )
    except ValueError:
        is_proved = False
    if not is_proved:
        raise Problem(
            ErrorCode.FORBIDDEN,
            "ask from the node's own machine, or prove the cluster secret",
            field=PROOF_HEADER,
            allowed="the hex of an HMAC under the secret, with 32 to 128 hex digits in X-Nonce",
        )


def _text(fields: Json, name: str) -> str:
    value, (pattern, form) = fields.get(name), MEMBER_FIELDS[name]
    if type(value) is not str or not re.search(pattern, value):
        raise bad_field(fields, name, form)
    return value


def _outcome(outcome: Members | MemberRefused, *, member: str, status: int = 200) -> web.Response:
    if isinstance(outcome, MemberRefused):
        raise Problem(CODES[outcome.code], outcome.detail, field="id", value=member)
    body: MembersAnswer = {
        "members": [{"id": id_, "votes": id_ in outcome.voters} for id_ in outcome.members],
    }
    return answer(body, status=status)
