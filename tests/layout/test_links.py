"""What documents and code refer to exists."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.layout.sources import ROOT, SHIPPED, documents, name_of, python_files, require_none

LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
MENTION: Final = re.compile(r"docs/[\w/-]+\.md")


def test_links_resolve():
    broken = [
        f"{name_of(document)}: {target}"
        for document in documents()
        for target in LINK.findall(FENCE.sub("", document.read_text()))
        if not _resolves(document, target)
    ]
    require_none(broken)


def test_documents_named_in_code_exist():
    missing = {
        f"{name_of(path)}: {mention}"
        for path in python_files(*SHIPPED)
        for mention in MENTION.findall(path.read_text())
        if not (ROOT / mention).exists()
    }
    require_none(missing)


def test_every_document_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    unlisted = [
        name_of(path)
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path != index and path.resolve() not in linked
    ]
    require_none(unlisted)


@pytest.mark.parametrize(
    ("target", "resolves"),
    [
        ("CHANGELOG.md", True),
        ("CHANGELOG.md#changelog", True),
        ("CHANGELOG.md#no-such-heading", False),
        ("no-such-file.md", False),
        ("https://example.org/page", True),
    ],
)
def test_broken_links_are_found(target, resolves):
    assert _resolves(ROOT / "README.md", target) == resolves


def _resolves(document: Path, target: str) -> bool:
    if "://" in target or target.startswith("mailto:"):
        return True
    path, _, anchor = target.partition("#")
    file = (document.parent / path) if path else document
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(file: Path) -> set[str]:
    """Return the anchors GitHub makes of the headings."""
    headings = HEADING.findall(FENCE.sub("", file.read_text()))
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}
