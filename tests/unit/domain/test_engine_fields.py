"""vLLM's engine arguments, read from source text."""

from __future__ import annotations

import dataclasses

import pytest

from tslc.adapters.vllm_source import packaged_engine_fields, parse_installed
from tslc.domain.annotations import choices, expand, fits, human_number
from tslc.domain.engine_fields import (
    EngineField,
    alias_modules,
    engine_fields,
    literal_aliases,
    parse_engine_fields,
    render_engine_fields,
)

SOURCE = '''
from vllm.config.cache import CacheDType
from vllm.config.model import Kind

@dataclass
class EngineArgs:
    """Words."""
    model: str = Config.model
    cache: CacheDType = "auto"
    length: int | None = None
    _private: int = 0
    quoted: "dict[str, Any] | None" = None
    def method(self): ...

@dataclass
class AsyncEngineArgs(EngineArgs):
    log: bool = False
    length: int = 1
'''


def test_inherited_fields_come_first_and_may_be_overridden() -> None:
    fields = engine_fields(SOURCE, version="1", aliases={"CacheDType": "Literal['auto', 'fp8']"})
    assert list(fields.fields) == ["model", "cache", "length", "quoted", "log"]
    assert fields.fields["cache"].annotation == "Literal['auto', 'fp8']"
    assert fields.fields["length"] == EngineField("int", "1")
    assert fields.fields["quoted"].annotation == "dict[str, Any] | None"


def test_a_source_without_the_class_is_refused() -> None:
    with pytest.raises(LookupError):
        engine_fields("x = 1", version="1", aliases={})
    with pytest.raises(SyntaxError):
        engine_fields("class", version="1", aliases={})


def test_the_modules_that_define_the_annotations_are_named() -> None:
    assert alias_modules(SOURCE) == ("vllm.config.cache", "vllm.config.model")


def test_literals_are_found_with_and_without_an_annotation() -> None:
    source = "A = Literal['x']\nB: TypeAlias = Literal['y']\nC = list[int]\nD = 3"
    assert literal_aliases([source]) == {"A": "Literal['x']", "B": "Literal['y']"}


def test_the_packaged_list_is_the_vllm_installed() -> None:
    """When it is not: write render_engine_fields(parse_installed()) to the packaged file."""
    installed = parse_installed()
    if installed is None:
        pytest.skip("no vLLM is installed")
    assert dataclasses.replace(installed, installed=False) == packaged_engine_fields()


def test_the_packaged_list_has_what_model_configs_use() -> None:
    packaged = packaged_engine_fields()
    assert packaged.vllm_version == "0.32.0"
    assert not packaged.installed
    names = {"model", "tensor_parallel_size", "enable_log_requests", "gpu_memory_utilization"}
    assert names <= set(packaged.fields)


def test_what_is_rendered_is_parsed_again() -> None:
    fields = packaged_engine_fields()
    assert parse_engine_fields(render_engine_fields(fields)) == fields


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("int", 1, True),
        ("int", True, False),
        ("int", 1.5, False),
        ("int", "1", False),
        ("float", 1, True),
        ("bool", 1, False),
        ("str | None", None, True),
        ("str", None, False),
        ("str | list[str]", ["a"], True),
        ("str | list[str]", [1], False),
        ("dict[str, str]", {"a": 1}, False),
        ("dict[str, list[int]]", {"a": [1]}, True),
        ("Literal['a', Literal['b']]", "b", True),
        ("Literal[1, 8]", True, False),
        ("Optional[int]", None, True),
        ("SomeClass", {"anything": 1}, True),
        ("SomeClass | None", 3, True),
        ("type[Executor] | int", "x", True),
        ("set[str]", ["a"], True),
    ],
)
def test_only_what_is_surely_wrong_does_not_fit(
    annotation: str, value: object, expected: bool
) -> None:
    assert fits(annotation, value) is expected


def test_aliases_inside_aliases_are_expanded_and_circles_are_not() -> None:
    aliases = {"A": "Literal['x', B]", "B": "Literal['y']", "C": "list[C]"}
    assert choices(expand("A | None", aliases)) == ("x", "y")
    assert expand("C", aliases) == "list[C]"


def test_numbers_are_read_as_vllms_command_line_does() -> None:
    assert human_number("16k") == 16_000
    assert human_number("16K") == 16_384
    assert human_number("1.5k") == 1_500
    assert human_number("-1") == -1
    assert human_number("1.5K") is None
    assert human_number("many") is None
