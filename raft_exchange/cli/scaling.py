"""`raft-exchange cluster-admin scale`: take out the members that a smaller StatefulSet leaves.

The pods of a StatefulSet are numbered from 0, and the highest go first when it shrinks. A node is
named as its pod, and its id begins with that name: so `--of exchange --to 3` removes the members
`exchange-4-…` and `exchange-3-…`, in this order, one at a time, through the log. Before the first
one goes, all steps are looked at: nothing is removed where one of them would leave too few voters
in reach for a majority. An id that was removed never returns. To have more members nothing needs
to be done: nodes that are started join by themselves.
"""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import EXIT_FAILED, UsageError, add_connection, ask, fail
from raft_exchange.cli.tables import show
from raft_exchange.client import Cluster, ExchangeClientSync, Member
from raft_exchange.config import ConfigError, read_secret
from raft_exchange.raft.members import MEMBERS_MAX
from raft_exchange.raft.proof import sign

LEADERLESS_S_MAX: Final = 30.0
LOOK_S: Final = 0.2


class Scaled(msgspec.Struct, frozen=True):
    """What was done: the ids that are gone, in this order, and who is left."""

    removed: list[str]
    members: list[str]


class WouldLoseQuorum(Exception):
    """A removal would leave too few voters in reach; the message says of whom and how many."""


def add_action(actions: Commands) -> None:
    """Declare the action and its flags."""
    parser = actions.add_parser(
        "scale", help="remove the members that a smaller StatefulSet leaves", description=__doc__
    )
    parser.add_argument(
        "--to",
        type=_count,
        required=True,
        metavar="N",
        help=f"how many pods there will be, 1-{MEMBERS_MAX}",
    )
    parser.add_argument("--of", required=True, metavar="NAME", help="name of the StatefulSet")
    parser.add_argument(
        "--cluster-secret-file",
        type=Path,
        metavar="FILE",
        help="prove the cluster's secret instead of showing a key, where there are no keys",
    )
    add_connection(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MEMBERS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: allowed 1-{MEMBERS_MAX}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Remove them; 1 when it would cost the quorum, with nothing removed."""

    def scale(client: ExchangeClientSync) -> Scaled:
        return _scale(client, arguments)

    try:
        return ask(arguments, scale, _show)
    except WouldLoseQuorum as error:
        return fail(arguments, f"refused: {error}", code="no_quorum", exit_code=EXIT_FAILED)


def _scale(client: ExchangeClientSync, arguments: argparse.Namespace) -> Scaled:
    removed: list[str] = []
    while True:
        cluster = _led(client)
        doomed = leaving(cluster.members, of=arguments.of, to=arguments.to)
        if not doomed:
            return Scaled(removed, [member.id for member in cluster.members])
        check_quorum(cluster.members, doomed)
        client.remove_member(doomed[0], proof=_proof(arguments, doomed[0]))
        removed.append(doomed[0])
        print(f"removed {doomed[0]}", file=sys.stderr, flush=True)


def _led(client: ExchangeClientSync) -> Cluster:
    """Return a view of the cluster in which somebody leads: a removed leader takes a moment."""
    deadline_s = time.monotonic() + LEADERLESS_S_MAX
    while True:
        cluster = client.get_cluster()
        if cluster.leader is not None:
            return cluster
        if time.monotonic() > deadline_s:
            raise WouldLoseQuorum(f"{cluster.node} knows no leader, so nothing can be removed")
        time.sleep(LOOK_S)


def leaving(members: Iterable[Member], *, of: str, to: int) -> list[str]:
    """Return the ids of pods with a number of `to` or more, in the order in which they go.

    Where one pod has had several ids, those that are out of reach, its former ones, go first.
    """
    named = re.compile(re.escape(of) + r"-(0|[1-9][0-9]*)-[0-9a-f]+")
    found: list[tuple[int, bool, str]] = []
    for member in members:
        match = named.fullmatch(member.id)
        if match and int(match[1]) >= to:
            found.append((-int(match[1]), member.reachable, member.id))
    return [id_ for _, _, id_ in sorted(found)]


def check_quorum(members: Sequence[Member], doomed: Iterable[str]) -> None:
    """Look at each step of a plan.

    Raises:
        WouldLoseQuorum: one of them would leave no majority in reach.
    """
    voters = {member.id for member in members if member.votes}
    in_reach = {member.id for member in members if member.reachable}
    for id_ in doomed:
        voters.discard(id_)
        reached, quorum = len(voters & in_reach), len(voters) // 2 + 1
        if reached < quorum:
            raise WouldLoseQuorum(
                f"without {id_} only {reached} of {len(voters)} voters would be in reach, and "
                f"{quorum} are needed: bring back {_names(voters - in_reach)} first, or remove "
                "what will not come back"
            )


def _names(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "a voter that stays"


def _proof(arguments: argparse.Namespace, member: str) -> tuple[str, str] | None:
    path: Path | None = arguments.cluster_secret_file
    if path is None:
        return None
    try:
        secret = read_secret(path)
    except ConfigError as error:
        raise UsageError(f"--{error}") from error
    nonce = secrets.token_hex(16)
    return nonce, sign(secret, "leave", nonce.encode(), member.encode()).hex()


def _show(scaled: Scaled) -> None:
    show(f"removed: {', '.join(scaled.removed) or 'nobody'}; members: {', '.join(scaled.members)}")
