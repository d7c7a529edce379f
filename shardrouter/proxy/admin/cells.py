"""Write values as the text of table cells. Pure."""

from collections.abc import Sequence


def row_of(values: Sequence[object]) -> list[bytes | None]:
    """Return a row as it travels: text, NULL for None."""
    return [
        None if value is None else text_of(value).encode("utf-8", "replace") for value in values
    ]


def text_of(value: object) -> str:
    """Return a value for people: yes and no, three decimals at most, lists with commas."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case list() | tuple():
            return ", ".join(text_of(each) for each in value)
        case None:
            return ""
        case _:
            return str(value)
