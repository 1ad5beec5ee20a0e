"""A value that a JSON schema allows, chosen by a number: what a model that follows `response_format` would say.

What comes in: a schema and a source of choices. What goes out: a JSON value. It knows the words that structured
outputs use (type, enum, const, properties, required, items, prefixItems, anyOf, oneOf, allOf, $ref, lengths and
ranges); `pattern` and `format` are beyond it, but for dates, times and addresses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Pick = Callable[[int], int]  # of n things, which

DEEPEST = 8
WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath")
FORMATS = {
    "date": "2024-05-17",
    "time": "12:30:00Z",
    "date-time": "2024-05-17T12:30:00Z",
    "duration": "PT5M",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "6f1c2a52-6b1e-4d0e-9a70-1f2d3c4b5a69",
    "uri": "https://example.org/",
}


def example(schema: Any, pick: Pick) -> Any:
    """A value that the schema allows."""
    return _Maker(schema, pick).value(schema, 0)


class _Maker:
    def __init__(self, root: Any, pick: Pick) -> None:
        self._root = root
        self._pick = pick

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return "any"
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._pick(len(schema["enum"]))]
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                ways = schema[name]
                return self.value(ways[self._pick(len(ways)) if depth < DEEPEST else _plainest(ways)], depth + 1)
        return self._of_type(schema, depth)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        for _ in range(DEEPEST):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                break
            schema = {k: v for k, v in schema.items() if k != "$ref"} | self._at(reference)
        for part in schema.get("allOf", ()):
            schema = _joined(schema, self._resolved(part))
        return schema

    def _at(self, reference: str) -> dict[str, Any]:
        place = self._root
        for step in reference.lstrip("#").strip("/").split("/"):
            if step:
                place = place.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(place, dict) else {}
        return place if isinstance(place, dict) else {}

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[self._pick(len(kind))] if depth < DEEPEST or "null" not in kind else "null"
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return bool(self._pick(2))
            case "null":
                return None
            case _:
                return self._string(schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = properties if depth < DEEPEST else [name for name in properties if name in required]
        return {name: self.value(properties[name], depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = [self.value(one, depth + 1) for one in schema.get("prefixItems") or ()]
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, 2))
        wanted = min(most, max(least, 1)) if depth < DEEPEST else least
        return first + [self.value(schema.get("items", {}), depth + 1) for _ in range(wanted - len(first))]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        step = schema.get("multipleOf") or (1 if whole else 0.25)
        low, high = schema.get("minimum"), schema.get("maximum")
        if "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + step
        if "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - step
        if low is None:
            low = 0 if high is None or high >= 0 else high - 10 * step
        if high is None:
            high = low + 10 * step
        first, last = math.ceil(low / step), math.floor(high / step)
        if last < first:
            return low if not whole else math.ceil(low)
        number = (first + self._pick(min(last - first + 1, 1 << 30))) * step
        return int(number) if whole else number

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        text = WORDS[self._pick(len(WORDS))]
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        while len(text) < least:
            text += " " + WORDS[self._pick(len(WORDS))]
        return text if most is None else text[:most]


def _plainest(ways: list[Any]) -> int:
    """Where a schema goes in circles: a way that ends, if there is one."""
    ends = {"null", "string", "integer", "number", "boolean"}
    return next((k for k, way in enumerate(ways) if isinstance(way, dict) and way.get("type") in ends), 0)


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joined = one | other
    if "properties" in one and "properties" in other:
        joined["properties"] = one["properties"] | other["properties"]
        joined["required"] = [*one.get("required", ()), *other.get("required", ())]
    return joined
