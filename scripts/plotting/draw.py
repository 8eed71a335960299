"""From records to files: the part that needs matplotlib."""

import io
import os
import sys
import warnings

from . import bits, history, kl, layers, ledger, speed, style, training
from .fields import InputError
from .page import NoFigure

PLOTS = {"bits": bits, "speed": speed, "kl": kl, "layers": layers, "ledger": ledger,
         "training": training, "history": history}
# Nothing that differs from one day to the next.
METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
DOTS_PER_INCH = 300


def _write_whole(file, data):
    """The file is there with all of its bytes, or as it was before."""
    part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(file, f"cannot be written: {error.strerror}") from None


def _write(figure, name, out, formats):
    for format_name in formats:
        data = io.BytesIO()
        metadata = {"Title": PLOTS[name].FIGURE_TITLE, **METADATA[format_name]}
        figure.savefig(data, format=format_name, dpi=DOTS_PER_INCH, metadata=metadata)
        file = out / f"{name}.{format_name}"
        _write_whole(file, data.getvalue())
        print(file)


def _note(name, text):
    print(f"plots: {name}: {text}", file=sys.stderr)


def _warn(message, *_):
    """Of matplotlib: a font without a letter, say."""
    print(f"plots: {message}", file=sys.stderr)


def _plot(name, records, out, formats):
    """Was there something to plot?"""
    try:
        figure = PLOTS[name].make(records, lambda text: _note(name, text))
    except NoFigure as reason:
        _note(name, f"not made: {reason}")
        return False
    _write(figure, name, out, formats)
    return True


def draw(records, names, out, formats):
    """Writes the plots of these names; which of them there was something for, as booleans."""
    style.apply()
    warnings.simplefilter("once")
    warnings.showwarning = _warn
    return [_plot(name, records, out, formats) for name in names]
