"""Files and folders of records."""

import os
from pathlib import Path

from .fields import InputError, load_json
from .parse import read_record


def _is_hidden(name):
    return name.startswith(".")


def _is_record(name):
    return name.endswith(".json") and not name.endswith(".weights.json") and not _is_hidden(name)


def _files(path):
    """The file itself, or every record of a folder that is not in a hidden folder."""

    def refuse(error):
        raise InputError(error.filename, f"cannot be read: {error.strerror}")

    if not path.is_dir():
        return [path]
    found = []
    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [Path(folder) / n for n in names if _is_record(n)]
    if not found:
        hint = "run_eval --out DIR writes them there"
        raise InputError(path, "expected records (*.json), found none", hint)
    return sorted(found)


def _read_file(path):
    value = load_json(path)
    if not isinstance(value, list):
        return [read_record(value, str(path))]
    if not value:
        raise InputError(path, "expected records, found an empty list")
    return [read_record(item, f"{path}[{i}]") for i, item in enumerate(value)]


def read_records(paths):
    """All records of these files and folders, each once, by time."""
    records = {}
    for file in [file for path in paths for file in _files(Path(path))]:
        for record in _read_file(file):
            if records.setdefault(record.id, record) != record:
                raise InputError(file, f"expected one record of id {record.id}, found another one")
    return sorted(records.values(), key=lambda record: (record.created, record.id))


def newest(records):
    """The newest record of each cell, of records by time: of interrupted runs only where no other is."""
    found = {}
    for record in records:
        other = found.get(record.cell())
        if other is None or not record.interrupted or other.interrupted:
            found[record.cell()] = record
    return list(found.values())
