"""Which servers may become a shard."""

from dataclasses import replace

import pytest

from shardrouter.control.admission import Findings, judge
from shardrouter.postgres import NodeFacts
from shardrouter.topology import KeyType, Node, NodeId, Role, Shard, ShardId

SHARD = Shard(
    ShardId("s0"),
    (
        Node(NodeId("s0-p"), Role.PRIMARY, "host=a"),
        Node(NodeId("s0-r1"), Role.REPLICA, "host=b"),
    ),
)
PRIMARY = NodeFacts(
    node=NodeId("s0-p"),
    shard=ShardId("s0"),
    version=180006,
    in_recovery=False,
    is_streaming=False,
    system_id="71",
    database="app",
    encoding="UTF8",
    wal_level="logical",
    max_prepared_transactions=64,
)
REPLICA = replace(PRIMARY, node=NodeId("s0-r1"), in_recovery=True, is_streaming=True)
OTHER = replace(PRIMARY, node=NodeId("s1-p"), shard=ShardId("s1"), system_id="72")


def findings(primary: NodeFacts = PRIMARY, replica: NodeFacts = REPLICA) -> Findings:
    return judge(SHARD, [primary, replica], [OTHER])


def test_good_servers_pass() -> None:
    assert findings() == Findings((), ())


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (findings(replace(PRIMARY, version=140011)), "s0-p runs PostgreSQL 14"),
        (findings(replace(PRIMARY, version=190000)), "s0-p runs PostgreSQL 19"),
        (findings(replace(PRIMARY, encoding="LATIN1")), "encoding LATIN1"),
        (findings(replace(PRIMARY, wrong_slots=(KeyType.UUID,))), "hashes uuid to other slots"),
        (findings(replace(PRIMARY, in_recovery=True)), "given as primary but is a replica"),
        (findings(replica=PRIMARY), "given as replica but is a primary"),
        (findings(replica=replace(REPLICA, system_id="9")), "not a replica of s0-p"),
        (findings(replica=replace(REPLICA, database="b")), "names the database 'b'"),
        (findings(replace(PRIMARY, system_id="72")), "s0-p is the database of shard s1"),
        (findings(replica=replace(REPLICA, system_id="72")), "s0-r1 is the database of shard s1"),
    ],
)
def test_problems(found: Findings, said: str) -> None:
    assert any(said in problem for problem in found.problems), found


def test_two_databases_of_one_server_are_two_shards() -> None:
    here = replace(OTHER, system_id="71", database="other")
    assert judge(SHARD, [PRIMARY, REPLICA], [here]).problems == ()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (findings(replica=replace(REPLICA, is_streaming=False)), "does not receive WAL"),
        (findings(replace(PRIMARY, max_prepared_transactions=0)), "will be refused"),
        (findings(replace(PRIMARY, wal_level="replica")), "cannot be moved"),
    ],
)
def test_notes_keep_nobody_out(found: Findings, said: str) -> None:
    assert found.problems == ()
    assert len(found.notes) == 1
    assert said in found.notes[0]
