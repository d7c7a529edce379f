"""Mask what must not be logged: passwords, verifiers, keys. Pure."""

import re
from typing import Final

MASK: Final = "***"

_MAY_HOLD: Final = re.compile(r"(?i)passw|secret|://|scram-|md5|client-key")  # one quick look
_VALUE: Final = r"(?:'(?:[^'\\]|\\.|'')*'?|\"[^\"]*\"?|[^\s&;,'\"]+)"
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # libpq and our settings: password=x, sslpassword = 'x y', "password": "x"
    (
        re.compile(rf"(?i)(\w*(?:password|passwd|secret)\w*['\"]?\s*[=:]\s*){_VALUE}"),
        rf"\g<1>{MASK}",
    ),
    # SQL: PASSWORD 'x', PASSWORD E'x', PASSWORD $$x$$
    (re.compile(r"(?i)(\bpassword\s+)(?:e|u&)?'(?:[^'\\]|\\.|'')*'?"), rf"\g<1>'{MASK}'"),
    (re.compile(r"(?i)(\bpassword\s+)(\$\w*\$).*?(?:\2|$)", re.DOTALL), rf"\g<1>'{MASK}'"),
    # URLs: postgresql://user:x@host
    (re.compile(r"(\w://[^\s/:@]*:)[^\s/]+(@)"), rf"\g<1>{MASK}\g<2>"),
    (re.compile(r"(SCRAM-SHA-256)\$[^\s'\"]+"), rf"\g<1>${MASK}"),
    (re.compile(r"\bmd5[0-9a-f]{32}\b"), f"md5{MASK}"),
    (re.compile(r"(client-key:)[A-Za-z0-9+/=]+"), rf"\g<1>{MASK}"),
)


def masked(text: str) -> str:
    """Return the text without its secrets. It errs on the side of masking."""
    if _MAY_HOLD.search(text) is None:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
