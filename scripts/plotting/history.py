"""One cell over the nights: mean NLL, its change against FP16, and decode speed."""

from dataclasses import dataclass
from statistics import median

import numpy as np
from matplotlib.dates import date2num

from matplotlib.ticker import MaxNLocator

from .captions import describe, plural
from .page import TITLE, NoFigure, Page, text_width
from .perplexity import group
from .style import COLOURS, FONT_POINTS, LINE_GREY, MARKERS, frame

LEFT, RIGHT = 0.86, 0.16
ROW, GAP = 0.95, 0.14  # inches of an axis and between two
LABEL_SPACE, SAME_SPACE = 0.15, 0.6  # inches between labels of commits, and of one commit
MISSED = 1.5  # times the usual time between records: something is missing
CAPTION = (
    "Bars of NLLs: 95 % intervals over windows (of changes against FP16: paired); of speeds: the"
    " middle half of the samples. Lines join records that may be compared and follow each other;"
    " they break where one is missing, and at dotted lines: other weights, text or windows; of"
    " speeds, another machine or compiler."
)
BUSY = "Hollow: timed on a busy machine."


@dataclass(frozen=True)
class Row:
    """What one axis shows. Each point: record, middle, low, high; the ends None where unknown."""

    label: str
    points: list
    of_speed: bool

    def same(self, record):
        """What has to be equal in records that a line joins."""
        return record.machine if self.of_speed else record.text


def _nll(record):
    ends = record.accuracy.ppl_interval
    low, high = np.log(ends) if ends else (None, None)
    return record, record.accuracy.mean_nll, low, high


def _delta(record):
    return record, record.accuracy.delta, *(record.accuracy.delta_interval or (None, None))


def _rates(records):
    """A row for each number of tokens and threads."""
    points = {}
    for record in records:
        for rate in record.decode:
            low, middle, high = np.quantile(rate.samples, (0.25, 0.5, 0.75))
            points.setdefault((rate.tokens, rate.threads), []).append((record, middle, low, high))
    return [
        Row(f"decode {tokens} on\n{plural(threads, 'thread')}, tok/s", found, True)
        for (tokens, threads), found in sorted(points.items())
    ]


def _rows(records):
    measured = [record for record in records if record.accuracy]
    changed = [record for record in measured if record.accuracy.delta is not None]
    rows = [
        Row("mean NLL,\nnats", [_nll(r) for r in measured], False),
        Row("change to\nFP16, nats", [_delta(r) for r in changed], False),
    ]
    return [row for row in rows + _rates(records) if len(row.points) > 1]


def _joined(row):
    """Runs of points that a line joins, and the times between neighbours that may not be
    compared."""
    points = row.points
    steps = [b[0].created - a[0].created for a, b in zip(points, points[1:])]
    usual = median(steps)
    runs, changes = [[points[0]]], []
    for before, after, step in zip(points, points[1:], steps):
        changed = row.same(before[0]) != row.same(after[0])
        if changed:
            changes.append(before[0].created + step / 2)
        if changed or step > MISSED * usual:
            runs.append([])
        runs[-1].append(after)
    return runs, changes


def _draw_row(axes, row, place, width):
    colour = COLOURS[place % len(COLOURS)]
    runs, changes = _joined(row)
    for run in runs:
        axes.plot([point[0].created for point in run], [point[1] for point in run], color=colour)
    for time in changes:
        axes.axvline(time, color=LINE_GREY, lw=0.9, ls=":")
    for record, middle, low, high in row.points:
        if low is not None:
            axes.plot([record.created] * 2, [low, high], color=colour, lw=0.9)
        hollow = row.of_speed and record.busy
        axes.plot(record.created, middle, marker=MARKERS[place % len(MARKERS)], ms=4.5, mec="black",
                  mew=0.5, mfc="white" if hollow else colour)
    values = [value for point in row.points for value in point[1:] if value is not None]
    axes.set_ylim(frame(min(values), max(values), air=0.1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    axes.set_ylabel(row.label, size=FONT_POINTS)
    axes.yaxis.set_label_coords(-(LEFT - 0.36) / width, 0.5)
    axes.grid(axis="y")


def _time_labels(records):
    days = {record.created.date() for record in records}
    form = "%Y-%m-%d" if len(days) == len(records) else "%Y-%m-%d %H:%M"
    return [f"{record.created.strftime(form)}  {record.commit}" for record in records]


def _label_times(axes, records, width):
    """Commits under their records, as many as find room."""
    low, high = axes.get_xlim()
    ticks, last, named = {}, -LABEL_SPACE, None
    for record, label in zip(records, _time_labels(records)):
        place = (date2num(record.created) - low) / (high - low) * width
        if place - last >= (SAME_SPACE if record.commit == named else LABEL_SPACE):
            ticks[record.created] = label
            last, named = place, record.commit
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=90)


def _draw_panel(page, index, records, rows):
    left, bottom, width, height = page.box(index)
    times = [date2num(record.created) for record in records]
    for place, row in enumerate(rows):
        top = bottom + height - place * (ROW + GAP)
        axes = page.axes((left, top - ROW, width, ROW))
        axes.xaxis_date()
        axes.set_xlim(frame(times[0], times[-1]))
        _draw_row(axes, row, place, width)
        _label_times(axes, records, width)
        axes.tick_params(axis="x", labelbottom=place == len(rows) - 1)


def _cell(record):
    protocol = record.text.protocol if record.text else ""
    return record.config, record.method, record.model, protocol, record.seed


def _title(page, index, record):
    seed = "" if record.seed is None else f", seed {record.seed}"
    text = record.text
    where = f"{text.protocol} on {text.name}" if text else "random weights"
    page.title(index, f"{record.config} {record.method}{seed}", f"{record.model}, {where}")


def make(records, note):
    panels = [cell for cell in group(records, _cell).values() if len(cell) > 1]
    panels = [(cell, _rows(cell)) for cell in panels]
    panels = [(cell, rows) for cell, rows in panels if rows]
    if not panels:
        raise NoFigure("no cell has two records with an accuracy or a decode speed")
    cells = [cell for cell, _ in panels]
    caption = [CAPTION, *describe(cells, without=("Commit",))]
    if any(record.busy for cell in cells for record in cell):
        caption.insert(1, BUSY)
    heights = [len(rows) * (ROW + GAP) - GAP for _, rows in panels]
    below = max(text_width(label) for cell in cells for label in _time_labels(cell)) + 0.15
    page = Page(heights, (LEFT, TITLE, RIGHT, below), caption)
    for index, (cell, rows) in enumerate(panels):
        _draw_panel(page, index, cell, rows)
        _title(page, index, cell[-1])
    return page.figure
