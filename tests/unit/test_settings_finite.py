"""TOML has inf and nan. No number of the settings makes sense as either, and both are told with file, key and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import inspect

import bridge.config
import cloud_agent.config
import edge_agent.config
from bridge.catalog.schema import Document
from bridge.errors import ConfigError
from bridge.settings import load
from edge_agent import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {
    "edge_agent.toml": edge_agent.config.Settings,
    "bridge.toml": bridge.config.Config,
    "cloud_agent.toml": cloud_agent.config.Settings,
    "model.toml": Document,
}


def numbers(info: inspect.Type, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every key that takes a number with a fraction: names, `[]` for an entry of a list."""
    match info:
        case inspect.Metadata():
            yield from numbers(info.type, way)
        case inspect.UnionType():
            for one in info.types:
                yield from numbers(one, way)
        case inspect.StructType():
            for field in info.fields:
                yield from numbers(field.type, (*way, field.encode_name))
        case inspect.ListType() | inspect.VarTupleType():
            yield from numbers(info.item_type, (*way, "[]"))
        case inspect.DictType():
            yield from numbers(info.value_type, (*way, "int8"))
        case inspect.FloatType():
            yield way


def document(way: tuple[str, ...], value: str) -> str:
    """TOML that says nothing but this."""
    for name in reversed(way[1:]):
        value = f"[{value}]" if name == "[]" else f"{{ {name} = {value} }}"
    return f"{way[0]} = {value}\n"


def cases() -> list[tuple[str, tuple[str, ...]]]:
    return [(name, way) for name, kind in FILES.items() for way in numbers(inspect.type_info(kind))]


def test_the_search_finds_the_keys() -> None:
    found = {(name, ".".join(way)) for name, way in cases()}
    assert found >= {
        ("edge_agent.toml", "agent.commit_wait"),
        ("edge_agent.toml", "streams.[].rate"),
        ("edge_agent.toml", "streams.[].freshness"),
        ("edge_agent.toml", "link.freshness"),
        ("edge_agent.toml", "link.fidelity.int8"),
        ("bridge.toml", "limits.gap"),
        ("bridge.toml", "routes.[].decode.scale"),
        ("bridge.toml", "overrides.[].price"),
        ("cloud_agent.toml", "limits.patience"),
        ("model.toml", "normalisation.mean.[]"),
    }


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(("name", "way"), cases())
def test_every_number_is_finite(tmp_path: Path, name: str, way: tuple[str, ...], value: str) -> None:
    file = tmp_path / name
    file.write_text(document(way, value))
    kind: Any = FILES[name]
    with pytest.raises(ConfigError) as caught:
        load(file, kind)
    key = ".".join(way).replace(".[]", "[0]")
    assert str(caught.value) == f"{file}: {key}: {value} is not a finite number"


@pytest.mark.parametrize(
    ("where", "key"), [("agent", "commit_wait"), ("stream", "rate"), ("stream", "speed"), ("link", "freshness")]
)
@pytest.mark.parametrize(("value", "why"), [("inf", "inf is not a finite number"), ("1e300", "Expected `float")])
def test_the_agent_does_not_start_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, key: str, value: str, why: str
) -> None:
    said = {"agent": "", "stream": "", "link": "", where: f"{key} = {value}\n"}
    file = tmp_path / "edge_agent.toml"
    file.write_text(
        f'[agent]\nsite = "s"\ndevice = "d"\nurl = "mqtt://127.0.0.1:1"\n{said["agent"]}'
        f'[[streams]]\nname = "a"\nsource = "stdin"\n{said["stream"]}[link]\n{said["link"]}'
    )
    assert cli.main(["run", "--config", str(file)]) == 2
    place = "streams[0]" if where == "stream" else where
    assert capsys.readouterr().err.startswith(f"edge-agent: {file}: {place}.{key}: {why}")


def test_numbers_nested_deeper_than_python_calls_are_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text(f"[bridge]\nid = {{ {'x.' * 3000}x = inf }}\n")
    with pytest.raises(ConfigError, match="inf is not a finite number"):
        load(file, bridge.config.Config)
