"""Change of PPL against decode speed, as times that of FP16 weights in the same run."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .captions import describe, plural, series_names, text_line
from .page import TITLE, NoFigure, Page
from .perplexity import (FRONT, cells_with_change, change, change_axis, draw_cell, draw_front,
                         front_handle, group, pareto_front, reference_line, say_intervals)
from .style import LINE_GREY, TEXT_GREY, Looks, frame, log_axis, plain

FIGURE_TITLE = "Change of perplexity by decode speed"
MARGINS = (0.72, TITLE, 0.3, 0.48)
HEIGHT = 2.6
LOG_FROM = 10  # ratios that are further apart stand on a logarithmic axis
LABEL_EVERY = 0.3  # inches: labels of equal bits are not nearer to each other
SPREAD_NOTE = (
    "Speed: the median over that of FP16 weights in the same run; horizontal bars: the middle half"
    " of the cell's samples. Numbers: effective bits per weight."
)
BUSY = "Hollow: timed on a busy machine; such figures are not the machine's, nor on the front."


class Timed:
    """A cell and one of its decode rates, over FP16's."""

    def __init__(self, cell, rate):
        self.cell, self.rate = cell, rate
        quartiles = np.quantile(rate.samples, (0.25, 0.5, 0.75))
        self.low, self.ratio, self.high = quartiles / quartiles[1] * rate.ratio

    def marks(self):
        return self.cell.marks(of_speed=True)

    def key(self):
        """What may share an axis."""
        return self.cell.text, self.cell.machine, self.rate.threads, self.rate.tokens


def _ratio_axis(axes, panel):
    ends = [end for timed in panel for end in (timed.low, timed.high)] + [1.0]
    low, high = min(ends), max(ends)
    if high / low > LOG_FROM:
        log_axis(axes.xaxis, *frame(low, high, log=True), most=6)
    else:
        axes.set_xlim(frame(low, high))
        axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(lambda value, _: f"{plain(value)}×")
    axes.grid(axis="x")
    axes.axvline(1, color=LINE_GREY, lw=0.9, ls=(0, (5, 3)), zorder=1)
    axes.set_xlabel(f"decode of {plural(panel[0].rate.tokens, 'token')}, times fp16's speed")


def _label_bits(axes, panel):
    """Beside each point, but where the same number stands near."""
    inches = axes.figure.dpi_scale_trans.inverted()
    placed = []
    for timed in sorted(panel, key=lambda timed: change(timed.cell)):
        if timed.cell.bits is None:
            continue
        label, point = f"{timed.cell.bits:.3g}", (timed.ratio, change(timed.cell))
        x, y = inches.transform(axes.transData.transform(point))
        near = (other == label and abs(x - u) < LABEL_EVERY and abs(y - v) < LABEL_EVERY
                for other, u, v in placed)
        if any(near):
            continue
        placed.append((label, x, y))
        axes.annotate(label, point, (6, -9), textcoords="offset points", color=TEXT_GREY,
                      size="small")


def _front(panel):
    trusted = [timed for timed in panel if not timed.cell.busy and not timed.marks()]
    points = [(-timed.ratio, change(timed.cell)) for timed in trusted]
    return [(-points[i][0], points[i][1]) for i in pareto_front(points)]


def _draw_panel(axes, panel, looks, names):
    _ratio_axis(axes, panel)
    change_axis(axes, [timed.cell for timed in panel])
    draw_front(axes, _front(panel))
    for timed in panel:
        name, y = names[timed.cell.id], change(timed.cell)
        axes.plot([timed.low, timed.high], [y, y], color=looks.colour(name), lw=1.6, zorder=2,
                  solid_capstyle="butt")
        draw_cell(axes, timed.ratio, timed.cell, looks, name, timed.marks(), timed.cell.busy)
    _label_bits(axes, panel)


def _title(page, index, panel):
    text, machine, threads, _ = panel[0].key()
    title = f"{text.model}, {plural(threads, 'thread')}, {machine['isa']}"
    about = (text_line(text), reference_line([timed.cell for timed in panel]))
    page.title(index, title, " · ".join(part for part in about if part))


def _caption(panels, cells, has_front):
    caption = [FRONT] if has_front else []
    caption += [*say_intervals(cells), SPREAD_NOTE]
    if any(cell.busy for cell in cells):
        caption.append(BUSY)
    runs = max(len({(t.cell.config, t.cell.created) for t in panel}) for panel in panels)
    if runs > 1:
        caption.append(f"Up to {runs} runs in a panel, each with FP16 weights of its own.")
    return caption + describe([[timed.cell for timed in panel] for panel in panels],
                              of_speed=True)


def _legend(looks, names, cells, has_front):
    found = looks.handles(names) + ([front_handle()] if has_front else [])
    if any(cell.busy for cell in cells):
        hollow = {"marker": "o", "mfc": "white", "mec": TEXT_GREY, "ls": "none", "mew": 1.1}
        found.append(Line2D([], [], label="hollow: busy machine", **hollow))
    return found


def make(records, note):
    timed = [Timed(cell, rate) for cell in cells_with_change(records) for rate in cell.decode
             if rate.ratio is not None]
    if not timed:
        raise NoFigure("no quantized cell has a change of perplexity and a decode speed beside"
                       " FP16's")
    panels = list(group(timed, Timed.key).values())
    cells = [timed.cell for panel in panels for timed in panel]
    names = series_names(cells)
    looks = Looks(names.values())
    has_front = any(_front(panel) for panel in panels)
    page = Page(
        [HEIGHT] * len(panels),
        MARGINS,
        _caption(panels, cells, has_front),
        _legend(looks, names.values(), cells, has_front),
    )
    for index, panel in enumerate(panels):
        _draw_panel(page.axes(page.box(index)), panel, looks, names)
        _title(page, index, panel)
    return page.figure
