"""What plots of changes of perplexity share: panels, intervals, axes and the Pareto front."""

import math

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from .captions import letters
from .records import newest
from .style import LINE_GREY, frame, log_axis, plain

SMALL = 4.8  # points: of markers that must not hide their bars
LOG_FROM = 4  # changes whose ratio is larger stand on a logarithmic axis
CHANGE = "change of PPL against {}, %"
INTERVALS = (
    "Vertical bars: 95 % intervals of the change, paired over windows; where points do not hide"
    " them."
)
NO_INTERVALS = "Without bars: too few windows for an interval."
FRONT = "Pareto front: by the estimates alone, without marked cells."


def percent(nats):
    return 100 * math.expm1(nats)


def change(cell):
    """Of the PPL, in per cent."""
    return percent(cell.accuracy.delta)


def change_interval(cell):
    """(low, high), or None."""
    interval = cell.accuracy.delta_interval
    return interval and tuple(percent(end) for end in interval)


def cells_with_change(records):
    """The newest of each cell that was compared with the reference."""
    return in_order(newest(r for r in records if r.accuracy and r.accuracy.delta is not None))


def in_order(cells):
    """By their texts, and of each text by time: the order of panels."""
    return sorted(cells, key=lambda cell: cell.text.order())


def group(records, key):
    """Lists of records with equal keys."""
    groups = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def pareto_front(points):
    """The indices of those of (x, y) that no other point beats: both smaller or equal, and one
    smaller. By x."""
    front, least = [], math.inf
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        is_same = front and points[front[-1]] == points[i]
        if points[i][1] < least or is_same:
            front.append(i)
            least = points[i][1]
    return front


def draw_front(axes, front):
    """Steps between its points (x, y): what lies between them was not attained."""
    if front:
        axes.step(*zip(*front), where="post", color=LINE_GREY, lw=1, zorder=1.5)


def draw_cell(axes, x, cell, looks, name, marks, hollow=False):
    """A point with its interval and the letters of its marks."""
    interval, y = change_interval(cell), change(cell)
    if interval:
        axes.plot([x, x], interval, color=looks.colour(name), lw=1.6, solid_capstyle="butt",
                  zorder=2)
    axes.plot([x], [y], zorder=3, **looks.point(name, hollow, SMALL))
    if marks:
        axes.annotate(letters(marks), (x, y), (5, 0), textcoords="offset points", va="center")


def change_axis(axes, cells, label=True):
    """Logarithmic where that shows more and nothing is at 0 or below it."""
    ends = [change(cell) for cell in cells]
    for cell in cells:
        ends += change_interval(cell) or ()
    low, high = min(ends), max(ends)
    least = min((abs(change(cell)) for cell in cells if change(cell)), default=1.0)
    if low > 0 and high / low > LOG_FROM:
        log_axis(axes.yaxis, *frame(low, high, log=True), most=9)
    elif max(high, -low) / least > LOG_FROM ** 3:
        symmetric_axis(axes, low, high, least)
    else:
        axes.set_ylim(frame(min(low, 0), max(high, 0)))
        axes.axhline(0, color=LINE_GREY, lw=0.9, zorder=1)
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(axis="y")
    if label:
        axes.set_ylabel(CHANGE.format(cells[0].reference_name()))


def symmetric_axis(axes, low, high, least):
    """Logarithmic on both sides of 0, from the decade of the smallest change on."""
    first = 10.0 ** math.floor(math.log10(least))
    axes.set_yscale("symlog", linthresh=first, linscale=0.5)
    decades = range(math.ceil(math.log10(max(high, -low) / first)) + 1)
    step = -(-len(decades) // 6)
    ticks = [first * 10.0**decade for decade in decades[::step]]
    bottom = -first if low >= 0 else low * 1.3
    axes.set_ylim(bottom, high * 1.5)
    axes.set_yticks([tick for tick in [0, *ticks, *(-t for t in ticks)] if bottom <= tick <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color=LINE_GREY, lw=0.9, zorder=1)


def front_handle():
    """Of a legend."""
    return Line2D([], [], color=LINE_GREY, lw=1, label="Pareto front")


def say_intervals(cells):
    with_interval = [cell.accuracy.delta_interval is not None for cell in cells]
    found = [INTERVALS] if any(with_interval) else []
    return found if all(with_interval) else found + [NO_INTERVALS]


def reference_line(cells):
    """What the changes of a panel are from: "fp16 15.33 PPL"."""
    ppl = {f"{cell.reference_name()} {cell.accuracy.ppl / math.exp(cell.accuracy.delta):.2f} PPL"
           for cell in cells if cell.accuracy.ppl is not None}
    return " or ".join(sorted(ppl)) if len(ppl) < 3 else ""
