"""The command line of scripts/plots."""

import argparse
import io
import os
import sys
import traceback
import warnings
from pathlib import Path

from . import bits, history, kl, layers, speed, style
from .fields import InputError
from .page import NoFigure
from .records import read_records

PLOTS = {"bits": bits, "speed": speed, "kl": kl, "layers": layers, "history": history}
# Nothing that differs from one day to the next.
METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
DOTS_PER_INCH = 300


def _names(known):
    """Of an option: a list of them, separated by commas."""

    def read(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                found = f"expected some of {','.join(known)}, found '{name}'"
                raise argparse.ArgumentTypeError(found)
        return list(dict.fromkeys(names))

    return read


def _arguments(usage):
    parser = argparse.ArgumentParser(
        prog="plots", description=usage, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    parser.add_argument("records", metavar="RECORDS", nargs="+")
    parser.add_argument("--out", metavar="DIR", default="plots", type=Path, help="default: plots")
    parser.add_argument("--formats", metavar="pdf,svg,png", default=list(METADATA),
                        type=_names(METADATA), help="default: all three")
    parser.add_argument("--only", metavar="NAME,...", default=list(PLOTS), type=_names(PLOTS),
                        help="default: every plot that the records have something for")
    return parser.parse_args()


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


def _write(figure, name, arguments):
    for format_name in arguments.formats:
        data = io.BytesIO()
        figure.savefig(data, format=format_name, dpi=DOTS_PER_INCH, metadata=METADATA[format_name])
        file = arguments.out / f"{name}.{format_name}"
        _write_whole(file, data.getvalue())
        print(file)


def _note(name, text):
    print(f"plots: {name}: {text}", file=sys.stderr)


def _warn(message, *_):
    """Of matplotlib: a font without a letter, say."""
    print(f"plots: {message}", file=sys.stderr)


def _plot(name, records, arguments):
    """Was there something to plot?"""
    try:
        figure = PLOTS[name].make(records, lambda text: _note(name, text))
    except NoFigure as reason:
        _note(name, f"not made: {reason}")
        return False
    _write(figure, name, arguments)
    return True


def main(usage):
    """The exit code."""
    arguments = _arguments(usage)
    style.apply()
    warnings.simplefilter("once")
    warnings.showwarning = _warn
    try:
        records = read_records(arguments.records)
        made = [_plot(name, records, arguments) for name in arguments.only]
        return 0 if any(made) else 2
    except InputError as error:
        print(f"plots: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        print("This is a bug in QuantRef; please report it.", file=sys.stderr)
        return 3
