"""What records are: results/fields.json, which `run_eval --list record` writes."""

import json
import re
from pathlib import Path

_FILE = Path(__file__).resolve().parents[2] / "results" / "fields.json"
_DESCRIPTION = json.loads(_FILE.read_text(encoding="utf-8"))

SCHEMA = _DESCRIPTION["schema"]
FIELDS = {field["path"]: field for field in _DESCRIPTION["fields"]}


def with_roles(*roles):
    """The paths of all fields that have these."""
    return [path for path, field in FIELDS.items() if set(roles) <= set(field.get("roles", ()))]


def stamps():
    """(path, stamp): what must be known of a record that says this, as `FieldStamp` in
    eval/record/schema.h."""
    return [(path, field["stamp"]) for path, field in FIELDS.items() if "stamp" in field]


def has_type(path, *types):
    """Whether records have such a field, of one of these types; of any where none is given."""
    field = FIELDS.get(re.sub(r"\[\d+\]", "[]", path))
    return field is not None and (not types or field["type"] in types)


def require(path, *types):
    """A bug of these scripts, where no record has such a field."""
    assert has_type(path, *types), f"{path}: {types}"
