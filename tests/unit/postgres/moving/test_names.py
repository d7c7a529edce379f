"""Names of artefacts are exact and fit the server's rules."""

import re
from uuid import UUID

from shardrouter.postgres.moving import artefact_name, cleaning_origin_name, session_name
from shardrouter.topology.move import Direction

FLEET = UUID("6f1ce1fe-6f58-4a55-a3dd-9b3bb4e9dd2b")


def test_a_name_tells_fleet_move_attempt_and_direction():
    assert artefact_name(FLEET, 12, 3, Direction.FORWARD) == "sr_6f1ce1fe_12_3_f"
    assert artefact_name(FLEET, 12, 3, Direction.BACK) == "sr_6f1ce1fe_12_3_r"
    assert cleaning_origin_name(FLEET, 12) == "sr_6f1ce1fe_12_clean"


def test_a_name_is_a_replication_slot_name():
    longest = artefact_name(FLEET, 2**63, 2**31, Direction.FORWARD)
    assert re.fullmatch(r"[a-z0-9_]{1,63}", longest)


def test_a_session_tells_move_and_token():
    assert session_name(12, 5) == "shardrouter-move-12-5"
