"""A record as plots need it."""

from dataclasses import dataclass, field
from datetime import datetime

TYPES = {"fp16", "bf16", "fp32"}  # of weights without codes
QUANTILES = ("p50", "p90", "p99", "p999", "max")


def is_reference(method):
    """Whether this is the method of a cell that all others are compared with: it is called by what
    its weights are, "bf16", or where matrices differ "bf16+fp32"."""
    return set(method.split("+")) <= TYPES


@dataclass(frozen=True)
class Rate:
    """Tokens a second."""

    tokens: int
    threads: int
    samples: tuple
    ratio: float = None  # to that of FP16 weights in the same run


@dataclass(frozen=True)
class Kl:
    """KL(reference || cell) in nats: over positions, and the means of windows."""

    mean: float
    interval: tuple  # None where there were too few windows
    quantiles: tuple  # as QUANTILES
    windows: tuple


@dataclass(frozen=True)
class Training:
    """Of a trained cell."""

    loss: str  # what was made smaller, kl or ce
    text: str  # what it was trained on
    losses: tuple  # before each step


@dataclass(frozen=True)
class Part:
    """Of what a cell changes: means in nats, each (mean, (low, high) or None); None: not measured."""

    name: str
    nll: tuple
    kl: tuple


@dataclass(frozen=True)
class Ledger:
    """Where a cell's change comes from."""

    steps: tuple  # Parts, which sum to the whole
    blocks: tuple = ()  # (Part of it alone, Part of what keeping it wins), in the model's order
    kinds: tuple = ()
    text: str = ""  # that blocks and kinds were measured on
    windows: int = 0
    is_test_text: bool = False


@dataclass(frozen=True)
class Accuracy:
    """Intervals are (low, high), of 95 %; None where there were too few windows."""

    mean_nll: float
    ppl: float  # None where that was not asked for
    ppl_interval: tuple
    delta: float  # of the mean NLL, against the reference
    delta_interval: tuple  # paired
    kl: Kl
    reference: str  # what the reference is called


@dataclass(frozen=True)
class Text:
    """What accuracies were measured on. Only those of equal ones may share an axis."""

    model: str = field(compare=False)  # what it is called; the weights are what it is
    weights: str
    protocol: str
    name: str
    tokens: str  # hash
    windows: tuple  # their places in the text
    of_windows: int
    scored: int
    substituted: bool

    def order(self):
        """Of panels: whole texts before partial ones."""
        return self.model, self.weights, self.protocol, self.name, -len(self.windows)

    def partial(self):
        return len(self.windows) < self.of_windows


# Of stamps, what plots say in another way: titles of panels, and hollow points.
SAID_ELSEWHERE = {"dataset.substituted_sample", "protocol.cut_from_windows", "throughput.busy"}


@dataclass(frozen=True)
class Stamp:
    """What must be known of a record before its figures are used, as tables have it."""

    letter: str
    text: str
    path: str  # of the field that says it
    of_speed: bool  # else of accuracy


@dataclass(frozen=True)
class Machine:
    """What speeds were measured on, and by what. Only those of equal ones may share an axis."""

    facts: tuple  # (name, value) of each field of `environment` that makes speeds others

    def __getitem__(self, name):
        return dict(self.facts)[name]


@dataclass(frozen=True)
class Record:
    id: str
    created: datetime
    commit: str  # short, with "+" where the tree differed from it
    config: str
    method: str
    model: str
    seed: int  # of the calibration, where the config has several
    scheme: str
    bits: float
    threads: int
    machine: Machine
    text: Text = None
    accuracy: Accuracy = None
    calibration: str = None  # of methods that read one
    training: Training = None
    ledger: Ledger = None
    decode: tuple = ()
    busy: bool = False
    interrupted: bool = False  # its run, before all was measured
    errors: dict = field(default_factory=dict)  # matrix to relative error of its outputs
    stamps: tuple = ()

    def cell(self):
        method = "reference" if self.is_reference() else self.method
        model = self.model if self.text is None else self.text.weights
        return self.config, method, model, self.seed, self.text

    def is_reference(self):
        return is_reference(self.method)

    def marks(self, of_speed=False):
        """(letter, meaning) of the stamps that stand beside its accuracy; or beside its speed, too."""
        return sorted({
            (stamp.letter, stamp.text)
            for stamp in self.stamps
            if (of_speed or not stamp.of_speed) and stamp.path not in SAID_ELSEWHERE
        })

    def reference_name(self):
        """Of the cell that its changes are against."""
        if self.is_reference():
            return self.method
        return self.accuracy.reference if self.accuracy else "fp16"
