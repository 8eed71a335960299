"""PPL against effective bits."""

import math

from .captions import describe, series_names, text_line
from .page import LINE, TITLE, NoFigure, Page, axes_width, stagger, text_width
from .perplexity import (FRONT, cells_with_ppl, draw_cell, draw_front, draw_references, group,
                         handles, pareto_front, ppl_axis, references, say_intervals)
from .record import REFERENCE
from .style import LINE_GREY, Looks, frame, log_axis

LEFT, RIGHT, BOTTOM = 0.68, 0.12, 0.48
HEIGHT = 2.5
BIT_TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8, 12, 16, 32)
SPREAD = 8.0  # points between cells of equal bits
GAP = 0.06  # inches between axes and names of schemes
BACKED = {"fc": "white", "ec": "none", "pad": 0.5}
SPREAD_NOTE = "Cells of equal bits stand beside each other, the best in its true place."


def _panels(records, note):
    """Of each text its cells, the reference once."""
    panels = []
    for text, cells in group(records, lambda record: record.text).items():
        quantized = [cell for cell in cells if not cell.is_reference()]
        if quantized:
            panels.append(references(cells) + quantized)
        else:
            note(f"left out: {text.model}, {text_line(text)}: no quantized cell")
    return panels


def _shifts(cells, width):
    """Points aside, of cells of equal bits: the best stays in its place, on the front. Together
    they take at most half of the width, inches."""
    shifts = {}
    groups = group(cells, lambda cell: round(cell.bits, 6)).values()
    step = min(SPREAD, 0.5 * width * 72 / max(map(len, groups)))
    for equal in groups:
        for place, cell in enumerate(sorted(equal, key=lambda cell: cell.accuracy.ppl)):
            shifts[cell.id] = step * ((place + 1) // 2) * (1 if place % 2 else -1)
    return shifts


def _bit_limits(cells, width):
    """Of an axis so many inches wide: what stands aside needs room too."""
    low, high = min(cell.bits for cell in cells), max(cell.bits for cell in cells)
    aside = (max(map(abs, _shifts(cells, width).values())) + SPREAD) / 72
    air = aside / (width - 2 * aside)
    return frame(low, high, log=True, air=air)


def _inside(place, name, width):
    """The nearest place at which a centred name does not leave the axes."""
    half = text_width(name) / 2
    return min(max(place, half), max(half, width - half))


def _schemes(cells, width):
    """(bits, inches from the left, row, name) of each scheme's name over the axes."""
    low, high = (math.log(end) for end in _bit_limits(cells, width))
    found = sorted({(cell.bits, cell.scheme) for cell in cells if cell.scheme})
    places = [(math.log(bits) - low) / (high - low) * width for bits, _ in found]
    places = [_inside(place, name, width) for place, (_, name) in zip(places, found)]
    rows = stagger(places, [name for _, name in found])
    return [(bits, place, row, name) for (bits, name), place, row in zip(found, places, rows)]


def _draw_schemes(page, panel, axes, schemes):
    left, bottom, _, height = page.box(panel)
    for bits, place, row, name in schemes:
        above = GAP + row * LINE
        top = 1 + above / height
        axes.plot([bits, bits], [1, top], transform=axes.get_xaxis_transform(), clip_on=False,
                  color=LINE_GREY, lw=0.5)
        page.text(left + place, bottom + height + above + 0.02, name, ha="center", bbox=BACKED)


def _front(cells):
    points = [(cell.bits, cell.accuracy.ppl) for cell in cells if not cell.stamps]
    return [points[i] for i in pareto_front(points)]


def _draw_panel(page, panel, cells, looks, names, schemes):
    axes = page.axes(page.box(panel))
    low, high = _bit_limits(cells, page.axes_width)
    log_axis(axes.xaxis, low, high, most=9)
    axes.set_xticks([bits for bits in BIT_TICKS if low <= bits <= high])
    ppl_axis(axes, cells)
    draw_references(axes, cells)
    draw_front(axes, _front(cells))
    shifts = _shifts(cells, page.axes_width)
    for cell in cells:
        draw_cell(axes, cell.bits, cell, looks, names[cell.id], shifts[cell.id])
    axes.set_xlabel("effective bits per weight")
    _draw_schemes(page, panel, axes, schemes)


def make(records, note):
    records = [cell for cell in cells_with_ppl(records) if cell.bits is not None]
    panels = _panels(records, note)
    if not panels:
        raise NoFigure("no quantized cell has both a perplexity and effective bits")
    shown = [cell for cells in panels for cell in cells]
    names = series_names(shown)
    looks = Looks(names.values(), REFERENCE)
    width = axes_width(len(panels), LEFT, RIGHT)
    schemes = [_schemes(cells, width) for cells in panels]
    rows = 1 + max((row for found in schemes for _, _, row, _ in found), default=-1)
    has_front = any(_front(cells) for cells in panels)
    names_height = GAP + rows * LINE
    page = Page(
        [HEIGHT] * len(panels),
        (LEFT, TITLE + names_height, RIGHT, BOTTOM),
        [*([FRONT] if has_front else []), *say_intervals(shown), SPREAD_NOTE, *describe(panels)],
        handles(looks, names.values(), has_front),
    )
    for panel, cells in enumerate(panels):
        _draw_panel(page, panel, cells, looks, names, schemes[panel])
        text = cells[0].text
        page.title(panel, text.model, text_line(text), names_height)
    return page.figure
