"""TOML files into frozen settings: a typo is an error that names file, key and the key that was meant.

The bridge and both agents describe their settings as `msgspec.Struct(frozen=True, forbid_unknown_fields=True)` whose
fields carry their documentation as `Annotated[..., msgspec.Meta(description=...)]`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")
_AT = re.compile(r"(?P<why>.*?)(?: - at `(?:key in )?\$\.?(?P<where>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]+)`")


class InvalidKey(ValueError):
    """What a settings class raises in `__post_init__` to blame one of its keys.

    Attributes:
        key: the key, relative to the class.
        why: what is wrong with it and what to do.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key
        self.why = why


def load(path: Path | str, kind: type[_T]) -> _T:
    """Settings of a TOML file.

    Args:
        path: the file.
        kind: the class that describes it.

    Raises:
        ConfigError: `file: key: why`, for a file that cannot be read, is no TOML, or does not fit the class.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as why:
        raise ConfigError(f"{file}: cannot be read: {why.strerror or why}") from why
    except UnicodeDecodeError as why:
        raise ConfigError(f"{file}: not UTF-8 at byte {why.start}") from why
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise ConfigError(f"{file}: not TOML: {why}") from why
    except RecursionError as why:
        raise ConfigError(f"{file}: nested too deeply") from why
    return parse(data, kind, name=str(file))


def parse(data: dict[str, Any], kind: type[_T], *, name: str) -> _T:
    """Settings of a mapping, as `load` after reading.

    Args:
        data: what TOML gave.
        kind: the class that describes it.
        name: what to call the mapping's origin in errors.

    Raises:
        ConfigError: `name: key: why`.
    """
    unknown = next(_unknown(data, msgspec.inspect.type_info(kind), ""), None)
    if unknown is not None:
        raise ConfigError(f"{name}: {unknown}")
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as why:
        raise ConfigError(f"{name}: {_explain(why)}") from why


def beside(config: Path | str, path: str) -> Path:
    """A path named in a config file: absolute as it is, relative to the folder of the file otherwise."""
    return Path(config).resolve().parent / Path(path).expanduser()


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _explain(error: msgspec.ValidationError) -> str:
    found = _AT.fullmatch(str(error))
    why, where = (found["why"], found["where"] or "") if found else (str(error), "")
    if isinstance(error.__cause__, InvalidKey):
        return f"{_join(where, error.__cause__.key)}: {error.__cause__.why}"
    missing = _MISSING.fullmatch(why)
    if missing:
        return f"{_join(where, missing['key'])}: missing"
    return f"{where}: {why}" if where else why


def _unknown(data: Any, info: msgspec.inspect.Type, where: str) -> Iterator[str]:
    """A sentence for every key that no class knows."""
    plain = _plain(info)
    if isinstance(plain, msgspec.inspect.StructType) and isinstance(data, dict):
        fields = {field.encode_name: field.type for field in plain.fields}
        for key, value in data.items():
            if key in fields:
                yield from _unknown(value, fields[key], _join(where, key))
            elif plain.forbid_unknown_fields:
                yield f"{_join(where, key)}: unknown key{_suggest(key, list(fields))}"
    elif isinstance(plain, msgspec.inspect.DictType) and isinstance(data, dict):
        for key, value in data.items():
            yield from _unknown(value, plain.value_type, _join(where, key))
    elif isinstance(plain, msgspec.inspect.ListType | msgspec.inspect.VarTupleType) and isinstance(data, list):
        for i, value in enumerate(data):
            yield from _unknown(value, plain.item_type, f"{where}[{i}]")


def _plain(info: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """The type without its documentation, and the class in `Section | None`; other unions stay as they are."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _plain(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        some = [one for one in info.types if not isinstance(one, msgspec.inspect.NoneType)]
        return _plain(some[0]) if len(some) == 1 else info
    return info


def _suggest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(sorted(known))}"
