"""The data folder's owner: each start counts, another's folder is refused, damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.raft.identity import FILE_NAME, Identity, IdentityError, claim


def test_each_start_gets_a_greater_boot(tmp_path: Path) -> None:
    boots = [claim(tmp_path / "n1", cluster="c", node="n1").boot for _ in range(3)]
    assert boots == [1, 2, 3]


def test_a_folder_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    claim(tmp_path, cluster="c", node="n1")
    for cluster, node in (("c", "n2"), ("d", "n1")):
        with pytest.raises(IdentityError, match="belongs to node 'n1' of cluster 'c'"):
            claim(tmp_path, cluster=cluster, node=node)
    assert claim(tmp_path, cluster="c", node="n1") == Identity("c", "n1", 2)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"cluster":"c"}', b"\xff"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(data)
    with pytest.raises(IdentityError, match="is damaged"):
        claim(tmp_path, cluster="c", node="n1")
    assert file.read_bytes() == data
