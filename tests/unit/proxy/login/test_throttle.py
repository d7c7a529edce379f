import pytest

from shardrouter.proxy.login.throttle import MOST_KEYS, Throttle


def failed(throttle, count, address="192.0.2.7", user="ann", now=0.0):
    for _ in range(count):
        throttle.failed(address, user, now)


def test_failures_below_the_bound_do_not_wait():
    throttle = Throttle(60)
    failed(throttle, 59)
    assert throttle.wait_seconds("192.0.2.7", "ann", 0.0) == 0
    failed(throttle, 1)
    assert throttle.wait_seconds("192.0.2.7", "ann", 0.0) == pytest.approx(1.0)
    assert throttle.wait_seconds("192.0.2.7", "ann", 1.0) == 0


def test_after_the_wait_one_more_may_fail():
    throttle = Throttle(6)
    failed(throttle, 6)
    now = 0.0
    for _ in range(5):
        wait = throttle.wait_seconds("192.0.2.7", "ann", now)
        assert wait == pytest.approx(10.0)
        now += wait
        assert throttle.wait_seconds("192.0.2.7", "ann", now) == 0
        failed(throttle, 1, now=now)


def test_both_the_address_and_the_user_count():
    throttle = Throttle(6)
    failed(throttle, 6)
    assert throttle.wait_seconds("192.0.2.7", "bob", 0.0) > 0
    assert throttle.wait_seconds("192.0.2.8", "ann", 0.0) > 0
    assert throttle.wait_seconds("192.0.2.8", "bob", 0.0) == 0


def test_nobody_locks_a_service_out():
    throttle = Throttle(6)
    throttle.succeeded("192.0.2.1", "ann")
    failed(throttle, 20)
    assert throttle.wait_seconds("192.0.2.1", "ann", 0.0) == 0
    failed(throttle, 1, address="192.0.2.1")
    assert throttle.wait_seconds("192.0.2.1", "ann", 0.0) > 0


def test_an_ipv6_subscriber_is_one_place():
    throttle = Throttle(6)
    for number in range(6):
        failed(throttle, 1, address=f"2001:db8::{number:x}", user=f"user{number}")
    assert throttle.wait_seconds("2001:db8::ffff%eth0", "other", 0.0) > 0
    assert throttle.wait_seconds("2001:db8:0:1::1", "other", 0.0) == 0
    failed(throttle, 6, address="::ffff:192.0.2.7")
    assert throttle.wait_seconds("192.0.2.7", "other", 0.0) > 0


def test_memory_is_bounded():
    throttle = Throttle(60)
    for number in range(MOST_KEYS + 10):
        throttle.failed("192.0.2.7", f"user{number}", 0.0)
        throttle.succeeded("192.0.2.7", f"user{number}")
    assert len(throttle._levels) == MOST_KEYS
    assert len(throttle._friends) == MOST_KEYS
