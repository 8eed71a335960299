"""The cells of a config over the nights: PPL of the reference, changes against it, decode speed."""

from dataclasses import dataclass
from statistics import median

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .captions import describe, plural
from .page import TITLE, WIDTH, NoFigure, Page, flag_rows, flags_height
from .perplexity import LOG_FROM, change, change_interval, group
from .style import FONT_POINTS, LINE_GREY, Looks, frame, log_axis

FIGURE_TITLE = "Changes of perplexity and speeds over time"
LEFT, RIGHT, BOTTOM = 0.95, 0.2, 0.34
ROW, GAP = 1.15, 0.16  # inches of an axis and between two
MISSED = 1.5  # times the usual time between records: something is missing
SAME = 1e-6  # relative; below, it is the rounding of another machine
NAMED_AT_MOST = 12  # commits
CAPTION = (
    "Bars of changes: 95 % intervals, paired over windows; of speeds: the middle half of the"
    " samples. Lines join records that may be compared and follow each other; they break where one"
    " is missing, and at dotted lines: other weights, text or windows; of speeds, another machine"
    " or compiler. Commits above: the first, the last, and those where two neighbours' bars, or"
    " values without bars, do not hold each other."
)
BUSY = "Hollow: timed on a busy machine."


@dataclass(frozen=True)
class Point:
    """Of a line: the ends of its bar are None where they are unknown."""

    record: object
    value: float
    ends: tuple = None

    def holds(self, other):
        low, high = self.ends or (self.value, self.value)
        slack = SAME * abs(other.value)
        return low - slack <= other.value <= high + slack


@dataclass(frozen=True)
class Row:
    """What one axis shows: a line of points for each series, by its name."""

    label: str
    lines: dict
    of_speed: bool = False
    of_changes: bool = False

    def same(self, record):
        """What has to be equal in records that a line joins."""
        return record.machine if self.of_speed else record.text


def _series(record):
    return record.method if record.seed is None else f"{record.method}, seed {record.seed}"


def _lines(records, point_of):
    lines = {}
    for record in records:
        point = point_of(record)
        if point:
            lines.setdefault(_series(record), []).append(point)
    return {name: points for name, points in lines.items() if len(points) > 1}


def _ppl(record):
    if record.is_reference() and record.accuracy and record.accuracy.ppl is not None:
        return Point(record, record.accuracy.ppl)
    return None


def _change(record):
    if record.accuracy is None or record.accuracy.delta is None:
        return None
    return Point(record, change(record), change_interval(record))


def _rate(record, key):
    for rate in record.decode:
        if (rate.tokens, rate.threads) == key:
            low, middle, high = np.quantile(rate.samples, (0.25, 0.5, 0.75))
            return Point(record, middle, (low, high))
    return None


def _rows(records):
    reference = records[-1].reference_name()
    rates = sorted({(rate.tokens, rate.threads) for r in records for rate in r.decode})
    rows = [
        Row(f"PPL of\n{reference}", _lines(records, _ppl)),
        Row(f"change of PPL\nagainst {reference}, %", _lines(records, _change), of_changes=True),
    ]
    for key in rates:
        label = f"decode {key[0]} on\n{plural(key[1], 'thread')}, tok/s"
        rows.append(Row(label, _lines(records, lambda r, key=key: _rate(r, key)), of_speed=True))
    return [row for row in rows if row.lines]


def _joined(row, points):
    """Runs of points that a line joins, and the times between neighbours that may not be
    compared."""
    steps = [b.record.created - a.record.created for a, b in zip(points, points[1:])]
    usual = median(steps)
    runs, changes = [[points[0]]], []
    for before, after, step in zip(points, points[1:], steps):
        changed = row.same(before.record) != row.same(after.record)
        if changed:
            changes.append(before.record.created + step / 2)
        if changed or step > MISSED * usual:
            runs.append([])
        runs[-1].append(after)
    return runs, changes


def _draw_line(axes, row, name, points, looks):
    colour = looks.colour(name)
    runs, changes = _joined(row, points)
    for run in runs:
        axes.plot([p.record.created for p in run], [p.value for p in run], color=colour, lw=1)
    for time in changes:
        axes.axvline(time, color=LINE_GREY, lw=0.9, ls=":")
    for point in points:
        time = point.record.created
        if point.ends:
            axes.plot([time] * 2, point.ends, color=colour, lw=1.2)
        axes.plot([time], [point.value], zorder=3,
                  **looks.point(name, row.of_speed and point.record.busy, 4))


def _value_axis(axes, row):
    points = [point for line in row.lines.values() for point in line]
    values = [v for point in points for v in (point.value, *(point.ends or ()))]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        log_axis(axes.yaxis, *frame(low, high, log=True), most=6)
    else:
        axes.set_ylim(frame(low, high, air=0.1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.grid(axis="y")


def _turns(rows):
    """The records at which a value leaves what its predecessor's bar holds."""
    found = {}
    for row in rows:
        for points in row.lines.values():
            for before, after in zip(points, points[1:]):
                if not before.holds(after) and not after.holds(before):
                    found[after.record.created] = after.record
    return list(found.values())


def _named(rows, records):
    """The records whose commits are named, by time."""
    turns = sorted(_turns(rows), key=lambda record: record.created)
    named = {r.commit: r for r in [records[-1], *turns[:NAMED_AT_MOST - 2][::-1], records[0]]}
    return sorted(named.values(), key=lambda record: record.created)


def _limits(records):
    return frame(*(date2num(record.created) for record in (records[0], records[-1])), air=0.03)


def _flags(rows, records, width):
    """(inches from the left, commit) of those that are named."""
    low, high = _limits(records)
    return [((date2num(r.created) - low) / (high - low) * width, r.commit)
            for r in _named(rows, records)]


def _draw_panel(page, index, records, rows, looks):
    left, bottom, width, height = page.box(index)
    for place, row in enumerate(rows):
        top = bottom + height - place * (ROW + GAP)
        axes = page.axes((left, top - ROW, width, ROW))
        for name, points in row.lines.items():
            _draw_line(axes, row, name, points, looks)
        _value_axis(axes, row)
        axes.set_ylabel(row.label, size=FONT_POINTS)
        axes.yaxis.set_label_coords(-(LEFT - 0.34) / width, 0.5)
        axes.xaxis_date()
        axes.set_xlim(_limits(records))
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=8))
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
        axes.tick_params(axis="x", labelbottom=place == len(rows) - 1)
        for record in _named(rows, records):
            axes.axvline(record.created, color=LINE_GREY, lw=0.5, zorder=0)
    page.flags(index, _flags(rows, records, width))


def _panel_of(record):
    protocol = record.text.protocol if record.text else ""
    return record.config, record.model, protocol


def _title(page, index, record, above):
    text = record.text
    where = f"{text.protocol} on {text.name}" if text else "random weights"
    page.title(index, record.config, f"{record.model}, {where}", above)


def make(records, note):
    panels = [(found, _rows(found)) for found in group(records, _panel_of).values()]
    panels = [(found, rows) for found, rows in panels if rows]
    if not panels:
        raise NoFigure("no cell has two records with an accuracy or a decode speed")
    shown = [found for found, _ in panels]
    names = [name for _, rows in panels for row in rows for name in row.lines]
    looks = Looks(names)
    caption = [CAPTION, *describe(shown, without=("Commit",))]
    if any(record.busy for found in shown for record in found):
        caption.insert(1, BUSY)
    width = WIDTH - LEFT - RIGHT
    lines = max(flag_rows(_flags(rows, found, width), width) for found, rows in panels)
    heights = [len(rows) * (ROW + GAP) - GAP for _, rows in panels]
    above = flags_height(lines)
    page = Page(heights, (LEFT, TITLE + above, RIGHT, BOTTOM), caption, looks.handles(names),
                columns=1, width=WIDTH)
    for index, (found, rows) in enumerate(panels):
        _draw_panel(page, index, found, rows, looks)
        _title(page, index, found[-1], above)
    return page.figure
