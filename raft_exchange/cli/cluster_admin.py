"""`raft-exchange cluster-admin`: look at a running cluster, and change who is in it.

Nodes are asked over HTTP, with a key of the scope `admin` where the exchange has keys. A member is
named by its id, or by the name it was started with where only one member has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import (
    UsageError,
    add_connection,
    ask,
    key_of,
)
from raft_exchange.cli.tables import cluster_view, members_table, show
from raft_exchange.client import Cluster, ExchangeClientSync, ExchangeError, Member, Members

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
    add_connection(parser)
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
    add_connection(parser)
    parser.set_defaults(run=run_add)


def _add_remove(actions: Commands) -> None:
    parser = actions.add_parser("remove", help="remove a member, for ever")
    parser.add_argument("member", help="its id or name")
    add_connection(parser)
    parser.set_defaults(run=run_remove)


def _add_snapshot(actions: Commands) -> None:
    parser = actions.add_parser("snapshot", help="have the node that answers write a snapshot")
    add_connection(parser)
    parser.set_defaults(run=run_snapshot)


ACTIONS: Final[tuple[Callable[[Commands], None], ...]] = (
    *(_add_status, _add_add, _add_remove, _add_snapshot),
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


def run_snapshot(arguments: argparse.Namespace) -> int:
    """Ask for a snapshot."""
    return ask(
        arguments,
        lambda client: client.request_snapshot(),
        lambda asked: show(f"{asked.node} writes a snapshot of entry {asked.applied_index}"),
    )


def seen_by_leader(arguments: argparse.Namespace, client: ExchangeClientSync) -> Cluster:
    """Return the leader's view, which alone knows how far the members are; else what there is."""
    cluster = client.get_cluster()
    urls = [m.http_url for m in cluster.members if m.id == cluster.leader != cluster.node]
    if not urls:
        return cluster
    try:
        with ExchangeClientSync(urls, key=key_of(arguments), patience_s=LEADER_S) as leader:
            return leader.get_cluster()
    except (ExchangeError, ValueError):  # out of reach from here, or its address is not known
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
