"""Asking a node for a snapshot."""

from tests.support.coroutines import in_loop
from tests.support.gateway import gateway


@in_loop
async def test_a_snapshot_is_asked_for_and_seen_in_the_clusters_view() -> None:
    async with gateway() as g:
        before = (await g.call("GET", "/v1/cluster")).body
        assert before["snapshot_index"] == 0
        asked = await g.call("POST", "/v1/cluster/snapshot")
        assert (asked.status, asked.body["node"]) == (202, "n1")
        after = (await g.call("GET", "/v1/cluster")).body
        assert after["snapshot_index"] == before["applied_index"]


@in_loop
async def test_a_parameter_it_does_not_know_is_refused() -> None:
    async with gateway() as g:
        assert (await g.call("POST", "/v1/cluster/snapshot?now=1")).code == "bad_field"
        assert (await g.call("GET", "/v1/cluster")).body["snapshot_index"] == 0
