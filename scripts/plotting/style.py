"""How every figure looks: for print, for the colour-blind, and for the eye that sees grey."""

import math

import matplotlib
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .record import is_reference

# Okabe and Ito's colours; black is the reference's. With each a marker of its own.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
REFERENCE_COLOUR, REFERENCE_MARKER = "black", "*"
# These look alike in every figure; other methods take the places after them.
KNOWN = ("rtn", "gptq", "awq", "awq+gptq")

FAMILY, FONT_POINTS = "DejaVu Sans", 8
TEXT_GREY, LINE_GREY = "#404040", "#8c8c8c"

SETTINGS = {
    "font.family": FAMILY,
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS + 1,
    "axes.labelsize": FONT_POINTS + 1,
    "xtick.labelsize": FONT_POINTS,
    "ytick.labelsize": FONT_POINTS,
    "legend.fontsize": FONT_POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": TEXT_GREY,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": TEXT_GREY,
    "ytick.color": TEXT_GREY,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    # Names in records are text, whatever they hold.
    "text.parse_math": False,
    "text.usetex": False,
    # Text stays text: it can be found, copied, and set in the reader's fonts.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    # The same records give the same bytes.
    "svg.hashsalt": "quantref",
}


def apply():
    """Sets matplotlib up, whatever its files on this machine say."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(SETTINGS)


class Looks:
    """The colour and marker of each series of a figure, by its name."""

    def __init__(self, names):
        others = sorted(name for name in set(names) - {*KNOWN} if not is_reference(name))
        self._place = {name: place for place, name in enumerate((*KNOWN, *others))}

    def order(self, names):
        """The reference first, then by place."""
        return sorted(set(names), key=lambda name: self._place.get(name, -1))

    def colour(self, name):
        if is_reference(name):
            return REFERENCE_COLOUR
        return COLOURS[self._place[name] % len(COLOURS)]

    def marker(self, name):
        if is_reference(name):
            return REFERENCE_MARKER
        return MARKERS[self._place[name] % len(MARKERS)]

    def point(self, name, hollow=False, size=6):
        """Of Axes.plot. Edges are dark: light colours have to stand out on paper too."""
        return {
            "marker": self.marker(name),
            "markersize": size + 2.5 if is_reference(name) else size,
            "markerfacecolor": "white" if hollow else self.colour(name),
            "markeredgecolor": self.colour(name) if hollow else "black",
            "markeredgewidth": 1.1 if hollow else 0.6,
            "linestyle": "none",
        }

    def handles(self, names):
        """Of a legend."""
        return [Line2D([], [], label=name, **self.point(name)) for name in self.order(names)]


def plain(value, _=None):
    """A number as a tick's label: no mathematical typesetting."""
    return f"{value:g}"


def log_ticks(low, high, most):
    """The finest of some usual steps that puts two to `most` ticks between low and high."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [(1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)]
    for subs in steps:
        ticks = [float(f"{sub}e{decade}") for decade in decades for sub in subs]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) < 2:
            break
        if len(ticks) <= most:
            return ticks
    if len(ticks) > most:
        return ticks[:: -(-len(ticks) // most)]
    even = MaxNLocator(most - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in even if low <= tick <= high]


def log_axis(axis, low, high, most):
    """Makes Axes.xaxis or .yaxis logarithmic, from low to high, with at most so many labels."""
    is_x = axis.axis_name == "x"
    (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
    (axis.axes.set_xlim if is_x else axis.axes.set_ylim)(low, high)
    axis.set_ticks(log_ticks(low, high, most))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_locator(NullLocator())


def frame(low, high, log=False, air=0.06):
    """Limits of an axis that holds what lies from low to high, with a share of air on each side."""
    if log:
        factor = (high / low) ** air if high > low else 1 + air
        return low / factor, high * factor
    space = (high - low) * air or abs(high) * air or 1
    return low - space, high + space
