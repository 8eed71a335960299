"""Strict access to the JSON of records: no byte of a file is trusted."""

import json
import math
import unicodedata

from . import schema

LARGEST_FILE = 64 << 20
LARGEST_NUMBER = 1e15  # beyond it nothing is a time, a rate or a sum of nats
HINT = "results/README.md describes records"


class InputError(Exception):
    """What a user can mend. The text: where, what was expected and found, and a hint."""

    def __init__(self, where, what, hint=""):
        super().__init__(f"{where}: {what}" + (f"\n  hint: {hint}" if hint else ""))


def _refuse_constant(name):
    raise ValueError(f"{name} is no number")


def _unique_keys(pairs):
    keys = dict(pairs)
    if len(keys) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"expected each key once in an object, found {json.dumps(twice)} twice")
    return keys


def load_json(path):
    """The JSON value of a file."""
    try:
        if not path.is_file():
            raise InputError(path, "expected a file of records or a folder of them, found neither")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_FILE:
        raise InputError(path, f"expected at most {LARGEST_FILE} bytes, found more")
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise InputError(path, "nested too deeply for a record", HINT) from None
    except ValueError as error:
        raise InputError(path, f"expected JSON: {error}", HINT) from None


def _describe(value):
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:80] + "..."


class Fields:
    """A map of a record; fields are named by dotted paths. Whatever is not as expected is an
    InputError with file, field, expectation and finding."""

    def __init__(self, value, where, path=""):
        self.where, self._path = where, path
        if not isinstance(value, dict):
            place = f"{where}: {path}" if path else where
            expected = "a map" if path else "a record"
            raise InputError(place, f"expected {expected}, found {_describe(value)}", HINT)
        self._value = value

    def _full(self, path):
        return f"{self._path}.{path}" if self._path else path

    def _find(self, path):
        """(is there such a field, its value)"""
        value = self._value
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                return False, None
            value = value[key]
        return True, value

    def has(self, path):
        schema.require(self._full(path))
        found, value = self._find(path)
        return found and value is not None  # JSON has no infinity and writes null

    def fail(self, path, expected, found=None):
        there, value = self._find(path)
        found = found or (_describe(value) if there else "nothing")
        place = f"{self.where}: {self._full(path)}"
        raise InputError(place, f"expected {expected}, found {found}", HINT)

    def maybe(self, read, path):
        """read(path), or None where there is no such field."""
        return read(path) if self.has(path) else None

    def text(self, path):
        schema.require(self._full(path), "text")
        value = self._find(path)[1]
        if not isinstance(value, str):
            self.fail(path, "text")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            self.fail(path, "text without control characters")
        return value

    def is_flag(self, path):
        return schema.has_type(self._full(path), "flag")

    def flag(self, path):
        """False where there is no such field."""
        schema.require(self._full(path), "flag")
        there, value = self._find(path)
        if there and not isinstance(value, bool):
            self.fail(path, "true or false")
        return bool(value)

    def count(self, path, least=0):
        schema.require(self._full(path), "count")
        value = self._find(path)[1]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 32:
            self.fail(path, f"a whole number from {least} to 2^32")
        return value

    def number(self, path, least=-LARGEST_NUMBER):
        schema.require(self._full(path), "number", "count")
        return self._numbers(path, [self._find(path)[1]], "", least)[0]

    def numbers(self, path, length=None, least=-LARGEST_NUMBER):
        """Of a list: of that length, or of one at least."""
        schema.require(self._full(path), "numbers", "counts", "interval")
        value = self._find(path)[1]
        fits = isinstance(value, list) and (len(value) == length if length else value)
        if not fits:
            self.fail(path, f"a list of {length} numbers" if length else "a list of numbers")
        return self._numbers(path, value, "a list with ", least)

    def _numbers(self, path, values, which, least):
        for value in values:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and math.isfinite(value) and least <= value <= LARGEST_NUMBER:
                continue
            bound = "" if least < 0 else f" of {least:g} or more"
            self.fail(path, f"a number{bound}", which + _describe(value))
        return [float(value) for value in values]

    def interval(self, path, least=-LARGEST_NUMBER):
        low, high = self.numbers(path, 2, least)
        if low > high:
            self.fail(path, "the two ends of an interval", f"[{low:g}, {high:g}]")
        return low, high

    def maps(self, path):
        """The items of a list of maps; none where there is no such field."""
        schema.require(self._full(path), "maps")
        there, value = self._find(path)
        if there and not isinstance(value, list):
            self.fail(path, "a list of maps")
        full = self._full(path)
        return [Fields(item, self.where, f"{full}[{i}]") for i, item in enumerate(value or [])]
