"""Say what is wrong with a value: its key path, what is allowed, and the key that was meant."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from shardrouter.config.dsn import public_dsn
from shardrouter.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings

SECRET_KEYS: Final = frozenset({"dsn", "function_dsn"})
_UNITS: Final = {"seconds": "seconds", "ms": "milliseconds", "kb": "kB", "mb": "MB"}


def describe_problems(error: ValidationError, environment: Mapping[str, str]) -> list[str]:
    """Return one line for each wrong value, with the variable it came from if it did."""
    return [_line(item, environment) for item in error.errors(include_url=False)]


def known_keys() -> dict[str, FieldInfo]:
    """Return every key path (``pool.size``) with its field."""
    return {
        f"{section}.{key}": field
        for section, model in sections().items()
        for key, field in model.model_fields.items()
    }


def sections() -> dict[str, type[BaseModel]]:
    """Return the model of each section."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def unknown_key(path: str) -> str:
    """Return the line about a key that does not exist, with the most similar one."""
    known = [*known_keys(), *sections()]
    section, _, key = path.rpartition(".")
    homes = [name for name in known if name.rpartition(".")[2] == (key or section)]
    longer = [name for name in known if name.startswith(path)]
    close = longer[:1] or get_close_matches(path, known, n=1) or homes[:1]
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{path} is not a setting{meant}"


def shown_value(path: str, value: Any) -> Any:
    """Return a value for people: passwords in connection strings masked."""
    return public_dsn(str(value)) if path.rpartition(".")[2] in SECRET_KEYS and value else value


def variable_of(path: str) -> str:
    """Return the environment variable that sets a key path."""
    return ENV_PREFIX + ENV_DELIMITER.join(path.upper().split("."))


def allowed(path: str, field: FieldInfo) -> str:
    """Return the allowed range of a number in words, with its unit, or an empty string."""
    bounds = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(item, name)
    }
    words = [
        f"{word} {bounds[name]:,}"
        for name, word in (("ge", "at least"), ("gt", "more than"), ("le", "at most"))
        if name in bounds
    ]
    unit = _UNITS.get(path.rpartition("_")[2], "")
    return " and ".join(words) + (f" {unit}" if unit and words else "")


def _line(item: Any, environment: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in item["loc"][:2])
    if item["type"] == "extra_forbidden":
        return unknown_key(path) + _source(path, environment)
    if item["type"] in ("model_type", "model_attributes_type"):
        return f"{path} is a section: write [{path}] and its keys below"
    field = known_keys()[path]
    value = "" if path.rpartition(".")[2] in SECRET_KEYS else f" = {item['input']!r}"
    rule = allowed(path, field)
    said = f"must be {rule}" if rule else str(item["msg"]).replace("Input should", "should")
    return f"{path}{value}: {said}{_source(path, environment)}"


def _source(path: str, environment: Mapping[str, str]) -> str:
    variable = variable_of(path)
    names = {name.upper() for name in environment}
    return f" (environment variable {variable})" if variable in names else ""


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return a line for each variable with our prefix that names no section."""
    known = sections()
    return [
        f"environment variable {name}: {unknown_key(section)}"
        for name in environment
        if name.upper().startswith(ENV_PREFIX)
        and (section := name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER)[0]) not in known
    ]
