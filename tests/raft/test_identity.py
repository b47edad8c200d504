"""The data folder's owner: minted once, bound once, each start named anew; damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.raft.formation import Accept, Found, Join, Refuse, cluster_id_of
from raft_exchange.raft.identity import BOOT_RANDOM, FILE_NAME, IdentityError, IdentityFile

NOW_US = 1_800_000_000_000_000
LIST = ("n1-a", "n2-b")
LIST_ID = cluster_id_of("c", LIST)


def open_n1(folder: Path, *, now_us: int = NOW_US, cluster: str = "c") -> IdentityFile:
    return IdentityFile.open(folder, cluster=cluster, name="n1", now_us=now_us)


def test_an_id_is_minted_once_for_each_folder(tmp_path: Path) -> None:
    """A wiped node is another node: it cannot vote as if it remembered."""
    first = open_n1(tmp_path / "a").current.node
    name, _, drawn = first.partition("-")
    assert name == "n1"
    assert len(bytes.fromhex(drawn)) == 6
    assert open_n1(tmp_path / "a").current.node == first
    assert open_n1(tmp_path / "b").current.node != first


def test_each_start_gets_a_greater_boot_even_if_the_clock_went_back(tmp_path: Path) -> None:
    boots = [open_n1(tmp_path, now_us=NOW_US - 1_000 * step).current.boot for step in range(5)]
    assert boots == sorted(set(boots))
    assert 0 < boots[-1] < 2**63


def test_a_wiped_folder_does_not_count_from_the_beginning(tmp_path: Path) -> None:
    """Its sessions would be taken for those of its earlier life."""
    first = open_n1(tmp_path / "a").current.boot
    assert open_n1(tmp_path / "b", now_us=NOW_US + 1).current.boot > first - BOOT_RANDOM
    draws = {open_n1(tmp_path / f"c{number}").current.boot for number in range(20)}
    assert len(draws) > 10, "two starts of one microsecond differ too"


def test_what_was_accepted_refused_and_founded_is_there_after_a_restart(tmp_path: Path) -> None:
    file = open_n1(tmp_path)
    file.apply(Accept(("n1-a", "n3")))
    file.apply(Refuse(("n1-a", "n4")))
    assert open_n1(tmp_path).current.accepted == ("n1-a", "n3")
    file.apply(Refuse(("n1-a", "n3")))
    file.apply(Accept(LIST))
    file.apply(Found(LIST, LIST_ID, ()))
    found = open_n1(tmp_path).current
    assert (found.accepted, found.founders, found.cluster_id) == (LIST, LIST, LIST_ID)
    refused = [("n1-a", "n4"), ("n1-a", "n3")]
    assert found.refused == tuple(cluster_id_of("c", ids) for ids in refused)


def test_a_joiner_is_bound_to_the_cluster_and_founded_nothing(tmp_path: Path) -> None:
    open_n1(tmp_path).apply(Join(LIST_ID, ()))
    found = open_n1(tmp_path).current
    assert (found.cluster_id, found.founders) == (LIST_ID, ())


def test_whoever_is_bound_stays_bound(tmp_path: Path) -> None:
    file = open_n1(tmp_path)
    file.apply(Join(LIST_ID, ()))
    for decided in (Accept(LIST), Refuse(LIST), Join("0" * 32, ())):
        with pytest.raises(AssertionError, match="for ever"):
            file.apply(decided)


def test_a_second_list_is_not_accepted_and_no_other_is_founded(tmp_path: Path) -> None:
    file = open_n1(tmp_path)
    file.apply(Accept(LIST))
    with pytest.raises(AssertionError, match="one list"):
        file.apply(Accept(("n1-a", "n3")))
    with pytest.raises(AssertionError, match="what was accepted"):
        file.apply(Found(("n1-a", "n3"), "0" * 32, ()))
    with pytest.raises(AssertionError, match="may be founded"):
        file.apply(Join("0" * 32, ()))


def test_a_list_given_to_every_node_cannot_be_changed_by_editing_it(tmp_path: Path) -> None:
    open_n1(tmp_path).found_with(["n2", "n1"])
    for members in (["n1"], ["n1", "n2", "n3"], ["n1", "n3"]):
        with pytest.raises(IdentityError, match="belongs to a member of n1, n2; the list cannot"):
            open_n1(tmp_path).found_with(members)
    open_n1(tmp_path).found_with(["n1", "n2"])


def test_a_folder_from_before_ids_were_minted_goes_on_as_a_founder(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(
        b'{"cluster":"c","node":"n1","members":["n1","n2"],"boot":17}'
    )
    found = open_n1(tmp_path).current
    assert (found.node, found.name) == ("n1", "n1")
    assert found.founders == found.accepted == ("n1", "n2")
    assert found.cluster_id == cluster_id_of("c", ["n2", "n1"])
    assert found.boot >= NOW_US * BOOT_RANDOM
    assert open_n1(tmp_path).current.cluster_id == found.cluster_id


def test_a_folder_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    open_n1(tmp_path)
    for cluster, name in (("c", "n2"), ("d", "n1")):
        with pytest.raises(IdentityError, match="belongs to node 'n1' of cluster 'c'"):
            IdentityFile.open(tmp_path, cluster=cluster, name=name, now_us=NOW_US)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"cluster":"c"}', b"\xff"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(data)
    with pytest.raises(IdentityError, match="is damaged"):
        open_n1(tmp_path)
    assert file.read_bytes() == data


def test_a_changed_byte_anywhere_is_told(tmp_path: Path) -> None:
    """A flipped bit in the id would make another node of it."""
    open_n1(tmp_path).apply(Accept(LIST))
    file = tmp_path / FILE_NAME
    data = file.read_bytes()
    for place in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(data)
            changed[place] ^= flip
            file.write_bytes(changed)
            with pytest.raises(IdentityError, match=r"identity\.json is damaged"):
                open_n1(tmp_path)
