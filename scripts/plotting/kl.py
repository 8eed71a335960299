"""Distributions of KL(reference || cell): over positions by quantiles, over windows by their means."""

import numpy as np
from matplotlib.lines import Line2D

from .captions import cell_names, describe, plural, series_names, text_line
from .page import MARGIN, NAME_AT_MOST, TITLE, WIDTH, NoFigure, Page, text_width
from .perplexity import group, in_order
from .records import newest
from .style import LINE_GREY, Looks, frame, log_axis

FIGURE_TITLE = "Distributions of the KL divergence from the reference"
ROW = 0.27
GAP = 0.25  # inches between positions and windows
BOTTOM = 0.48
# Widths of the bars from one quantile to the next, from the median to the maximum.
BARS = ((9, "50 to 90 %"), (5.5, "to 99 %"), (2.8, "to 99.9 %"), (0.9, "to the maximum"))
CAPTION = (
    "KL divergence of the cell's next-token distribution from the reference's, in nats. Left: over"
    " scored positions, the quantiles in each record; diamonds: the mean with its 95 % interval."
    " Right: over windows; lines: the mean of each, boxes: their middle half and median. Rows are in the"
    " order of the means."
)
CUT = "What is not above 0 is not on these axes."


def _positive(values):
    return [value for value in values if value > 0]


def _log_limits(axes, values):
    """Makes x logarithmic, to hold those of the values that such an axis can."""
    log_axis(axes.xaxis, *frame(min(values), max(values), log=True, air=0.04), most=5)


def _draw_positions(axes, row, kl, colour):
    for (width, _), low, high in zip(BARS, kl.quantiles, kl.quantiles[1:]):
        if low > 0:
            axes.plot([low, high], [row, row], color=colour, lw=width, solid_capstyle="butt",
                      zorder=2)
    if kl.quantiles[0] > 0:
        axes.plot(kl.quantiles[0], row, "|", color="black", ms=10, mew=1.4, zorder=3)
    if kl.quantiles[-1] > 0:
        axes.plot(kl.quantiles[-1], row, ".", color=colour, ms=4, zorder=3)
    if kl.interval and kl.interval[0] > 0:
        axes.plot(kl.interval, [row, row], color="black", lw=1.2, zorder=4)
    if kl.mean > 0:
        axes.plot(kl.mean, row, "D", mfc="white", mec="black", mew=0.9, ms=4.5, zorder=5)


def _draw_windows(axes, row, kl, colour):
    axes.vlines(_positive(kl.windows), row - 0.33, row + 0.33, color=colour, lw=0.6, alpha=0.55,
                zorder=2)
    low, median, high = np.quantile(kl.windows, (0.25, 0.5, 0.75))
    if low > 0:
        axes.barh(row, high - low, 0.5, left=low, fc="none", ec="black", lw=0.8, zorder=3)
        axes.vlines(median, row - 0.25, row + 0.25, color="black", lw=1.4, zorder=4)


def _of_positions(cell):
    kl = cell.accuracy.kl
    return [*kl.quantiles, kl.mean, *(kl.interval or ())]


def _draw_panel(page, index, cells, looks, series, names):
    left, bottom, width, height = page.box(index)
    width = (width - GAP) / 2
    boxes = ((left, bottom, width, height), (left + width + GAP, bottom, width, height))
    positions, windows = (page.axes(box) for box in boxes)
    _log_limits(positions, _positive(value for cell in cells for value in _of_positions(cell)))
    _log_limits(windows, _positive(value for cell in cells for value in cell.accuracy.kl.windows))
    for row, cell in enumerate(cells):
        colour = looks.colour(series[cell.id])
        _draw_positions(positions, row, cell.accuracy.kl, colour)
        _draw_windows(windows, row, cell.accuracy.kl, colour)
    for axes, of in ((positions, "positions"), (windows, "means of windows")):
        axes.set_ylim(len(cells) - 0.4, -0.6)
        axes.set_yticks(range(len(cells)), [names[cell.id] for cell in cells])
        axes.tick_params(axis="y", length=0, labelleft=axes is positions, labelcolor="black")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"KL, nats: {of}")


def _has_place(cell):
    """On logarithmic axes."""
    return _positive(_of_positions(cell)) and _positive(cell.accuracy.kl.windows)


def _panels(records, note):
    """Of each text its cells, the closest to the reference first."""
    cells = in_order(newest(r for r in records if r.accuracy and r.accuracy.kl))
    panels = []
    for text, found in group(cells, lambda cell: cell.text).items():
        shown = [cell for cell in found if _has_place(cell)]
        if len(shown) < len(found):
            left_out = plural(len(found) - len(shown), "cell")
            note(f"left out: {left_out} of {text.model}, {text_line(text)}: no KL above 0")
        if shown:
            panels.append(sorted(shown, key=lambda cell: cell.accuracy.kl.mean))
    return panels


def _legend():
    grey = {"color": LINE_GREY, "solid_capstyle": "butt"}
    bars = [Line2D([], [], lw=width, label=label, **grey) for width, label in BARS]
    median = Line2D([], [], color="black", marker="|", ms=10, mew=1.4, ls="none", label="median")
    mean = Line2D([], [], color="black", marker="D", mfc="white", ms=4.5, lw=1.2, label="mean")
    return [median, mean, *bars]


def make(records, note):
    panels = _panels(records, note)
    if not panels:
        raise NoFigure("no record has a KL divergence above 0")
    cells = [cell for panel in panels for cell in panel]
    series = series_names(cells)
    names = cell_names(cells, NAME_AT_MOST)
    left = max(text_width(name) for name in names.values()) + 2 * MARGIN
    low = min(min(_of_positions(cell) + list(cell.accuracy.kl.windows)) for cell in cells)
    page = Page(
        [ROW * len(panel) + 0.1 for panel in panels],
        (left, TITLE, 0.12, BOTTOM),
        [CAPTION, *([CUT] if low <= 0 else []), *describe(panels)],
        _legend(),
        columns=1,
        width=WIDTH,
    )
    looks = Looks(series.values())
    for index, panel in enumerate(panels):
        _draw_panel(page, index, panel, looks, series, names)
        page.title(index, panel[0].text.model, text_line(panel[0].text))
    return page.figure
