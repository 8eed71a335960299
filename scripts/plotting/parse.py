"""From JSON to a record, strictly."""

import math
from datetime import datetime
from pathlib import PurePath

from . import schema
from .fields import Fields
from .record import (QUANTILES, Accuracy, Kl, Ledger, Machine, Part, Rate, Record, Stamp, Text,
                     Training)

# An aggregate is made of sums of doubles, summed in another order.
SAME = 1e-9
EXP_AT_MOST = 700.0  # of more a double has no exponential


def _public(name):
    """Of a path its last part: where a file lies is nobody's business."""
    return PurePath(name).name or name if "/" in name else name


def _short(digest):
    return digest[:8]


def _model(fields):
    dtype = fields.maybe(fields.text, "model.dtype")
    name = _public(fields.text("model.name")) + ("" if dtype in (None, "native") else f" {dtype}")
    return name + (" + outliers" if fields.has("model.outliers") else "")


def _weights(fields):
    text = _short(fields.text("model.sha256"))
    dtype = fields.maybe(fields.text, "model.dtype")
    if dtype not in (None, "native"):
        text += f", as {dtype}"
    if not fields.has("model.outliers"):
        return text
    channels, scale = (fields.number(f"model.outliers.{key}") for key in ("channels", "scale"))
    return f"{text}, outliers {channels:g} x {scale:g}"


def _text(fields):
    windows = fields.count("protocol.windows", least=1)
    scored = fields.numbers("protocol.window_scored", windows, least=1)
    index = fields.maybe(lambda path: fields.numbers(path, windows), "protocol.window_index")
    split = fields.maybe(fields.text, "dataset.split")
    return Text(
        model=_model(fields),
        weights=_weights(fields),
        protocol=fields.text("protocol.name")
        + ("" if fields.maybe(fields.flag, "protocol.bos") in (None, True) else " without BOS"),
        name=_public(fields.text("dataset.name")) + (f" {split}" if split else ""),
        tokens=_short(fields.text("protocol.token_sha256")),
        windows=tuple(index or range(windows)),
        of_windows=fields.maybe(fields.count, "protocol.cut_from_windows") or windows,
        scored=int(sum(scored)),
        substituted=fields.flag("dataset.substituted_sample"),
    )


def _check_follows(fields, path, stated, samples):
    """The aggregates must be those of the samples beside them."""
    if abs(stated - samples) > SAME * max(1.0, abs(samples)):
        fields.fail(path, f"what the record's windows give, {samples:.9g}", f"{stated:.9g}")


def _kl(fields, scored):
    if not fields.has("accuracy.kl_mean"):
        return None
    sums = fields.numbers("accuracy.window_kl", len(scored))
    mean = fields.number("accuracy.kl_mean")
    _check_follows(fields, "accuracy.kl_mean", mean, sum(sums) / sum(scored))
    quantiles = tuple(fields.number(f"accuracy.kl_{name}") for name in QUANTILES)
    if list(quantiles) != sorted(quantiles):
        fields.fail("accuracy.kl_p50", "quantiles that rise up to kl_max", f"{quantiles}")
    return Kl(
        mean=mean,
        interval=fields.maybe(fields.interval, "accuracy.kl_ci95"),
        quantiles=quantiles,
        windows=tuple(kl / tokens for kl, tokens in zip(sums, scored)),
    )


def _accuracy(fields):
    scored = fields.numbers("protocol.window_scored")
    mean = sum(fields.numbers("accuracy.window_nll", len(scored))) / sum(scored)
    ppl = fields.maybe(lambda path: fields.number(path, least=1e-15), "accuracy.ppl")
    delta = fields.maybe(fields.number, "accuracy.delta_nll")
    interval = fields.maybe(fields.interval, "accuracy.delta_nll_ci95")
    for change in (delta or 0, *(interval or ())):
        if abs(change) > EXP_AT_MOST:
            fields.fail("accuracy.delta_nll", "a change in nats a token", f"{change:g}")
    if ppl is not None:
        _check_follows(fields, "accuracy.ppl", ppl, math.exp(min(mean, EXP_AT_MOST)))
    return Accuracy(
        mean_nll=mean,
        ppl=ppl,
        ppl_interval=fields.maybe(lambda path: fields.interval(path, 1e-15), "accuracy.ppl_ci95"),
        delta=delta,
        delta_interval=interval,
        kl=_kl(fields, scored),
        reference=fields.maybe(fields.text, "accuracy.reference") or "fp16",
    )


def _calibration(fields):
    if not fields.has("calibration.dataset") or fields.text("calibration.used_by") != "method":
        return None
    split = fields.maybe(fields.text, "calibration.split")
    distinct = fields.maybe(fields.count, "calibration.distinct_tokens")
    return (
        _public(fields.text("calibration.dataset"))
        + (f" {split}" if split else "")
        + f", {fields.count('calibration.samples')} x {fields.count('calibration.length')} tokens"
        + (f" ({distinct:,} distinct)" if distinct is not None else "")
    )


def _training(fields):
    if not fields.has("finetune.losses"):
        return None
    split = fields.maybe(fields.text, "finetune.split")
    counts = [fields.count(f"finetune.{name}", least=1) for name in ("batch", "length")]
    return Training(
        loss=fields.text("finetune.loss"),
        text=_public(fields.text("finetune.dataset"))
        + (f" {split}" if split else "")
        + f", {counts[0]} x {counts[1]} tokens a step",
        losses=tuple(fields.numbers("finetune.losses")),
    )


def _mean(fields, path):
    if not fields.has(path):
        return None
    return fields.number(path), fields.maybe(fields.interval, f"{path}_ci95")


def _part(fields, run=""):
    return Part(fields.text("name"), _mean(fields, f"{run}delta_nll"), _mean(fields, f"{run}kl"))


def _ledger(fields):
    if not fields.has("ledger.parts"):
        return None
    steps = tuple(_part(part) for part in fields.maps("ledger.parts"))
    if not fields.has("ledger.blocks"):
        return Ledger(steps)
    items = {"block": [], "kind": [], "end": []}
    for item in fields.maps("ledger.blocks.items"):
        of = item.text("of")
        if of not in items:
            item.fail("of", "block, kind or end")
        items[of].append((_part(item, "alone_"), _part(item, "won_")))
    split = fields.maybe(fields.text, "ledger.blocks.split")
    return Ledger(
        steps=steps,
        blocks=tuple(items["block"] + items["end"]),
        kinds=tuple(items["kind"]),
        text=_public(fields.text("ledger.blocks.dataset")) + (f" {split}" if split else ""),
        windows=len(fields.numbers("ledger.blocks.window_index")),
        is_test_text=fields.flag("ledger.blocks.is_test_text"),
    )


def _says(fields, path, stamp):
    if fields.is_flag(path):
        return fields.flag(path)
    if "value" in stamp:
        return fields.maybe(fields.text, path) == stamp["value"]
    return fields.has(path)


def _is_said(fields, path, stamp):
    """Whether the record says what the field is a stamp for, or an item of the field's list."""
    path, is_of_item, name = path.partition("[].")
    if not is_of_item:
        return _says(fields, path, stamp)
    return any(_says(item, name, stamp) for item in fields.maps(path))


def _stamps(fields):
    """As eval/record/stamps.cpp finds them."""
    timed = any(fields.maps(f"throughput.{name}_tokens_s") for name in ("prefill", "decode"))
    used = fields.maybe(fields.text, "calibration.used_by") in (None, "method")

    def concerns(path, stamp):
        return timed if stamp.get("of_rates") else used or not path.startswith("calibration.")

    return tuple(
        Stamp(stamp["letter"], stamp["text"], path, stamp["of_speed"])
        for path, stamp in schema.stamps()
        if concerns(path, stamp) and _is_said(fields, path, stamp)
    )


def _decode(fields):
    return tuple(
        Rate(
            tokens=rate.count("tokens", least=1),
            threads=rate.count("threads", least=1),
            samples=tuple(rate.numbers("samples", least=1e-15)),
            ratio=rate.maybe(lambda path: rate.number(path, least=1e-15), "vs_fp16"),
        )
        for rate in fields.maps("throughput.decode_tokens_s")
    )


def _errors(fields):
    errors = {}
    for layer in fields.maps("layers"):
        name = layer.text("name")
        if name in errors:
            layer.fail("name", "each matrix once")
        if layer.has("output_error"):
            errors[name] = layer.number("output_error", least=0)
    return errors


def _created(fields):
    try:
        return datetime.strptime(fields.text("created"), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        fields.fail("created", "a time like 2026-01-31T12:34:56Z")


def _machine(fields):
    paths = [path for path in schema.with_roles("speed") if path.startswith("environment.")]
    return Machine(tuple((path.split(".")[1], fields.text(path)) for path in paths))


def _scheme(fields):
    parts = [fields.maybe(fields.text, path) for path in ("scheme.name", "activations", "kv_cache.name")]
    return ", ".join(part for part in parts if part and part != "none")


def read_record(value, where):
    """A record of JSON; `where` names it in messages."""
    fields = Fields(value, where)
    if not fields.has("schema") or fields.count("schema") != schema.SCHEMA:
        fields.fail("schema", str(schema.SCHEMA))
    synthetic = fields.flag("model.synthetic")
    return Record(
        id=fields.text("id"),
        created=_created(fields),
        commit=fields.text("tool.git_commit")[:7] + ("+" if fields.flag("tool.dirty") else ""),
        config=fields.text("config.name"),
        method=fields.text("method"),
        model=_model(fields),
        seed=fields.count("calibration.seed") if fields.has("calibration.seeds") else None,
        scheme=_scheme(fields),
        bits=fields.maybe(lambda path: fields.number(path, least=1e-15), "effective_bits"),
        threads=fields.maybe(fields.count, "environment.threads"),
        machine=_machine(fields),
        text=None if synthetic else _text(fields),
        accuracy=None if synthetic else _accuracy(fields),
        calibration=_calibration(fields),
        training=_training(fields),
        ledger=_ledger(fields),
        decode=_decode(fields),
        busy=fields.flag("throughput.busy"),
        interrupted=fields.flag("protocol.interrupted"),
        errors=_errors(fields),
        stamps=_stamps(fields),
    )
