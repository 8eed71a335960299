"""A figure set out in inches: what explains it above, panels in columns, a caption below."""

from functools import lru_cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from .style import FAMILY, FONT_POINTS, LINE_GREY, TEXT_GREY

WIDTH = 7.0  # of a page of a paper with its two columns
NARROW = 5.0  # of a figure of one panel
MARGIN = 0.08
LINE = 1.32 * FONT_POINTS / 72
LEGEND_LINE = 0.19
HANDLE = 0.42  # what a legend's entry is wider than its text
PANELS_AT_MOST = 60
NAME_AT_MOST = 2.8  # inches of names that are labels
FLAG_GAP = 0.06  # inches between axes and the names over them
BACKED = {"fc": "white", "ec": "none", "pad": 0.5}


class NoFigure(Exception):
    """Why a plot is not made of these records."""


@lru_cache(maxsize=None)
def text_width(text, size=FONT_POINTS, weight="normal"):
    """In inches."""
    font = FontProperties(family=FAMILY, size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def fit(text, width, **style):
    """The text, or as much of it as there is room for."""
    if text_width(text, **style) <= width:
        return text
    while text and text_width(text + "…", **style) > width:
        text = text[:-1]
    return text + "…"


def wrap(text, width):
    """Lines of text that fit into so many inches."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > width:
            lines.append(fit(word, width))
        else:
            lines[-1] = fit(longer, width)
    return lines


def stagger(places, texts, gap=0.08):
    """The row of each text when all are centred at their places (inches) and none may touch
    another: the lowest that is free."""
    rows, chosen = [], {}
    for i in sorted(range(len(texts)), key=lambda i: places[i]):
        half = text_width(texts[i]) / 2 + gap / 2
        row = next((r for r, end in enumerate(rows) if end <= places[i] - half), len(rows))
        rows[row:row + 1] = [places[i] + half]
        chosen[i] = row
    return [chosen[i] for i in range(len(texts))]


def _flags(found, width):
    """(place, where its name is centred, row) of each of (place, name), in inches."""
    centres = []
    for place, name in found:  # names do not leave the axes
        half = text_width(name) / 2
        centres.append(min(max(place, half), max(half, width - half)))
    rows = stagger(centres, [name for _, name in found])
    return [(place, centre, row) for (place, _), centre, row in zip(found, centres, rows)]


def flag_rows(found, width):
    """How many lines the names take."""
    return 1 + max((row for _, _, row in _flags(found, width)), default=-1)


def flags_height(rows):
    return FLAG_GAP + rows * LINE


def axes_width(panels, left, right, columns=2):
    """In inches, between these margins."""
    columns = min(panels, columns)
    return (WIDTH if columns > 1 else NARROW) / columns - left - right


class Page:
    """One panel for each of `heights`, those of its axes in inches; `margins`: inches left, above,
    right and below them, for titles and labels. `caption`: sentences. `head`: inches kept free
    below the legend."""

    def __init__(self, heights, margins, caption, handles=(), columns=2, width=None, head=0.0):
        if len(heights) > PANELS_AT_MOST:
            raise NoFigure(f"{len(heights)} panels, where a page holds {PANELS_AT_MOST}")
        columns = min(len(heights), columns)
        self.width = width or (WIDTH if columns > 1 else NARROW)
        self._margins, self._columns, self._heights = margins, columns, heights
        left, top, right, bottom = margins
        rows = [heights[i:i + columns] for i in range(0, len(heights), columns)]
        self._row_heights = [max(row) + top + bottom for row in rows]
        self.axes_width = self.width / columns - left - right
        lines = wrap(" ".join(caption), self.width - 2 * MARGIN)
        legend_columns, legend_rows = self._legend_grid(handles)
        above = MARGIN + legend_rows * LEGEND_LINE + head
        foot = 2 * MARGIN + len(lines) * LINE
        self.height = above + sum(self._row_heights) + foot
        self._top = self.height - above
        self.figure = Figure(figsize=(self.width, self.height))
        if handles:
            self._draw_legend(handles, legend_columns)
        for i, line in enumerate(lines):
            self.text(MARGIN, foot - MARGIN - (i + 1) * LINE, line, color=TEXT_GREY)

    def _legend_grid(self, handles):
        """(columns, rows)"""
        if not handles:
            return 0, 0
        for handle in handles:
            handle.set_label(fit(handle.get_label(), NAME_AT_MOST))
        widest = max(text_width(handle.get_label()) for handle in handles) + HANDLE
        columns = max(1, min(len(handles), int((self.width - 2 * MARGIN) / widest)))
        rows = -(-len(handles) // columns)
        return -(-len(handles) // rows), rows

    def _draw_legend(self, handles, columns):
        self.figure.legend(
            handles=list(handles),
            ncol=columns,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - MARGIN / 2 / self.height),
            borderaxespad=0,
            borderpad=0.1,
            frameon=False,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=1.2,
            labelspacing=LEGEND_LINE * 72 / FONT_POINTS - 1.15,
        )

    def text(self, x, y, text, **style):
        """At inches from the lower left corner."""
        self.figure.text(x / self.width, y / self.height, text, va="baseline", **style)

    def box(self, panel):
        """Where a panel's axes go: left, bottom, width, height in inches."""
        left, top, _, _ = self._margins
        row, column = divmod(panel, self._columns)
        ceiling = self._top - sum(self._row_heights[:row]) - top
        height = self._heights[panel]
        return column * self.width / self._columns + left, ceiling - height, self.axes_width, height

    def flags(self, panel, found):
        """Names over a panel, each of (inches from the left of the axes, name) with a stem."""
        left, bottom, width, height = self.box(panel)
        top = bottom + height
        for (place, centre, row), (_, name) in zip(_flags(found, width), found):
            above = flags_height(row)
            stem = [(left + place) / self.width] * 2, [top / self.height, (top + above) / self.height]
            self.figure.add_artist(Line2D(*stem, color=LINE_GREY, lw=0.5))
            self.text(left + centre, top + above + 0.02, name, ha="center", bbox=BACKED)

    def axes(self, box, **settings):
        left, bottom, width, height = box
        area = left / self.width, bottom / self.height, width / self.width, height / self.height
        return self.figure.add_axes(area, **settings)

    def title(self, panel, title, subtitle, above=0.0):
        """Over a panel, `above` inches over its axes; with a letter where there are several."""
        left, bottom, _, height = self.box(panel)
        x, y = left - self._margins[0] + MARGIN, bottom + height + above + 0.08
        room = self.width / self._columns - 2 * MARGIN
        letter = f"{panel_letter(panel)} " if len(self._heights) > 1 else ""
        style = {"size": FONT_POINTS + 1, "weight": "bold"}
        self.text(x, y + LINE, fit(letter + title, room, **style), **style)
        self.text(x, y, fit(subtitle, room), color=TEXT_GREY)


TITLE = 2 * LINE + 0.16  # inches that a title takes


def panel_letter(panel):
    letters = ""
    panel += 1
    while panel:
        panel, digit = divmod(panel - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return f"({letters})"
