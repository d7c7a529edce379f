"""The documents of the proxy's operation name what there is, and nothing else."""

import re
from pathlib import Path
from typing import Final

import pytest

from shardrouter.errors import AdminDenied, AdminError, AdminSyntaxError, NoSuchClient
from shardrouter.proxy.admin import COMMANDS, Command
from shardrouter.proxy.telemetry.metrics_export import to_prometheus
from shardrouter.proxy.telemetry.retired import Retired
from tests.support.proxy_snapshots import snapshot

DOCS: Final = Path(__file__).parents[3] / "docs"
SECTION: Final = re.compile(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`([^`]+)`")
METRIC: Final = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def sections() -> dict[str, str]:
    return dict(SECTION.findall((DOCS / "reference" / "proxy-admin.md").read_text()))


def columns_in(section: str) -> list[str]:
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in CODE.findall(row.split(" | ")[0])]


def test_every_command_has_a_section() -> None:
    assert sections().keys() == {each.usage for each in COMMANDS}


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.words)
def test_the_columns_are_those_of_the_command(each: Command) -> None:
    assert sorted(columns_in(sections()[each.usage])) == sorted(each.columns)


def test_the_errors_have_their_sqlstates() -> None:
    text = (DOCS / "reference" / "proxy-admin.md").read_text()
    for error in (AdminError, AdminDenied, AdminSyntaxError, NoSuchClient):
        assert f"| `{error.sqlstate}` |" in text


def page_of_the_proxy() -> str:
    text = (DOCS / "reference" / "metrics.md").read_text()
    return text.partition("\n## Moves\n")[0]  # those are not the proxy's


def test_every_metric_is_listed_with_type_and_labels() -> None:
    retired = Retired()
    retired.born(101)
    exported: dict[str, tuple[str, set[str]]] = {}
    text = to_prometheus([snapshot()], retired).decode()
    for name, kind in re.findall(r"^# TYPE shardrouter_proxy_(\w+) (\w+)$", text, re.MULTILINE):
        lines = re.findall(rf"^shardrouter_proxy_{name}\w*\{{(.*)\}}", text, re.MULTILINE)
        labels = {label for line in lines for label in re.findall(r'(\w+)="', line)}
        exported[name] = (kind, labels - {"le"})
    rows = METRIC.findall(page_of_the_proxy())
    assert {name: kind for name, kind, _ in rows} == {n: kind for n, (kind, _) in exported.items()}
    for name, _, labels in rows:
        assert exported[name][1] <= set(CODE.findall(labels)), name


def test_alerts_name_metrics_that_there_are() -> None:
    text = page_of_the_proxy()
    listed = {name for name, _, _ in METRIC.findall(text)}
    named = {
        re.sub(r"_bucket$", "", name)
        for name in re.findall(r"shardrouter_proxy_(\w+)[\[({ ]", text)
    }
    assert named
    assert named <= listed


def test_events_of_the_log_are_written_somewhere() -> None:
    text = (DOCS / "how-to" / "proxy-operate.md").read_text()
    table = text.partition("| event | when |")[2].partition("\n\n")[0]
    package = DOCS.parent / "shardrouter"
    code = "\n".join(path.read_text() for path in package.rglob("*.py"))
    for event in CODE.findall("\n".join(row.split(" | ")[0] for row in table.splitlines())):
        stem = "node_%s" if event.startswith("node_") else event
        assert f'"{stem} ' in code or f'"{stem}"' in code, event
