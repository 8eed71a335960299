"""The command line of scripts/plots."""

import argparse
import signal
import sys
import traceback
from pathlib import Path

from .fields import InputError
from .records import read_records

PLOTS = ["bits", "speed", "kl", "layers", "ledger", "training", "history"]
FORMATS = ["pdf", "svg", "png"]


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


def _text(text):
    """Of an option: anything but "", which a script's unset variable would be."""
    if not text:
        raise argparse.ArgumentTypeError('expected something, found ""')
    return text


def _path(text):
    return Path(_text(text))


def _stopped(number, frame):
    raise KeyboardInterrupt


def _arguments(usage):
    parser = argparse.ArgumentParser(
        prog="plots", description=usage, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    parser.add_argument("records", metavar="RECORDS", nargs="+", type=_text)
    parser.add_argument("--out", metavar="DIR", default="plots", type=_path, help="default: plots")
    parser.add_argument("--formats", metavar="pdf,svg,png", default=FORMATS,
                        type=_names(FORMATS), help="default: all three")
    parser.add_argument("--only", metavar="NAME,...", default=PLOTS, type=_names(PLOTS),
                        help="default: every plot that the records have something for")
    return parser.parse_args()


def main(usage):
    """The exit code."""
    arguments = _arguments(usage)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        records = read_records(arguments.records)
        try:
            from .draw import draw  # not before the records are right: it takes a second
        except ImportError:
            raise InputError("plots", "expected the Python package matplotlib, found none",
                             "sudo apt-get install python3-matplotlib") from None
        made = draw(records, arguments.only, arguments.out, arguments.formats)
        return 0 if any(made) else 2
    except InputError as error:
        print(f"plots: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("plots: interrupt: stopped by the user", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        print("This is a bug in QuantRef; please report it.", file=sys.stderr)
        return 3
