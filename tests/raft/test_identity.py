"""The data folder's owner: each start is named anew; others' folders and damage are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.raft.identity import BOOT_RANDOM, FILE_NAME, Identity, IdentityError, claim

NOW_US = 1_800_000_000_000_000


def claim_n1(folder: Path, *, now_us: int = NOW_US) -> Identity:
    return claim(folder, cluster="c", node="n1", members=["n2", "n1"], now_us=now_us)


def test_each_start_gets_a_greater_boot_even_if_the_clock_went_back(tmp_path: Path) -> None:
    boots = [claim_n1(tmp_path / "n1", now_us=NOW_US - 1_000 * step).boot for step in range(5)]
    assert boots == sorted(set(boots))
    assert 0 < boots[-1] < 2**63


def test_a_wiped_folder_does_not_count_from_the_beginning(tmp_path: Path) -> None:
    """Its sessions would be taken for those of its earlier life."""
    first = claim_n1(tmp_path / "a").boot
    assert claim_n1(tmp_path / "b", now_us=NOW_US + 1).boot > first - BOOT_RANDOM
    draws = {claim_n1(tmp_path / f"c{number}").boot for number in range(20)}
    assert len(draws) > 10, "two starts of one microsecond differ too"


def test_the_list_of_members_cannot_be_changed_by_editing_it(tmp_path: Path) -> None:
    claim_n1(tmp_path)
    for members in (["n1"], ["n1", "n2", "n3"], ["n1", "n3"]):
        with pytest.raises(IdentityError, match="belongs to a member of n1, n2; the list cannot"):
            claim(tmp_path, cluster="c", node="n1", members=members, now_us=NOW_US)
    assert claim_n1(tmp_path).members == ("n1", "n2")


def test_a_folder_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    claim_n1(tmp_path)
    for cluster, node in (("c", "n2"), ("d", "n1")):
        with pytest.raises(IdentityError, match="belongs to node 'n1' of cluster 'c'"):
            claim(tmp_path, cluster=cluster, node=node, members=["n1", "n2"], now_us=NOW_US)
    assert claim_n1(tmp_path).node == "n1"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"cluster":"c"}', b"\xff"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(data)
    with pytest.raises(IdentityError, match="is damaged"):
        claim_n1(tmp_path)
    assert file.read_bytes() == data
