"""What plots of perplexity share: panels, intervals, the reference and the Pareto front."""

import math

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from .record import REFERENCE
from .records import newest
from .style import LINE_GREY, REFERENCE_COLOUR, frame, log_axis

BAND = "#eeeeee"
LOG_FROM = 4  # PPLs whose ratio is larger stand on a logarithmic axis
REFERENCES_DIFFER = 1e-5  # nats; below, it is the rounding of another machine
INTERVALS = (
    "Thin bars: 95 % intervals over windows, most of which all cells share; thick bars, where"
    " points do not hide them: of the change against FP16, paired, which is what compares cells."
)
NO_INTERVALS = "Without bars: too few windows for an interval."
FRONT = "Pareto front: by the estimates alone, without marked cells."


def cells_with_ppl(records):
    return in_order(newest(r for r in records if r.accuracy and r.accuracy.ppl is not None))


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


def references(cells):
    """Those of FP16; of any that agree but for rounding the newest."""
    kept = []
    for cell in reversed([cell for cell in cells if cell.is_reference()]):
        nll = cell.accuracy.mean_nll
        if all(abs(nll - other.accuracy.mean_nll) > REFERENCES_DIFFER for other in kept):
            kept.append(cell)
    return kept


def draw_references(axes, cells):
    for reference in references(cells):
        accuracy = reference.accuracy
        axes.axhline(accuracy.ppl, color=REFERENCE_COLOUR, lw=0.9, ls=(0, (5, 3)), zorder=1)
        if accuracy.ppl_interval:
            axes.axhspan(*accuracy.ppl_interval, color=BAND, lw=0, zorder=0)


def paired_interval(accuracy):
    """Of the PPL, as far as the change against FP16 is uncertain; None where that is not known."""
    if accuracy.delta_interval is None or accuracy.delta is None:
        return None
    return tuple(accuracy.ppl * math.exp(end - accuracy.delta) for end in accuracy.delta_interval)


def shifted(axes, points):
    """Data coordinates, so many points to the right."""
    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def draw_cell(axes, x, cell, looks, name, shift=0.0, hollow=False):
    """A point with its intervals and stamps, so many points beside x."""
    accuracy, transform = cell.accuracy, shifted(axes, shift)
    bars = ((accuracy.ppl_interval, 0.8), (paired_interval(accuracy), 2.6))
    for interval, width in bars:
        if interval:
            axes.plot([x, x], interval, color=looks.colour(name), lw=width, transform=transform,
                      solid_capstyle="butt", zorder=2)
    axes.plot([x], [accuracy.ppl], transform=transform, zorder=3, **looks.point(name, hollow))
    if cell.stamps:
        letters = "".join(sorted(cell.stamps))
        axes.text(x, accuracy.ppl, letters, transform=shifted(axes, shift + 5), va="center")


def ppl_axis(axes, cells):
    ends = [cell.accuracy.ppl for cell in cells]
    for cell in cells:
        ends += cell.accuracy.ppl_interval or ()
    low, high = min(ends), max(ends)
    if high / low > LOG_FROM:
        log_axis(axes.yaxis, *frame(low, high, log=True), most=9)
    else:
        axes.set_ylim(frame(low, high))
    axes.grid(axis="y")
    axes.set_ylabel("perplexity")


def handles(looks, names, has_front):
    """Of the legend: methods, the reference's interval, the front."""
    found = looks.handles(names)
    if REFERENCE in names:
        found.append(Patch(facecolor=BAND, edgecolor="none", label="95 % interval of fp16"))
    if has_front:
        found.append(Line2D([], [], color=LINE_GREY, lw=1, label="Pareto front"))
    return found


def say_intervals(cells):
    with_interval = [cell.accuracy.ppl_interval is not None for cell in cells]
    found = [INTERVALS] if any(with_interval) else []
    return found if all(with_interval) else found + [NO_INTERVALS]
