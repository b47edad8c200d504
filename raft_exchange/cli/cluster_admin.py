"""`raft-exchange cluster-admin`: look at a running cluster, and change who is in it.

Nodes are asked over HTTP, with a key of the scope `admin` where the exchange has keys; or with
--socket through the control socket in a node's data folder, on its machine and without a key. A
member is named by its id, or by the name it was started with where only one member has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from raft_exchange.cli import Commands, backing_up, scaling
from raft_exchange.cli.connection import UsageError, add_connection, ask, connect, urls_of
from raft_exchange.cli.tables import cluster_view, members_table, show
from raft_exchange.client import (
    Cluster,
    Draining,
    ExchangeClientSync,
    ExchangeError,
    HandedOver,
    Member,
    Members,
    RecoveredKey,
    SnapshotAsked,
)

LEADER_S: Final = 2.0
"""How long the leader is waited for, once another node has answered."""


def add_command(commands: Commands) -> None:
    """Declare the command and its actions; each says itself what it needs."""
    parser = commands.add_parser(
        "cluster-admin", help="members and state of a running cluster", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for declare in ACTIONS:
        declare(actions)


def _add_status(actions: Commands) -> None:
    parser = actions.add_parser("status", aliases=["members"], help="who is in it, and how they do")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_status)


def _add_add(actions: Commands) -> None:
    parser = actions.add_parser(
        "add",
        help="add a node by hand",
        description="Nodes that find the cluster through the DHT are added by themselves.",
    )
    parser.add_argument("id", help="the node's id, as its log and /v1/node give it")
    parser.add_argument("raft_address", metavar="HOST:PORT", help="of its Raft port")
    parser.add_argument("http_url", metavar="HTTP-URL", help="its base URL")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_add)


def _add_remove(actions: Commands) -> None:
    parser = actions.add_parser("remove", help="remove a member, for ever")
    parser.add_argument("member", help="its id or name")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_remove)


def _add_leader(actions: Commands) -> None:
    parser = actions.add_parser("leader", help="hand leadership over; no order fails meanwhile")
    parser.add_argument("to", nargs="?", metavar="MEMBER", help="to whom (the most advanced)")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_leader)


def _add_snapshot(actions: Commands) -> None:
    parser = actions.add_parser("snapshot", help="have a node write a snapshot")
    parser.add_argument("member", nargs="?", help="which (the one that answers)")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_snapshot)


def _add_drain(actions: Commands) -> None:
    parser = actions.add_parser("drain", help="have a node stop as on SIGTERM")
    parser.add_argument("member", nargs="?", help="which, unless the flags name one node")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_drain)


def _add_key(actions: Commands) -> None:
    parser = actions.add_parser(
        "key",
        help="make a key with every scope, for who lost all of them",
        description="Through --socket only, and shown only once.",
    )
    add_connection(parser, operates=True)
    parser.set_defaults(run=run_key)


ACTIONS: Final[tuple[Callable[[Commands], None], ...]] = (
    *(_add_status, _add_add, _add_remove, _add_leader, _add_snapshot),
    *(scaling.add_action, backing_up.add_action, _add_drain, _add_key),
)


def run_status(arguments: argparse.Namespace) -> int:
    """Show the cluster as its leader sees it, or else as the node that answers does."""
    return ask(
        arguments,
        lambda client: seen_by_leader(arguments, client),
        lambda cluster: show(cluster_view(cluster)),
    )


def run_add(arguments: argparse.Namespace) -> int:
    """Add a node."""
    return ask(
        arguments,
        lambda client: client.add_member(arguments.id, arguments.raft_address, arguments.http_url),
        lambda members: show(members_table(members)),
    )


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove a member."""

    def remove(client: ExchangeClientSync) -> Members:
        return client.remove_member(member_of(client.get_cluster(), arguments.member).id)

    return ask(arguments, remove, lambda members: show(members_table(members)))


def run_leader(arguments: argparse.Namespace) -> int:
    """Hand leadership over."""

    def hand_over(client: ExchangeClientSync) -> HandedOver:
        cluster = client.get_cluster()
        to = None if arguments.to is None else member_of(cluster, arguments.to).id
        if to is not None and to == cluster.leader:
            return HandedOver(node=to, leader=to)
        if arguments.socket is not None or cluster.leader in (None, cluster.node):
            return client.hand_over(to)  # here, or it is said why not
        with addressed(arguments, client, cluster.leader) as leader:
            return leader.hand_over(to)

    return ask(arguments, hand_over, lambda done: show(f"{done.leader} leads"))


def run_snapshot(arguments: argparse.Namespace) -> int:
    """Ask for a snapshot."""

    def request(client: ExchangeClientSync) -> SnapshotAsked:
        with addressed(arguments, client, arguments.member) as node:
            return node.request_snapshot()

    def told(asked: SnapshotAsked) -> None:
        show(f"{asked.node} writes a snapshot of entry {asked.applied_index}")

    return ask(arguments, request, told)


def run_drain(arguments: argparse.Namespace) -> int:
    """Stop a node."""

    def drain(client: ExchangeClientSync) -> Draining:
        if arguments.member is None and arguments.socket is None and len(urls_of(arguments)) > 1:
            raise UsageError("name the member to drain, or one --url, or --socket")
        with addressed(arguments, client, arguments.member) as node:
            return node.drain()

    return ask(arguments, drain, lambda done: show(f"{done.node} drains and ends"))


def run_key(arguments: argparse.Namespace) -> int:
    """Make a key."""

    def recover(client: ExchangeClientSync) -> RecoveredKey:
        if arguments.socket is None:
            raise UsageError("--socket is needed: whoever may read a node's folder may do this")
        return client.recover_key()

    def told(key: RecoveredKey) -> None:
        show(f"account {key.account}, key {key.id}", key.bearer)

    return ask(arguments, recover, told)


@contextmanager
def addressed(
    arguments: argparse.Namespace, client: ExchangeClientSync, named: str | None
) -> Iterator[ExchangeClientSync]:
    """Give a client of the member named; without a name, of the node that answers.

    Raises:
        UsageError: there is no such member, or its address is not known.
    """
    if named is None:
        yield client
        return
    member = member_of(client.get_cluster(), named)
    if not member.http_url:
        raise UsageError(f"where {member.id} is, is not known; name it by --url or --socket")
    with connect(arguments, [member.http_url]) as node:
        yield node


def seen_by_leader(arguments: argparse.Namespace, client: ExchangeClientSync) -> Cluster:
    """Return the leader's view, which alone knows how far the members are; else what there is."""
    cluster = client.get_cluster()
    urls = [m.http_url for m in cluster.members if m.id == cluster.leader != cluster.node]
    if not urls:
        return cluster
    try:
        with connect(arguments, urls, patience_s=LEADER_S) as leader:
            return leader.get_cluster()
    except (ExchangeError, ValueError, UsageError):  # out of reach from here, or not to be asked
        return cluster


def member_of(cluster: Cluster, named: str) -> Member:
    """Return the member of that id, or of that name.

    Raises:
        UsageError: none has it, or more than one.
    """
    found = [member for member in cluster.members if named in (member.id, name_of(member))]
    exact = [member for member in found if member.id == named]
    if len(exact or found) != 1:
        allowed = ", ".join(member.id for member in cluster.members)
        how_many = "more than one member is" if found else "no member is"
        raise UsageError(f"{how_many} {named!r}; allowed: {allowed}")
    return (exact or found)[0]


def name_of(member: Member) -> str:
    """Return the name a member was started with: its id without the random part."""
    return member.id.rpartition("-")[0]
