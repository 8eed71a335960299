"""Relative errors of the outputs of each quantized matrix, as heat maps of blocks and matrices."""

import re

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from .captions import describe, series_names, stamped
from .page import LINE, MARGIN, NAME_AT_MOST, TITLE, NoFigure, Page, fit, text_width
from .records import newest
from .style import TEXT_GREY, log_axis

FIGURE_TITLE = "Relative error of each matrix's outputs"
ROW = 0.2
RIGHT, BOTTOM = 0.12, 0.42
HEAD = 0.62  # inches that the colour scale takes
COLOURS = "viridis"  # dark to light, for every eye and for grey
LABELS_AT_MOST = 12
CAPTION = (
    "Mean square error of a quantized matrix's outputs over their mean square, on the first"
    " calibration samples. One colour scale for all panels; hatched: not quantized or not"
    " measured; frame: the largest of a cell."
)
ZERO = "An error of 0 has the colour of the smallest."
IN_BLOCK = re.compile(r"layers\.(\d{1,4})\.(.+)")


class Grid:
    """The errors of a cell: a row a matrix, a column a block; NaN where there is none."""

    def __init__(self, cell):
        places = {name: IN_BLOCK.fullmatch(name) for name in cell.errors}
        inside = {n: (int(m[1]), m[2]) for n, m in places.items() if m}
        self.outside = {n: cell.errors[n] for n, m in places.items() if not m}
        self.matrices = list(dict.fromkeys(matrix for _, matrix in inside.values()))
        blocks = 1 + max((block for block, _ in inside.values()), default=-1)
        self.errors = np.full((len(self.matrices), blocks), np.nan)
        for name, (block, matrix) in inside.items():
            self.errors[self.matrices.index(matrix), block] = cell.errors[name]

    def labels(self):
        return [fit(matrix.rsplit(".", 1)[-1], NAME_AT_MOST / 2) for matrix in self.matrices]

    def worst(self):
        """(row, column) of the largest."""
        return np.unravel_index(np.nanargmax(self.errors), self.errors.shape)


def _draw_panel(axes, grid, norm):
    axes.set_facecolor("white")
    axes.patch.set(hatch="////", edgecolor="#b0b0b0", linewidth=0)
    rows, blocks = grid.errors.shape
    axes.pcolormesh(np.arange(blocks + 1) - 0.5, np.arange(rows + 1) - 0.5,
                    np.ma.masked_invalid(np.maximum(grid.errors, norm.vmin)), norm=norm,
                    cmap=COLOURS, edgecolors="white", linewidth=0.4)
    row, block = grid.worst()
    for colour, width in (("white", 2.6), ("black", 1.2)):
        axes.add_patch(Rectangle((block - 0.5, row - 0.5), 1, 1, fill=False, ec=colour, lw=width))
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks(range(rows), grid.labels())
    axes.set_xticks(range(0, blocks, -(-blocks // LABELS_AT_MOST)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("block", loc="left")


def _draw_scale(page, norm):
    """Above the panels."""
    width = 0.5 * page.width
    left, bottom = (page.width - width) / 2, page.height - MARGIN - LINE - 0.34
    axes = page.axes((left, bottom, width, 0.12))
    bar = page.figure.colorbar(ScalarMappable(norm, COLOURS), cax=axes, orientation="horizontal")
    log_axis(axes.xaxis, norm.vmin, norm.vmax, most=8)
    bar.outline.set_visible(False)
    page.text(page.width / 2, bottom + 0.19, "relative error of outputs", ha="center")


def _outside(grids, names):
    """Sentences of matrices that are in no block."""
    found = []
    for cell, grid in grids:
        errors = ", ".join(f"{name} {error:.2g}" for name, error in grid.outside.items())
        if errors:
            found.append(f"Outside the blocks, {names[cell.id]} {cell.scheme}: {errors}.")
    return found


def _norm(grids):
    """None where no error is above 0."""
    errors = [error for _, grid in grids for error in grid.errors.flat if error > 0]
    return LogNorm(min(errors), max(errors) * (1 + 1e-9)) if errors else None


def _title(page, index, cell, grid, name):
    page.title(index, name, f"{cell.text.model} · {cell.scheme}")
    left, bottom, width, _ = page.box(index)
    row, block = grid.worst()
    worst = f"largest: {grid.errors[row, block]:.2g} in {block}.{grid.matrices[row]}"
    page.text(left + width, bottom - BOTTOM + 0.1, worst, color=TEXT_GREY, ha="right")


def make(records, note):
    grids = [(cell, Grid(cell)) for cell in newest(records) if cell.errors and cell.text]
    grids = [(cell, grid) for cell, grid in grids if grid.matrices]
    grids.sort(key=lambda of: (of[0].text.order(), of[0].scheme, of[0].method, of[0].id))
    norm = _norm(grids)
    if norm is None:
        raise NoFigure("no record has errors of its layers' outputs (calibration gives them)")
    cells = [cell for cell, _ in grids]
    series = series_names(cells)
    names = {cell.id: stamped(series[cell.id], cell) for cell in cells}
    caption = [CAPTION, *_outside(grids, names), *describe([[cell] for cell in cells])]
    if any((grid.errors == 0).any() for _, grid in grids):
        caption.insert(1, ZERO)
    left = max(text_width(label) for _, grid in grids for label in grid.labels()) + 2 * MARGIN
    page = Page(
        [ROW * len(grid.matrices) for _, grid in grids],
        (left, TITLE, RIGHT, BOTTOM),
        caption,
        head=HEAD,
    )
    _draw_scale(page, norm)
    for index, (cell, grid) in enumerate(grids):
        _draw_panel(page.axes(page.box(index)), grid, norm)
        _title(page, index, cell, grid, names[cell.id])
    return page.figure
