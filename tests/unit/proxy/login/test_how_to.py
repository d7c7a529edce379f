"""What the how-to tells people to write is understood."""

import re
import tomllib
from pathlib import Path

import pytest

from shardrouter.config import ProxyAuthSettings
from shardrouter.proxy.login.fetch import VerifierFetch
from shardrouter.proxy.login.rules import Method, read_rules

TEXT = (Path(__file__).parents[4] / "docs/how-to/proxy-logins.md").read_text()
BLOCKS = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)]


def test_there_are_settings():
    assert len(BLOCKS) == 3
    assert read_rules(ProxyAuthSettings().rules).methods == {Method.TRUST, Method.SCRAM}


@pytest.mark.parametrize("block", BLOCKS)
def test_settings(block):
    settings = ProxyAuthSettings(**block["proxy_auth"])
    rules = read_rules(settings.rules)
    if settings.tls == "require":
        people = rules.decide("ann", "app", "10.30.0.1", has_tls=True)
        service = rules.decide("orders", "app", "10.20.1.1", has_tls=True)
        assert (people, service) == (Method.CERTIFICATE, Method.SCRAM)
        assert rules.decide("ann", "app", "10.20.1.1", has_tls=True) is None
    if settings.function:
        VerifierFetch(settings.function, lambda: settings.function_dsn, 10, lambda: 0.0)
