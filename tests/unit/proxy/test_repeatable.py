"""What may be sent again in the place of an error, and what must be told as it is."""

import pytest

from shardrouter.proxy.relay.repeatable import may_repeat
from shardrouter.wire import messages

INSERT = b"INSERT INTO orders VALUES (1, 2)"
ERROR = messages.error_response("ERROR", "SR001", "not mine")
READY = messages.ready()
PARSED, BOUND, NO_DATA = (messages.typed(kind) for kind in (b"1", b"2", b"n"))
ROWS = messages.row_description(["a"])
ROW = messages.data_row([b"1"])
DONE = messages.command_complete("INSERT 0 1")
SYNC, EXECUTE = messages.sync(), messages.execute("")


def prepared(name: bytes) -> bytes | None:
    return {b"": b"SELECT 1", b"mine": INSERT, b"call": b"CALL all_of_it()"}.get(name)


def may(sent: bytes, said: bytes) -> bool:
    return may_repeat(sent, said, prepared)


def batch(text: bytes = INSERT, name: str = "") -> bytes:
    return messages.parse(name, text) + messages.bind("", name, []) + EXECUTE + SYNC


@pytest.mark.parametrize(
    "text",
    [
        INSERT,
        INSERT + b" ;\n",
        b"  update t set a = 1 where b = 2",
        b"DELETE FROM t",
        b"MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
        b"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        b"SELECT put(1)",
    ],
)
@pytest.mark.parametrize("said", [ERROR, ERROR + READY])
def test_one_statement_that_undoes_itself(text: bytes, said: bytes) -> None:
    assert may(messages.query(text), said)
    assert may(batch(text), PARSED + BOUND + said)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b";",
        b"BEGIN",
        b"COMMIT",
        b"CALL put(1)",
        b"DO $$begin end$$",
        b"INSERT INTO t VALUES (1); COMMIT",
        b"INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
        b"SELECT pg_advisory_lock(1), put(1)",
        b"INSERT INTO t VALUES (setval('s', 1))",
        b"COPY t FROM STDIN",
        b"SELECT 1 INTO TEMP x",
        b"/* a */ COMMIT",
        b"VACUUM t",
        b"EXECUTE mine",
    ],
)
def test_other_texts_are_not_sent_again(text: bytes) -> None:
    assert not may(messages.query(text), ERROR + READY)
    assert not may(batch(text), PARSED + BOUND + ERROR + READY)


@pytest.mark.parametrize(
    "said",
    [
        ROWS + ROW + ERROR,
        messages.notice("NOTICE", "00000", "so it is") + ERROR + READY,
    ],
)
def test_answers_that_did_not_go_out_are_taken_back_too(said: bytes) -> None:
    assert may(messages.query(INSERT), said)


@pytest.mark.parametrize(
    "said",
    [
        messages.parameter_status("TimeZone", "UTC") + ERROR + READY,
        messages.typed(b"A", b"\0\0\0\1news\0\0") + ERROR + READY,
        DONE + ERROR + READY,
        ERROR + READY + READY,
        ERROR + ERROR,
        READY + ERROR,
        DONE + READY,
        b"",
        ERROR[:-1],
        ROW[3:] + ERROR,
    ],
)
def test_what_is_more_than_the_answer_is_passed_on(said: bytes) -> None:
    assert not may(messages.query(INSERT), said)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (batch(), ERROR),
        (batch(), PARSED + ERROR),
        (batch(), PARSED + BOUND + ERROR + READY),
        (batch(), PARSED + BOUND + DONE + ERROR + READY),  # refused as it was committed
        (batch(INSERT + b" RETURNING a"), PARSED + BOUND + ROW + ERROR),
        (messages.bind("", "mine", []) + EXECUTE + SYNC, BOUND + ERROR),
        (messages.bind("", "", []) + EXECUTE + SYNC, BOUND + ERROR),
        (
            messages.describe(b"S", "mine") + messages.bind("", "mine", []) + EXECUTE + SYNC,
            messages.parameter_description([]) + NO_DATA + BOUND + ERROR,
        ),
        (
            (messages.bind("", "mine", []) + EXECUTE) * 2 + messages.flush() + SYNC,
            BOUND + DONE + BOUND + ERROR + READY,
        ),
    ],
)
def test_batches(sent: bytes, said: bytes) -> None:
    assert may(sent, said)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(batch(name="named"), PARSED + BOUND + ERROR, id="a name would be taken"),
        pytest.param(batch() + batch(), PARSED + BOUND + ERROR, id="two batches"),
        pytest.param(batch()[:-5], PARSED + BOUND + ERROR, id="no Sync"),
        pytest.param(batch() + b"Q", PARSED + BOUND + ERROR, id="more is coming"),
        pytest.param(
            messages.bind("", "", []) + EXECUTE + SYNC, PARSED + BOUND + ERROR, id="begun before"
        ),
        pytest.param(EXECUTE + SYNC, BOUND + ERROR, id="bound before"),
        pytest.param(messages.bind("", "call", []) + EXECUTE + SYNC, BOUND + ERROR, id="CALL"),
        pytest.param(messages.bind("", "gone", []) + EXECUTE + SYNC, BOUND + ERROR, id="unknown"),
        pytest.param(
            messages.close(b"S", "mine") + batch(), PARSED + BOUND + ERROR, id="a name is closed"
        ),
        pytest.param(b"", ERROR + READY, id="nothing was sent"),
        pytest.param(messages.query(INSERT) * 2, ERROR + READY, id="two queries"),
    ],
)
def test_batches_that_are_not_sent_again(sent: bytes, said: bytes) -> None:
    assert not may(sent, said)
