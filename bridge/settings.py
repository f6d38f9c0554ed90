"""TOML files into frozen settings: a typo is an error that names file, key and the key that was meant.

The bridge and both agents describe their settings as `msgspec.Struct(frozen=True, forbid_unknown_fields=True)` whose
fields carry their documentation as `Annotated[..., msgspec.Meta(description=...)]`.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from functools import reduce
from itertools import chain
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_T = TypeVar("_T")
_Step: TypeAlias = "str | int"
_AT = re.compile(r"(?P<why>.*?)(?: - at (?:`key` in )?`\$\.?(?P<where>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
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
    problem = next(chain(_unknown(data, msgspec.inspect.type_info(kind), ""), _not_finite(data)), None)
    if problem is not None:
        raise ConfigError(f"{name}: {problem}")
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as why:
        raise ConfigError(f"{name}: {_explain(why, data, kind)}") from why


def beside(config: Path | str, path: str) -> Path:
    """A path named in a config file: absolute as it is, relative to the folder of the file otherwise."""
    return Path(config).resolve().parent / Path(path).expanduser()


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _explain(error: msgspec.ValidationError, data: dict[str, Any], kind: type) -> str:
    found = _AT.fullmatch(str(error))
    why, where = (found["why"], found["where"] or "") if found else (str(error), "")
    way, where = _named(where, str(error), data, kind)
    if why.startswith("Invalid enum value") and (values := _values(msgspec.inspect.type_info(kind), way)):
        why += f"; there are {', '.join(map(str, values))}"
    if isinstance(error.__cause__, InvalidKey):
        return f"{_join(where, error.__cause__.key)}: {error.__cause__.why}"
    missing = _MISSING.fullmatch(why)
    if missing:
        return f"{_join(where, missing['key'])}: missing"
    return f"{where}: {why}" if where else why


def _named(where: str, error: str, data: Any, kind: type) -> tuple[list[_Step], str]:
    """The way to a place that msgspec tells, in steps and in words; keys of mappings, for it `[...]`, by their names.

    Such a key is the one that gives the same error when it stands alone.
    """
    way: list[_Step] = []
    words = ""
    for i, part in enumerate(where.split("[...]")):
        if i:
            mapping = reduce(getitem, way, data)
            alike = (key for key in mapping if _error(_with(data, way, {key: mapping[key]}), kind) == error)
            key = next(alike, None)
            if key is None:
                return way, where
            words = _join(words, key)
            way.append(key)
        words += part
        way += [int(index) if index else name for index, name in _STEP.findall(part)]
    return way, words


def _with(data: Any, way: Sequence[_Step], value: Any) -> Any:
    """A copy with another value there."""
    if not way:
        return value
    copy = data.copy()
    copy[way[0]] = _with(data[way[0]], way[1:], value)
    return copy


def _error(data: Any, kind: type) -> str:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as why:
        return str(why)
    return ""


def _values(info: msgspec.inspect.Type, way: Sequence[_Step]) -> Sequence[Any]:
    """What may stand there, or be a key there, of a `Literal`; of anything else nothing."""
    for step in way:
        match _plain(info):
            case msgspec.inspect.StructType(fields=fields):
                info = next(field.type for field in fields if field.encode_name == step)
            case msgspec.inspect.DictType(value_type=inner):
                info = inner
            case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.VarTupleType(item_type=inner):
                info = inner
            case _:
                return ()
    plain = _plain(info)
    if isinstance(plain, msgspec.inspect.DictType):
        plain = _plain(plain.key_type)
    return plain.values if isinstance(plain, msgspec.inspect.LiteralType) else ()


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


def _not_finite(data: Any) -> Iterator[str]:
    """A sentence for every nan and inf, which TOML has: an inf passes a bound such as `ge`.

    No recursion: dotted keys nest as deeply as they like.
    """
    left = [("", data)]
    while left:
        where, value = left.pop()
        if isinstance(value, dict):
            left.extend((_join(where, key), inner) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            left.extend((f"{where}[{i}]", inner) for i, inner in reversed(list(enumerate(value))))
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{where}: {value} is not a finite number"


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
