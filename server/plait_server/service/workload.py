"""How much work a JSON Schema makes at one place of a document, found out before it is used.

The validator is native code: nothing interrupts it, and the process stands still meanwhile. A short schema
can ask so much of it that it never ends: `$ref`s that double at each step, or alternatives that double at
each level of a document. So a schema is followed here level by level as a document would be, with how many
times each of its parts applies to one place; where that passes a bound, the schema is refused. What applies
once and again at each level, as in a tree, comes to the same for ever and is fine.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from plait_merge import InvalidPointer, Json, array_index, format_pointer, parse_pointer

CHECKS_MAX: Final = 500
"""Parts of a schema that apply to one place of a document; costly ones count as several."""
NESTED_MAX: Final = 1_500
"""Parts within parts that are under way at once: each takes a piece of the stack."""
PATTERNS_MAX: Final = 50
STEPS_MAX: Final = 500_000

PATTERN_WEIGHT: Final = 10
UNIQUE_WEIGHT: Final = 100
CONTAINER_WEIGHT: Final = 5
"""Of an object or array among the values of an `enum`: each is compared with what is there."""
VALUES_PER_CHECK: Final = 10
INTEGER_MAX: Final = 2**64 - 1

Tokens = tuple[str, ...]
State = tuple[tuple[int, int], ...]
"""Which parts of a schema apply to a place, and how many times."""

_FOREIGN: Final = ("$id", "$schema", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor")


class SchemaError(ValueError):
    """A schema that cannot be used: `pointer` says where in it."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(pointer, detail)
        self.pointer = pointer
        self.detail = detail


class Workload(NamedTuple):
    """What a schema costs: `checks` at one place at most; `branches` where it tries alternatives."""

    checks: int
    branches: bool


def measure(schema: Json, depth_max: int) -> Workload:
    """Measure the work of a schema, whose form is checked already, on documents so deep at most.

    Raises SchemaError where it is too much, and for what refers to anything but the schema itself. Cost: well
    under a second, whatever the schema is.
    """
    _check_words(schema)
    return _Levels(schema).follow(depth_max)


def _check_words(schema: Json) -> None:
    """Refuse words by which a part of a schema is looked for elsewhere, and too many patterns."""
    patterns = 0
    waiting: list[tuple[Tokens, Json]] = [((), schema)]
    while waiting:
        place, part = waiting.pop()
        if isinstance(part, dict):
            for word in _FOREIGN:
                if isinstance(part.get(word), str) and (place or word not in ("$id", "$schema")):
                    raise SchemaError(format_pointer((*place, word)), f"{word} is not supported here")
            pattern, patterned = part.get("pattern"), part.get("patternProperties")
            patterns += isinstance(pattern, str) + (len(patterned) if isinstance(patterned, dict) else 0)
            if patterns > PATTERNS_MAX:
                raise SchemaError(format_pointer(place), f"a schema has up to {PATTERNS_MAX} patterns")
            waiting += [((*place, name), each) for name, each in part.items()]
        elif isinstance(part, list):
            waiting += [((*place, str(index)), each) for index, each in enumerate(part)]
        elif isinstance(part, int) and abs(part) > INTEGER_MAX:
            raise SchemaError(format_pointer(place), "an integer of a schema is below 2^64")


class _Part(NamedTuple):
    """A subschema: its own weight, and the subschemas (by number) that it applies, and where."""

    place: Tokens
    weight: int
    here: tuple[int, ...]
    members: Mapping[str, int]
    each_member: tuple[int, ...]
    other_members: tuple[int, ...]
    names: tuple[int, ...]
    first_elements: tuple[int, ...]
    other_elements: tuple[int, ...]
    each_element: tuple[int, ...]


class _Flat(NamedTuple):
    """A subschema and all that it applies to the same place."""

    parts: Counter[int]
    weight: int
    nested: int


class _Levels:
    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self._numbers: dict[Tokens, int] = {}
        self._places: list[tuple[Tokens, Json]] = []
        self._parts: dict[int, _Part] = {}
        self._flat: dict[int, _Flat] = {}
        self._below: dict[State, tuple[set[State], int]] = {}
        self._steps = 0
        self._checks = 0
        self._branches = False

    def follow(self, depth_max: int) -> Workload:
        """Follow the schema from the root of a document down."""
        level: set[State] = {((self._number((), self._schema), 1),)}
        nested = 0
        for _ in range(depth_max + 1):
            if not level:
                break
            below: set[State] = set()
            deepest = 0
            for state in level:
                if state not in self._below:
                    self._below[state] = self._descend(state)
                states, height = self._below[state]
                below |= states
                deepest = max(deepest, height)
            nested += deepest + 1
            if nested > NESTED_MAX:
                raise self._refused(next(iter(level)), "nests too many parts in one another")
            level = below
        return Workload(self._checks, self._branches)

    def _descend(self, state: State) -> tuple[set[State], int]:
        """Give what applies to the parts of a place, given what applies to it, and how deep that nests."""
        parts: Counter[int] = Counter()
        weight = nested = 0
        for number, times in state:
            flat = self._flatten(number, 0)
            weight += times * flat.weight
            nested = max(nested, flat.nested)
            for each, count in flat.parts.items():
                parts[each] += times * count
        if weight > CHECKS_MAX:
            raise self._refused(state, f"makes more than {CHECKS_MAX} checks at one place of a document")
        self._checks = max(self._checks, weight)
        return {_state(below) for below in self._parts_of_a_place(parts, state) if below}, nested

    def _parts_of_a_place(self, parts: Counter[int], state: State) -> Iterator[Counter[int]]:
        applied = [(self._part(number), times) for number, times in parts.items()]
        names = {name for part, _ in applied for name in part.members}
        elements = max((len(part.first_elements) for part, _ in applied), default=0)
        self._steps += len(applied) * (len(names) + elements + 3)
        if self._steps > STEPS_MAX:
            raise self._refused(state, "is too intricate")
        for name in (*names, None):
            below: Counter[int] = Counter()
            for part, times in applied:
                own = part.members.get(name) if name is not None else None
                for number in (*part.each_member, *(part.other_members if own is None else (own,))):
                    below[number] += times
            yield below
        for index in range(elements + 1):
            below = Counter()
            for part, times in applied:
                first = part.first_elements[index : index + 1] or part.other_elements
                for number in (*part.each_element, *first):
                    below[number] += times
            yield below
        below = Counter()
        for part, times in applied:
            for number in part.names:
                below[number] += times
        yield below

    def _flatten(self, number: int, around: int) -> _Flat:
        """Put together what a subschema applies to one place. `around` are those it is applied by."""
        flat = self._flat.get(number)
        if flat is not None:
            return flat
        part = self._part(number)
        if around > CHECKS_MAX // 4:
            # Also where it leads back to itself without going deeper into the document.
            raise SchemaError(format_pointer(part.place), "the schema refers to itself, or nests too deep")
        parts, weight, nested = Counter([number]), part.weight, 0
        for each in part.here:
            inner = self._flatten(each, around + 1)
            weight += inner.weight
            nested = max(nested, inner.nested)
            if weight > CHECKS_MAX:
                raise self._refused(
                    ((each, 1),), f"makes more than {CHECKS_MAX} checks at one place of a document"
                )
            parts.update(inner.parts)
        flat = self._flat[number] = _Flat(parts, weight, nested + 1)
        return flat

    def _part(self, number: int) -> _Part:
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = self._read(*self._places[number])
        return part

    def _read(self, place: Tokens, schema: Json) -> _Part:
        if not isinstance(schema, dict):
            return _Part(place, 1, (), {}, (), (), (), (), (), ())

        def one(*words: str) -> tuple[int, ...]:
            return tuple([self._number((*place, word), schema[word]) for word in words if word in schema])

        def several(word: str) -> dict[str, int]:
            value = schema.get(word, {})
            entries = enumerate(value) if isinstance(value, list) else value.items()
            return {
                str(name): self._number((*place, word, str(name)), each)
                for name, each in entries
                if isinstance(each, dict | bool)
            }

        alternatives = (*several("anyOf").values(), *several("oneOf").values(), *one("if", "not"))
        here = (
            *alternatives,
            *several("allOf").values(),
            *one("then", "else"),
            *several("dependentSchemas").values(),
            *several("dependencies").values(),
            *self._referred(place, schema),
        )
        if alternatives or "contains" in schema or "propertyNames" in schema:
            self._branches = True
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
            # What was looked at is found out by looking again.
            self._branches = True
            here += here
        return _Part(
            place=place,
            weight=_weight(schema),
            here=here,
            members=several("properties"),
            each_member=tuple(several("patternProperties").values()),
            other_members=one("additionalProperties", "unevaluatedProperties"),
            names=one("propertyNames"),
            first_elements=tuple(several("prefixItems").values()),
            other_elements=one("items"),
            each_element=one("contains", "unevaluatedItems"),
        )

    def _referred(self, place: Tokens, schema: dict[str, Json]) -> tuple[int, ...]:
        reference = schema.get("$ref")
        if reference is None:
            return ()
        where = format_pointer((*place, "$ref"))
        if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
            raise SchemaError(where, "a $ref is # or #/… and leads to a part of this schema")
        try:
            tokens = parse_pointer(unquote(reference[1:], errors="strict"))
            target = _find(self._schema, tokens)
        except (InvalidPointer, UnicodeDecodeError, LookupError):
            raise SchemaError(where, "there is nothing at this $ref") from None
        if not isinstance(target, dict | bool):
            raise SchemaError(where, "at this $ref there is no schema")
        return (self._number(tokens, target),)

    def _number(self, place: Tokens, schema: Json) -> int:
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self._places)
            self._places.append((place, schema))
        return number

    def _refused(self, state: State, detail: str) -> SchemaError:
        place = self._places[state[0][0]][0]
        return SchemaError(format_pointer(place), f"the schema {detail}")


def _state(parts: Counter[int]) -> State:
    return tuple(sorted(parts.items()))


def _weight(schema: dict[str, Json]) -> int:
    """Weigh what a subschema checks by itself."""
    weight = 1
    if "pattern" in schema:
        weight += PATTERN_WEIGHT
    patterned = schema.get("patternProperties")
    if isinstance(patterned, dict):
        weight += PATTERN_WEIGHT * len(patterned)
    if schema.get("uniqueItems") is True:
        weight += UNIQUE_WEIGHT
    for word in ("enum", "required"):
        values = schema.get(word)
        if isinstance(values, list):
            weight += len(values) // VALUES_PER_CHECK
            weight += CONTAINER_WEIGHT * sum(isinstance(each, dict | list) for each in values)
    return weight


def _find(schema: Json, tokens: Tokens) -> Json:
    """Give what is at a pointer. Raises LookupError."""
    part = schema
    for token in tokens:
        if isinstance(part, dict):
            part = part[token]
        elif isinstance(part, list):
            index = array_index(token)
            part = part[len(part) if index is None else index]
        else:
            raise LookupError(token)
    return part
