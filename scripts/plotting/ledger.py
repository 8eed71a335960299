"""Where a cell's change comes from: what its steps add, and what its blocks and kinds of matrices do
alone and all but alone."""

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .captions import cell_names, describe, plural, text_line
from .page import MARGIN, NAME_AT_MOST, TITLE, WIDTH, NoFigure, Page, fit, text_width
from .perplexity import in_order
from .records import newest
from .style import BLUE, GREEN, LINE_GREY, VERMILION, frame, plain

FIGURE_TITLE = "Where the change comes from"
ROW = 0.17
GAP = 0.25  # inches between NLL and KL
BOTTOM = 0.48
STEPS = {"weights": "weight rounding", "activations": "activation rounding",
         "kv_cache": "rounded cache", "kernels": "kernel arithmetic"}
CAPTION = (
    "In nats a token, with 95 % intervals over windows. Steps: nested runs through the measured text,"
    " each with one thing more that is rounded; they sum to the cell's change. Blocks, then kinds of"
    " matrices: each quantized alone, and what the cell wins where it alone is not."
)


def _rows(ledger):
    """(name, [(colour, marker, Part)]); None: a line between sections."""
    rows = [(STEPS.get(step.name, step.name), [(BLUE, "o", step)]) for step in ledger.steps]
    for items in (ledger.blocks, ledger.kinds):
        if items:
            rows.append(None)
        rows += [(alone.name, [(VERMILION, "s", alone), (GREEN, "D", won)]) for alone, won in items]
    return rows


def _draw_axes(axes, rows, of, label):
    values = [0.0]
    for place, row in enumerate(rows):
        if row is None:
            axes.axhline(place, color=LINE_GREY, lw=0.6)
            continue
        for shift, (colour, marker, part) in enumerate(row[1]):
            mean = of(part)
            if mean is None:
                continue
            y = place + (0.22 * (2 * shift - 1) if len(row[1]) > 1 else 0)
            values += [mean[0], *(mean[1] or ())]
            axes.plot([0, mean[0]], [y, y], color=colour, lw=1.6, alpha=0.35, zorder=2)
            if mean[1]:
                axes.plot(mean[1], [y, y], color=colour, lw=1.0, zorder=3)
            axes.plot(mean[0], y, marker, ms=3, mfc=colour, mec="black", mew=0.4, zorder=4)
    axes.axvline(0, color="black", lw=0.6, zorder=1)
    axes.set_xlim(frame(min(values), max(values)))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)


def _draw_panel(page, index, rows):
    left, bottom, width, height = page.box(index)
    width = (width - GAP) / 2
    boxes = ((left, bottom, width, height), (left + width + GAP, bottom, width, height))
    nll, kl = (page.axes(box) for box in boxes)
    _draw_axes(nll, rows, lambda part: part.nll, "change of NLL, nats")
    _draw_axes(kl, rows, lambda part: part.kl, "KL, nats")
    named = [(place, row[0]) for place, row in enumerate(rows) if row]
    for axes in (nll, kl):
        axes.set_yticks([place for place, _ in named],
                        [fit(name, NAME_AT_MOST) for _, name in named])
        axes.tick_params(axis="y", length=0, labelleft=axes is nll, labelcolor="black")


def _about(cell):
    """The sentence of a panel that says what its items were measured on."""
    ledger = cell.ledger
    if not ledger.blocks:
        return text_line(cell.text)
    kept = " (TEST TEXT: not for choosing)" if ledger.is_test_text else ""
    return (f"{text_line(cell.text)} · blocks and kinds: {plural(ledger.windows, 'window')} of"
            f" {ledger.text}{kept}")


def _legend():
    marks = ((BLUE, "o", "a step adds"), (VERMILION, "s", "quantized alone"),
             (GREEN, "D", "won where it alone is not"))
    return [Line2D([], [], color=colour, marker=marker, ms=4, mec="black", mew=0.4, label=label)
            for colour, marker, label in marks]


def make(records, note):
    cells = [cell for cell in in_order(newest(records)) if cell.ledger and cell.text]
    if not cells:
        raise NoFigure("no record has a ledger (run_eval --ledger makes them)")
    names = cell_names(cells)
    panels = [_rows(cell.ledger) for cell in cells]
    left = max(text_width(fit(row[0], NAME_AT_MOST)) for rows in panels for row in rows if row)
    page = Page([ROW * len(rows) + 0.1 for rows in panels],
                (left + 2 * MARGIN, TITLE, 0.12, BOTTOM),
                [CAPTION, *describe([[cell] for cell in cells])], _legend(), columns=1, width=WIDTH)
    for index, (cell, rows) in enumerate(zip(cells, panels)):
        _draw_panel(page, index, rows)
        page.title(index, f"{cell.text.model}: {names[cell.id]}", _about(cell))
    return page.figure
