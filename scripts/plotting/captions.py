"""Words: names of series and panels, and what a caption says of records."""

from collections import Counter

from .page import fit, panel_letter

LISTED = 4  # more different machines or commits than this are counted instead


def series_names(records):
    """The name of each record's series, by id: its method, and as much of config and seed as it
    takes to tell two cells apart that were measured on the same."""
    records = {r.id: r for r in records}.values()
    alike = Counter((r.method, r.scheme, r.text, r.seed) for r in records)
    names = {}
    for r in records:
        names[r.id] = r.method
        if r.is_reference():
            continue
        if alike[r.method, r.scheme, r.text, r.seed] > 1:
            names[r.id] += f" ({r.config})"
        if r.seed is not None:
            names[r.id] += f", seed {r.seed}"
    return names


def letters(marks):
    """Of (letter, meaning), each once."""
    return "".join(sorted({letter for letter, _ in marks}))


def stamped(name, record):
    """With the letters of the record's stamps."""
    marks = record.marks()
    return f"{name} ({letters(marks)})" if marks else name


def cell_names(records, at_most=None):
    """The same with each cell's scheme, of so many inches, and its stamps."""
    series, names = series_names(records), {}
    for r in records:
        name = f"{series[r.id]}  {r.scheme}".rstrip()
        names[r.id] = stamped(fit(name, at_most) if at_most else name, r)
    return names


def plural(count, noun):
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def text_line(text):
    """Of the text that a panel is about: what it may be compared with."""
    line = f"{text.protocol} on {text.name}"
    if text.substituted:
        line += ", NOT WIKITEXT"
    windows = len(text.windows)
    if text.partial():
        return f"{line} · PARTIAL: {windows} of {text.of_windows} windows"
    return f"{line} · {plural(windows, 'window')}"


def _distinct(texts):
    found = list(dict.fromkeys(text for text in texts if text))
    if len(found) <= LISTED:
        return "; ".join(found)
    shown = "; ".join(found[:LISTED - 1])
    return f"{shown}; and {len(found) - LISTED + 1} more, named in the records"


def _model(record):
    if record.text is None:
        return f"{record.model}, random weights"
    return f"{record.text.model}, weights {record.text.weights}"


def _text(record):
    text = record.text
    return text and f"{text.protocol} on {text.name}, tokens {text.tokens}"


def _windows(record):
    text = record.text
    return text and f"{len(text.windows):,} of {text.of_windows:,}, {text.scored:,} tokens scored"


FACTS = {
    "Model": _model,
    "Text": _text,
    "Windows": _windows,
    "Calibration": lambda record: record.calibration,
    "CPU": lambda record: record.machine["cpu"],
    "Kernels": lambda record: f"{record.machine['isa']}, {record.machine['blas']}",
    "Compiler": lambda record: record.machine["compiler"],
    "Threads": lambda record: record.threads and str(record.threads),
    "Commit": lambda record: record.commit,
}


def _facts(label, describe, panels):
    texts = [_distinct(describe(record) for record in records) for records in panels]
    if len(set(texts)) == 1:
        return f"{label}: {texts[0]}." if texts[0] else ""
    letters = {}
    for panel, text in enumerate(texts):
        letters.setdefault(text, []).append(panel_letter(panel))
    parts = [f"{' '.join(where)} {text}" for text, where in letters.items() if text]
    return f"{label}: {'; '.join(parts)}."


def _marks(panels, of_speed):
    marks = {mark for records in panels for record in records for mark in record.marks(of_speed)}
    return [f"{letter}: {meaning}." for letter, meaning in sorted(marks)]


def describe(panels, without=(), of_speed=False):
    """The sentences of a caption that say what the records of each panel are."""
    facts = [_facts(k, v, panels) for k, v in FACTS.items() if k not in without]
    if any(record.commit.endswith("+") for records in panels for record in records):
        facts[-1] += " +: with changes that were not committed."
    return [fact for fact in facts if fact] + _marks(panels, of_speed)
