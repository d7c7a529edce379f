"""What is taken out of a dump before it is run on another shard."""

from shardrouter.postgres.schema_dump import clean_script, kept_contents

LISTED = """;
; Archive created at 2026-11-25
;
211; 1259 16390 TABLE public orders postgres
3290; 2620 16411 TRIGGER public orders shout postgres
3291; 2620 16412 TRIGGER public orders zzz_shardrouter_guard postgres
3292; 3466 16413 EVENT TRIGGER - shardrouter_ddl postgres
"""


def test_own_triggers_stay_behind() -> None:
    ours = ["TRIGGER public orders zzz_shardrouter_guard", "EVENT TRIGGER - shardrouter_ddl"]
    kept = "".join(kept_contents(LISTED, ours))
    assert kept == LISTED[: LISTED.index("3291")]


def test_lines_for_psql_and_for_newer_servers_are_left_out() -> None:
    script = (
        "\\restrict abc\nSET transaction_timeout = 0;\nSET lock_timeout = 0;\n\\unrestrict abc\n"
    )
    assert clean_script(script) == "SET lock_timeout = 0;\n"
