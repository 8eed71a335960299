"""Training curves: the loss before each step, a line a cell."""

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .captions import cell_names, describe
from .page import TITLE, NoFigure, Page
from .perplexity import LOG_FROM, group, in_order
from .records import newest
from .style import Looks, frame, log_axis, plain

FIGURE_TITLE = "Training curves: the loss before each step"
LEFT, RIGHT, BOTTOM = 0.62, 0.12, 0.48
HEIGHT = 2.2
SMOOTHED = 20  # a point of the line is the mean over the last of so many parts of the steps
LOSSES = {"kl": "KL from the reference, nats a token", "ce": "cross-entropy, nats a token"}
CAPTION = (
    "The loss of each step's windows before the step, faint, and its mean over the last"
    " twentieth of the steps. Each step reads other windows of the training text, the same ones in"
    " all cells of a run: what is shown is not measured on the test text."
)


def _running_mean(values):
    width = max(1, len(values) // SMOOTHED)
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - width):end]
        means.append(sum(part) / len(part))
    return means


def _value_axis(axes, cells):
    values = [loss for cell in cells for loss in cell.training.losses]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        log_axis(axes.yaxis, *frame(low, high, log=True), most=7)
    else:
        axes.set_ylim(frame(low, high))
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(axis="y")


def _draw_panel(page, panel, cells, looks, names):
    axes = page.axes(page.box(panel))
    for cell in cells:
        losses, colour = cell.training.losses, looks.colour(names[cell.id])
        steps = range(1, len(losses) + 1)
        axes.plot(steps, losses, color=colour, lw=0.6, alpha=0.35, zorder=2)
        axes.plot(steps, _running_mean(losses), color=colour, lw=1.4, zorder=3)
    _value_axis(axes, cells)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel(LOSSES.get(cells[0].training.loss, cells[0].training.loss))
    text = cells[0].training.text
    page.title(panel, cells[0].text.model, f"trained on {text}")


def _handles(looks, names):
    return [Line2D([], [], color=looks.colour(name), lw=1.4, label=name)
            for name in looks.order(names)]


def make(records, note):
    cells = [cell for cell in in_order(newest(records)) if cell.training and cell.text]
    if not cells:
        raise NoFigure("no record has a training curve (methods X+qat, X+lora and full are trained)")
    found = group(cells, lambda cell: (cell.text.weights, cell.training.loss, cell.training.text))
    panels = list(found.values())
    names = cell_names(cells)
    looks = Looks(names.values())
    page = Page([HEIGHT] * len(panels), (LEFT, TITLE, RIGHT, BOTTOM),
                [CAPTION, *describe(panels)], _handles(looks, names.values()))
    for panel, shown in enumerate(panels):
        _draw_panel(page, panel, shown, looks, names)
    return page.figure
