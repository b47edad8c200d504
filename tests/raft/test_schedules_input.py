"""What comes from the network or the disk is data: the stock library runs it, our group does not.

The transport has its own tests of hostile bytes; here they have passed it, or lie in the log.
"""

from __future__ import annotations

import ast
import os
import pickle
from pathlib import Path
from typing import Any

import pysyncobj.journal
import pysyncobj.pickle
import pytest
from pysyncobj import serializer, syncobj

import raft_exchange
from raft_exchange.raft.wire import AppendEntries, Entry
from tests.support.schedule_members import Member, Ours
from tests.support.schedules import Cluster, on

FORGED = b"forged"
MEMBERSHIP, VERSION = b"\x02", b"\x03"


class MakeDirectory:
    """Unpickling this makes a directory: proof that a stranger's code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@on(stock=True, ours=False)
@pytest.mark.parametrize("kind", [MEMBERSHIP, VERSION], ids=["membership", "version"])
def test_c_an_entry_of_the_librarys_own_kinds_is_not_unpickled(
    member: type[Member], outcome: bool, kind: bytes, tmp_path: Path
) -> None:
    """C. The log holds an entry that is not an ordinary one, and it commits.

    The stock library unpickles it to see who joins or which version begins.
    """
    proof = tmp_path / "proof"
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster["A"].append_raw(kind + pickle.dumps(MakeDirectory(proof)))
        cluster.run(0.3)
        assert proof.exists() is outcome
        for one in cluster.members.values():
            one.errors.clear()  # stock, of the second replica on: the directory is there


@on(stock=True, ours=False)
def test_c_nothing_is_pickled_or_unpickled_at_all(
    member: type[Member], outcome: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C. Elections, orders, a forward, a restart from the journal, with pickle out of reach."""
    reached: list[str] = []

    def touch(name: str) -> Any:
        def refuse(*arguments: object, **named: object) -> None:
            reached.append(name)
            raise AssertionError("pickle was reached")

        return refuse

    with Cluster.of(member) as cluster:
        cluster.elect("A")
        for module in (pysyncobj.pickle, pysyncobj.journal, pickle):
            for name in ("load", "loads", "_load", "_loads", "dump", "dumps", "_dump", "_dumps"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, touch(f"{module.__name__}.{name}"))
        assert syncobj.pickle is serializer.pickle is pysyncobj.pickle
        for name in "AB":
            try:
                cluster[name].propose(name.encode())
            except AssertionError:
                break
            cluster.run(0.3)
        if not reached:
            cluster.power_cut("A", "B", "C")
            for name in "ABC":
                cluster.join(name)
            cluster.elect("C")
            cluster.run(0.3)
            assert cluster["C"].applied == [b"A", b"B"]
        monkeypatch.undo()
        assert bool(reached) is outcome


def test_c_no_module_of_ours_imports_anything_that_can_run_what_it_reads() -> None:
    """C. Not pickle, nor what is built on it, nor the library's copy of it."""
    banned = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
    package = Path(raft_exchange.__file__).parent
    modules = sorted(package.rglob("*.py"))
    assert len(modules) > 20
    for module in modules:
        for found in ast.walk(ast.parse(module.read_text())):
            names = []
            if isinstance(found, ast.Import):
                names = [alias.name for alias in found.names]
            elif isinstance(found, ast.ImportFrom):
                names = [f"{found.module}.{alias.name}" for alias in found.names]
            for name in names:
                assert not banned & set(name.split(".")), f"{module.name} imports {name}"


def forged_append(member: type[Member]) -> Any:
    """Return what a leader of a far term would send to a new log: one entry, committed."""
    command, index, term = b"\x00" + FORGED, 2, 1_000_000
    if member is Ours:
        return AppendEntries(term, index, 1, 0, [Entry(command, index, term)])
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": index,
        "prevLogIdx": 1,
        "prevLogTerm": 0,
        "entries": [(command, index, term)],
    }


@on(stock=(1_000_000, 2), ours=(0, 1))
def test_c_a_stranger_cannot_lead(member: type[Member], outcome: tuple[int, int]) -> None:
    """B12 and C2. A node that is on nobody's list sends an entry of a far term, as committed."""
    with Cluster.of(member) as cluster:
        cluster["B"].receive("X", forged_append(member))
        assert (cluster["B"].term, cluster["B"].commit_index) == outcome
