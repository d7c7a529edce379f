"""A service with an alembic environment as ``alembic init`` makes it."""

from pathlib import Path

from alembic import command
from alembic.config import Config

REVISION = '''"""{doc}"""

from alembic import op
{imports}
revision = "{name}"
down_revision = {before!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
'''


class AlembicService:
    """The files of a service's migrations, in a directory of their own."""

    def __init__(self, place: Path, template: str = "generic") -> None:
        self.place = place
        self.ini = place / "alembic.ini"
        place.mkdir()
        command.init(Config(str(self.ini)), str(place / "alembic"), template=template)
        self._last: str | None = None

    @property
    def env(self) -> Path:
        return self.place / "alembic" / "env.py"

    def add(self, name: str, upgrade: str, downgrade: str = "pass", imports: str = "") -> None:
        """Add a revision after the last one; ``upgrade`` is SQL, or Python after ``py:``."""
        text = REVISION.format(
            doc=f"revision {name}",
            imports=imports,
            name=name,
            before=self._last,
            upgrade=_code(upgrade),
            downgrade=_code(downgrade),
        )
        (self.place / "alembic" / "versions" / f"{name}.py").write_text(text)
        self._last = name


def _code(text: str) -> str:
    if text == "pass":
        return text
    return text.removeprefix("py:") if text.startswith("py:") else f"op.execute({text!r})"
