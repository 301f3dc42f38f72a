"""Python functions as tools: the schemas of their signatures and docstrings."""

import enum
from typing import Annotated, Any, Literal, Optional, TypedDict

import pydantic
import pytest

import qwen3cpu
from qwen3cpu.text.tool_schemas import function_schema, tool_schemas


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict, total=False):
    x: float
    y: float


class Address(pydantic.BaseModel):
    street: str
    number: int = pydantic.Field(ge=1)


class Person(pydantic.BaseModel):
    name: str
    home: Address


def google(city: str, days: int = 3, *, exact: bool = False) -> str:
    """The weather of a city.

    Looks it up where weather is known.

    Args:
        city: Name of the city,
            in whatever language.
        days (int): How many days ahead.
        exact: Whether rain counts.

    Returns:
        Text.
    """
    return city


def plain(city: str, days: int, share: float = 0.5, exact: bool = False) -> str:
    """The weather of a city.

    Args:
        city: Name of the city.
        days: How many days ahead.
        share: Of the day.
        exact: Whether rain counts.
    """
    return city


def numpy_style(city: str, days: int = 3, *, exact: bool = False) -> str:
    """The weather of a city.

    Looks it up where weather is known.

    Parameters
    ----------
    city : str
        Name of the city,
        in whatever language.
    days : int, optional
        How many days ahead.
    exact
        Whether rain counts.

    Returns
    -------
    str
        Text.
    """
    return city


def sphinx(city: str, days: int = 3, *, exact: bool = False) -> str:
    """The weather of a city.

    Looks it up where weather is known.

    :param city: Name of the city,
        in whatever language.
    :param int days: How many days ahead.
    :param exact: Whether rain counts.
    :returns: Text.
    """
    return city


@pytest.mark.parametrize("function", [google, numpy_style, sphinx])
def test_docstrings(function):
    assert function_schema(function) == {
        "type": "function",
        "function": {
            "name": function.__name__,
            "description": "The weather of a city.\n\nLooks it up where weather is known.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city, in whatever language."},
                    "days": {"type": "integer", "description": "How many days ahead.", "default": 3},
                    "exact": {"type": "boolean", "description": "Whether rain counts.", "default": False},
                },
                "required": ["city"],
            },
        },
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (float, {"type": "number"}),
        (None, {"type": "null"}),
        (Any, {}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (
            dict[str, list[bool]],
            {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}},
        ),
        (int | None, {"type": ["integer", "null"]}),
        (Optional[str], {"type": ["string", "null"]}),  # noqa: UP045
        (int | list[int], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, "b"], {"enum": [1, "b"]}),
        (Colour, {"type": "string", "enum": ["red", "blue"]}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (Point, {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": []}),
    ],
    ids=str,
)
def test_annotations(annotation, schema):
    def function(value):
        pass

    function.__annotations__ = {"value": annotation}
    assert function_schema(function)["function"]["parameters"] == {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
    }


def test_pydantic_models_bring_their_definitions():
    def greet(person: Person, others: list[Person]) -> None:
        """Greet."""

    parameters = function_schema(greet)["function"]["parameters"]
    assert set(parameters["$defs"]) == {"Address"}
    assert parameters["properties"]["person"]["properties"]["home"] == {"$ref": "#/$defs/Address"}
    reader = qwen3cpu.text.tool_calls.CallReader(qwen3cpu.text.tool_calls.argument_validators([function_schema(greet)]))
    good = (
        '{"name": "greet", "arguments": {"person": {"name": "A", "home": {"street": "S", "number": %d}}, "others": []}}'
    )
    (call,) = reader.read(good % 1)
    assert isinstance(call, qwen3cpu.ToolCall)
    assert "arguments.person.home.number: 0 is less" in reader.read(good % 0).reason


def test_methods_and_strings_as_annotations():
    class Shop:
        def price(self, item: "str", old: "int | None" = None) -> float:
            """What it costs."""
            return 1.0

    described = function_schema(Shop().price)["function"]
    assert described["name"] == "price"
    assert described["parameters"] == {
        "type": "object",
        "properties": {"item": {"type": "string"}, "old": {"type": ["integer", "null"]}},
        "required": ["item"],
    }


def test_without_docstring_and_parameters():
    def now():
        return 0

    assert function_schema(now)["function"] == {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


def test_functions_and_schemas_side_by_side():
    schema = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert tool_schemas([schema, google]) == [schema, function_schema(google)]
    assert tool_schemas(None) is None


def test_simple_functions_are_described_as_in_transformers():
    utils = pytest.importorskip("transformers.utils")
    expected = utils.get_json_schema(plain)["function"]
    found = function_schema(plain)["function"]
    assert found["name"] == expected["name"]
    for name, each in expected["parameters"]["properties"].items():
        ours = found["parameters"]["properties"][name]
        assert (ours["type"], ours["description"].split()) == (each["type"], each["description"].split())
    assert found["parameters"]["required"] == expected["parameters"]["required"]


def positional(a: int, /) -> None: ...
def several(*a: int) -> None: ...
def keywords(**a: int) -> None: ...
def strange(a: bytes) -> None: ...
def keys(a: dict[int, str]) -> None: ...
def unknown(a: "Nowhere") -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional, "tools: positional: expected parameters that can be given by name, found a: int"),
        (several, r"tools: several: expected parameters that can be given by name, found \*a: int"),
        (keywords, r"found \*\*a: int"),
        (strange, r"tools: strange\(a\): expected an annotation that JSON can express, found <class 'bytes'>"),
        (keys, r"tools: keys\(a\): expected str for the keys of a dict, found <class 'int'>"),
        (unknown, "annotations of <function unknown .*> cannot be evaluated: name 'Nowhere'"),
        (lambda: None, "tools: expected a function with a name"),
    ],
)
def test_what_cannot_be_described(function, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        function_schema(function)
