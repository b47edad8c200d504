"""What befalls a real cluster in one round; each leaves it whole again.

A nemesis breaks something under load, waits a moment drawn from the seed, and mends it. The round
is over when every node is ready: a cluster that does not come back by itself fails the round.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tests.support.namespaces import NamespacedCluster
from tests.support.processes import READY_S_MAX, Client, NodeProcess
from tests.support.small_disk import MIB, free_bytes, leave_free, remove_ballast

DISK_MIB: Final = 400
RESERVE_MIB: Final = 128
WRITE_S_MAX: Final = 0.5
"""A node that failed for want of room has exited so long after the last write that could."""


class Battlefield:
    """One cluster under one load, and the luck of its rounds."""

    def __init__(self, cluster: NamespacedCluster, client: Client, seed: int) -> None:
        self.cluster = cluster
        self.client = client
        self.draw = random.Random(seed)

    @property
    def nodes(self) -> Sequence[NodeProcess]:
        return self.cluster.nodes

    async def leader_and_others(self) -> tuple[NodeProcess, list[NodeProcess]]:
        leader = await self.client.leader()
        others = [node for node in self.nodes if node is not leader]
        self.draw.shuffle(others)
        return leader, others

    async def moment(self, low_s: float = 0.2, high_s: float = 2.5) -> None:
        await asyncio.sleep(self.draw.uniform(low_s, high_s))

    async def kill(self, *victims: NodeProcess) -> None:
        """kill -9 them in any order, and start them again in any order."""
        for node in self.draw.sample(victims, len(victims)):
            self.cluster.kill(node)
        await self.moment(0.0, 2.0)
        for node in self.draw.sample(victims, len(victims)):
            self.cluster.start(node)

    async def freeze(self, node: NodeProcess) -> None:
        """SIGSTOP, and SIGCONT after it has lost its place, or before."""
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
        try:
            await self.moment()
        finally:
            node.process.send_signal(signal.SIGCONT)


Nemesis = Callable[[Battlefield], Awaitable[None]]


async def kill_leader(field: Battlefield) -> None:
    leader, _ = await field.leader_and_others()
    await field.kill(leader)


async def kill_follower(field: Battlefield) -> None:
    _, others = await field.leader_and_others()
    await field.kill(others[0])


async def kill_majority(field: Battlefield) -> None:
    leader, others = await field.leader_and_others()
    await field.kill(leader, others[0])


async def kill_all(field: Battlefield) -> None:
    await field.kill(*field.nodes)


async def stop_leader(field: Battlefield) -> None:
    """SIGTERM: it hands over, drains and exits with 0."""
    leader, _ = await field.leader_and_others()
    code = await asyncio.to_thread(field.cluster.terminate, leader)
    assert code == 0, f"{leader.id} exited with {code}:\n{leader.log}"
    field.cluster.start(leader)


async def freeze_leader(field: Battlefield) -> None:
    leader, _ = await field.leader_and_others()
    await field.freeze(leader)


async def freeze_follower(field: Battlefield) -> None:
    _, others = await field.leader_and_others()
    await field.freeze(others[0])


async def isolate_leader(field: Battlefield) -> None:
    """The leader in a minority of one."""
    leader, others = await field.leader_and_others()
    field.cluster.isolate(leader, others)
    await field.moment(0.5, 4.0)


async def isolate_follower(field: Battlefield) -> None:
    _, others = await field.leader_and_others()
    field.cluster.isolate(others[0], [node for node in field.nodes if node is not others[0]])
    await field.moment(0.5, 4.0)


async def deafen_leader(field: Battlefield) -> None:
    """One way: the leader is heard, and hears nobody."""
    leader, others = await field.leader_and_others()
    for other in others:
        field.cluster.block(other, leader)
    await field.moment(0.5, 4.0)


async def mute_leader(field: Battlefield) -> None:
    """One way: the leader hears everybody, and nobody hears it."""
    leader, others = await field.leader_and_others()
    for other in others:
        field.cluster.block(leader, other)
    await field.moment(0.5, 4.0)


async def cut_one_link(field: Battlefield) -> None:
    """Between the leader and one follower: the third one sees both."""
    leader, others = await field.leader_and_others()
    field.cluster.cut(leader, others[0])
    await field.moment(0.5, 4.0)


async def block_at_random(field: Battlefield) -> None:
    """Some directions of some links, others while the first still last."""
    for _ in range(4):
        sender, receiver = field.draw.sample(field.nodes, 2)
        field.cluster.block(sender, receiver)
        await field.moment(0.2, 1.0)


async def fill_leader_disk(field: Battlefield) -> None:
    """Down to the reserve: the leader makes way and takes no orders meanwhile."""
    leader, _ = await field.leader_and_others()
    leave_free(leader.folder, (RESERVE_MIB - 28) * MIB)
    await field.client.leader(other_than=leader)
    await field.moment()


async def fill_disk_and_kill(field: Battlefield) -> None:
    """To the last byte, and the process with it: it cannot start before there is room.

    It may make that itself, of a snapshot that the kill left unfinished or of segments behind one;
    then it is to go on.
    """
    _, others = await field.leader_and_others()
    victim = others[0]
    leave_free(victim.folder, 0)
    field.cluster.kill(victim)
    field.cluster.start(victim)
    assert victim.process is not None
    until_s = time.monotonic() + READY_S_MAX
    while victim.process.poll() is None and not free_bytes(victim.folder):
        assert time.monotonic() < until_s, f"{victim.id} does not exit:\n{victim.log}"
        await asyncio.sleep(0.02)
    remove_ballast(victim.folder)
    await asyncio.sleep(WRITE_S_MAX)
    code = victim.process.poll()
    if code is not None:
        assert code == 4, f"{victim.id} exited with {code}:\n{victim.log}"
        field.cluster.start(victim)


PROCESSES: Final[Sequence[Nemesis]] = (
    *(kill_leader, kill_follower, kill_majority, kill_all),
    *(stop_leader, freeze_leader, freeze_follower),
)
NETWORK: Final[Sequence[Nemesis]] = (
    *(isolate_leader, isolate_follower, deafen_leader, mute_leader),
    *(cut_one_link, block_at_random),
)
DISKS: Final[Sequence[Nemesis]] = (fill_leader_disk, fill_disk_and_kill)
ALL: Final = {nemesis.__name__: nemesis for nemesis in (*PROCESSES, *NETWORK, *DISKS)}


async def strike(nemesis: Nemesis, field: Battlefield) -> float:
    """Let it happen, mend everything; return how long the cluster took to be whole again."""
    await nemesis(field)
    field.cluster.mend()
    for node in field.nodes:
        remove_ballast(node.folder)
    mended_s = time.monotonic()
    await field.client.ready()
    return time.monotonic() - mended_s
