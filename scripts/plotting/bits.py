"""Change of PPL against effective bits, a line a method."""

import math

from .captions import describe, series_names, text_line
from .page import TITLE, NoFigure, Page, axes_width, flag_rows, flags_height
from .perplexity import (cells_with_change, change, change_axis, draw_cell, group, reference_line,
                         say_intervals)
from .style import Looks, frame, log_axis

FIGURE_TITLE = "Change of perplexity by effective bits, a line a method"
LEFT, RIGHT, BOTTOM = 0.72, 0.12, 0.48
HEIGHT = 2.6
BIT_TICKS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 12, 16, 32)
LINES_NOTE = "Lines join the cells of one method whose activations are rounded alike."


def _bit_limits(cells):
    low, high = min(cell.bits for cell in cells), max(cell.bits for cell in cells)
    return frame(low, high, log=True, air=0.08)


def _schemes(cells, width):
    """(inches from the left, name) of each scheme over the axes."""
    low, high = (math.log(end) for end in _bit_limits(cells))
    found = sorted({(cell.bits, cell.scheme) for cell in cells if cell.scheme})
    return [((math.log(bits) - low) / (high - low) * width, name) for bits, name in found]


def _draw_lines(axes, cells, looks, names):
    lines = group(cells, lambda cell: (names[cell.id], cell.scheme.partition(", ")[2]))
    for (name, _), line in lines.items():
        points = sorted((cell.bits, change(cell)) for cell in line)
        if len(points) > 1:
            axes.plot(*zip(*points), color=looks.colour(name), lw=1.1, zorder=2.5)


def _draw_panel(page, panel, cells, looks, names):
    axes = page.axes(page.box(panel))
    low, high = _bit_limits(cells)
    log_axis(axes.xaxis, low, high, most=9)
    axes.set_xticks([bits for bits in BIT_TICKS if low <= bits <= high])
    change_axis(axes, cells)
    _draw_lines(axes, cells, looks, names)
    for cell in cells:
        draw_cell(axes, cell.bits, cell, looks, names[cell.id], cell.marks())
    axes.set_xlabel("effective bits per weight")
    page.flags(panel, _schemes(cells, page.axes_width))


def make(records, note):
    cells = [cell for cell in cells_with_change(records) if cell.bits is not None]
    panels = list(group(cells, lambda cell: cell.text).values())
    if not panels:
        raise NoFigure("no quantized cell has both a change of perplexity and effective bits")
    names = series_names(cells)
    looks = Looks(names.values())
    width = axes_width(len(panels), LEFT, RIGHT)
    rows = max(flag_rows(_schemes(panel, width), width) for panel in panels)
    page = Page(
        [HEIGHT] * len(panels),
        (LEFT, TITLE + flags_height(rows), RIGHT, BOTTOM),
        [*say_intervals(cells), LINES_NOTE, *describe(panels)],
        looks.handles(names.values()),
    )
    for panel, shown in enumerate(panels):
        _draw_panel(page, panel, shown, looks, names)
        text = shown[0].text
        about = " · ".join(part for part in (text_line(text), reference_line(shown)) if part)
        page.title(panel, text.model, about, flags_height(rows))
    return page.figure
