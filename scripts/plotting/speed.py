"""PPL against decode speed."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .captions import describe, plural, series_names, text_line
from .page import TITLE, NoFigure, Page
from .perplexity import (FRONT, cells_with_ppl, draw_cell, draw_front, draw_references, group,
                         handles, pareto_front, ppl_axis, say_intervals)
from .record import REFERENCE
from .style import TEXT_GREY, Looks, frame, log_axis

MARGINS = (0.68, TITLE, 0.12, 0.48)
HEIGHT = 2.5
LOG_FROM = 10  # rates whose ratio is larger stand on a logarithmic axis
SPREAD_NOTE = "Speed: the median; horizontal bars hold the middle half of the samples, the dots."
BUSY = "Hollow: timed on a busy machine; such figures are not the machine's, nor on the front."


class Timed:
    """A cell and one of its decode rates."""

    def __init__(self, cell, rate):
        self.cell, self.rate = cell, rate
        self.low, self.median, self.high = np.quantile(rate.samples, (0.25, 0.5, 0.75))

    def key(self):
        """What may share an axis."""
        return self.cell.text, self.cell.machine, self.rate.threads, self.rate.tokens


def _draw_speed(axes, timed, colour):
    ppl = timed.cell.accuracy.ppl
    axes.plot([timed.low, timed.high], [ppl, ppl], color=colour, lw=1.8, zorder=2)
    axes.plot(timed.rate.samples, [ppl] * len(timed.rate.samples), ".", color=colour, ms=2.5,
              alpha=0.7, zorder=2)


def _rate_axis(axes, panel):
    samples = [sample for timed in panel for sample in timed.rate.samples]
    low, high = min(samples), max(samples)
    if high / low > LOG_FROM:
        log_axis(axes.xaxis, *frame(low, high, log=True), most=6)
    else:
        axes.set_xlim(frame(low, high))
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")
    axes.set_xlabel(f"decode of {panel[0].rate.tokens} tokens, tokens/s")


def _front(panel):
    trusted = [timed for timed in panel if not timed.cell.busy and not timed.cell.stamps]
    points = [(-timed.median, timed.cell.accuracy.ppl) for timed in trusted]
    return [(-points[i][0], points[i][1]) for i in pareto_front(points)]


def _draw_panel(axes, panel, looks, names):
    cells = [timed.cell for timed in panel]
    _rate_axis(axes, panel)
    ppl_axis(axes, cells)
    draw_references(axes, cells)
    draw_front(axes, _front(panel))
    for timed in panel:
        name = names[timed.cell.id]
        _draw_speed(axes, timed, looks.colour(name))
        draw_cell(axes, timed.median, timed.cell, looks, name, hollow=timed.cell.busy)


def _title(page, index, panel):
    text, machine, threads, _ = panel[0].key()
    title = f"{text.model}, {plural(threads, 'thread')}, {machine.isa}"
    page.title(index, title, text_line(text))


def _caption(panels, cells, has_front):
    caption = [FRONT] if has_front else []
    caption += [*say_intervals(cells), SPREAD_NOTE]
    if any(cell.busy for cell in cells):
        caption.append(BUSY)
    runs = max(len({(t.cell.config, t.cell.created) for t in panel}) for panel in panels)
    if runs > 1:
        caption.append(f"Up to {runs} runs in a panel, whose minutes differ.")
    return caption + describe([[timed.cell for timed in panel] for panel in panels])


def _legend(looks, names, cells, has_front):
    found = handles(looks, names, has_front)
    if any(cell.busy for cell in cells):
        hollow = {"marker": "o", "mfc": "white", "mec": TEXT_GREY, "ls": "none", "mew": 1.1}
        found.append(Line2D([], [], label="hollow: busy machine", **hollow))
    return found


def make(records, note):
    timed = [Timed(cell, rate) for cell in cells_with_ppl(records) for rate in cell.decode]
    if not timed:
        raise NoFigure("no record has both a perplexity and a decode speed")
    panels = list(group(timed, Timed.key).values())
    cells = [timed.cell for panel in panels for timed in panel]
    names = series_names(cells)
    looks = Looks(names.values(), REFERENCE)
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
