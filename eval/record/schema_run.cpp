#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

const Rows& Head() {
  static const Rows rows = {
      {"schema", kCount, kRequired, "", "1"},
      {"id", kText, kRequired, "",
       "the first 16 digits of the SHA-256 of the record without this field", Role::kMoment},
      {"created", kText, kRequired, "", "UTC", Role::kMoment | Role::kNamesRun},
      {"run", kText, kWritten, "",
       "the same 16 digits in all records that one call of `run_eval` wrote, and in no others",
       Role::kMoment | Role::kNamesRun | Role::kAsked},
      {"stamp", kText, kOptional, "", "of a synthetic model: that it has no accuracy"},
      {"tool", kMap, kRequired, "", ""},
      {"tool.version", kText, kRequired, "", "of QuantRef", Role::kTool},
      {"tool.git_commit", kText, kRequired, "", "that was built; `unknown` outside a checkout",
       Role::kTool | Role::kNamesRun},
      {"tool.dirty", kFlag, kWritten, "", "the tree differed from it", Role::kTool},
      {"tool.program_sha256", kText, kWritten, "", "of the program's file", Role::kAsked},
      {"config", kMap, kRequired, "", ""},
      Named({"config.name", kText, kRequired, "", "as in the config"}, "config"),
      {"config.sha256", kText, kRequired, "", "of `resolved`", Role::kAsked},
      {"config.resolved", kAnyMap, kRequired, "",
       "every key with its value, defaults too; of models and texts that a path names its last "
       "part"},
  };
  return rows;
}

const Rows& ModelFileRows() {
  static const Rows rows = {
      {"model", kMap, kRequired, "", ""},
      {"model.name", kText, kRequired, "",
       "of a folder its last part: where files lie is in no record", Role::kPlace},
      Stamped({"model.synthetic", kFlag, kOptional, "",
               "random weights in a real model's shapes: `accuracy`, and what belongs to a text, a "
               "checkpoint or their hashes, is absent",
               Role::kIdentity | Role::kSpeedIdentity},
              {'R', "SYNTHETIC WEIGHTS, random: speed only", true}),
      {"model.seed", kCount, kOptional, "", "of random weights"},
      {"model.sha256", kText, kRequiredOfText, "",
       "of the weights' file; of several over the lines `<sha256>  <file>`",
       Role::kIdentity | Role::kKnown, Stage::kWeights},
      {"model.dtype", kText, kRequiredOfText, "",
       "`native`, or `fp16`: the weights were rounded to it", Role::kIdentity, Stage::kWeights},
      {"model.gguf", kMap, kOptional, "", "where the model is a GGUF file"},
      {"model.gguf.architecture", kText, kWritten, "", "`general.architecture`"},
      {"model.gguf.stored", kText, kWritten, "", "the types of the matrices, and their bits"},
      {"model.gguf.bits", kNumber, kWritten, "bits", "stored per weight of all matrices"},
      {"model.gguf.layer_bits", kNumbers, kWritten, "bits", "of each block's matrices"},
      {"model.gguf.types", kMaps, kWritten, "", "that the matrices are stored in"},
      {"model.gguf.types[].name", kText, kRequired, "", "as ggml calls it: `Q4_K`"},
      {"model.gguf.types[].matrices", kCount, kWritten, "", "that have it"},
      {"model.gguf.types[].weights", kCount, kWritten, "", "of these together"},
      {"model.foreign", kMap, kOptional, "",
       "where the model is a folder whose matrices another tool has quantized"},
      {"model.foreign.format", kText, kWritten, "", "the tool's"},
      {"model.foreign.stored", kText, kWritten, "", "as `model.gguf.stored`"},
      {"model.foreign.bits", kNumber, kWritten, "bits", "stored per weight of all matrices"},
      {"model.foreign.layer_bits", kNumbers, kWritten, "bits", "of each block's matrices"},
      {"model.foreign.types", kMaps, kWritten, "", "that the matrices are stored in"},
      {"model.foreign.types[].name", kText, kRequired, "", "as `candidate.types[].name`"},
      {"model.foreign.types[].matrices", kCount, kWritten, "", "that have it"},
      {"model.foreign.types[].weights", kCount, kWritten, "", "of these together"},
      {"model.foreign.types[].bits", kNumber, kWritten, "bits", "stored per weight of these"},
      {"model.foreign.notes", kMaps, kWritten, "", "what its reader noticed"},
      {"model.foreign.notes[].what", kText, kRequired, "", "in words"},
      {"model.foreign.notes[].count", kCount, kRequired, "", "how often"},
      {"model.foreign.notes[].of", kText, kOptional, "", "what is counted"},
      Stamped(
          {"model.foreign.notes[].doubtful", kFlag, kOptional, "",
           "as `candidate.notes[].doubtful`"},
          {'X', "NUMBERS IN DOUBT of the reference: model.foreign.notes of the record says why"}),
  };
  return rows;
}

const Rows& ModelRows() {
  static const Rows rows = {
      {"model.passed_by", kText, kOptional, "", "of GGUF files beside the safetensors, in words"},
      Stamped({"model.decoded", kFlag, kOptional, "",
               "the files hold quantized weights, and the reference is what they decode to"},
              {'Q', "the reference is a QUANTIZED file, decoded"}),
      {"model.outliers", kMap, kOptional, "", "where the model was given some", Role::kIdentity,
       Stage::kWeights},
      {"model.outliers.channels", kNumber, kWritten, "", "share of the channels"},
      {"model.outliers.scale", kNumber, kWritten, "", "their factor"},
      {"model.outliers.seed", kCount, kWritten, "", "which channels"},
      {"model.config_sha256", kText, kWrittenOfText, "",
       "of config.json, with another tool's own file of settings; or of a GGUF file's keys and list "
       "of tensors",
       Role::kKnown, Stage::kWeights},
      {"model.tokenizer_sha256", kText, kRequiredOfText, "", "of the tokenizer's file",
       Role::kIdentity | Role::kKnown, Stage::kTokens},
      {"model.tokenizer_pieces", kCount, kWrittenOfText, "", "that it has"},
      {"model.tokenizer_kind", kText, kWrittenOfText, "", "of which kind, and read from what"},
      {"model.vocabulary", kCount, kWrittenOfText, "",
       "rows of the embedding, of which there may be more: perplexity is over all of them"},
      {"model.parameters", kCount, kWritten, "", "of the whole model", Role::kSpeedIdentity},
  };
  return rows;
}

const Rows& SchemeRows() {
  static const Rows rows = {
      {"method", kText, kRequired, "",
       "the cell's label: its method, unless the config gives it another; of the reference what "
       "its weights are: `fp16`, `bf16`, `fp32`, or several joined with `+` where matrices differ. "
       "Older records call every reference `fp16`; it is the same cell. A method whose `keep` and "
       "`overrides` leave no matrix to quantize, and that trains nothing and rounds no cache, is "
       "the reference: it has no cell, and the run says so"},
      {"scheme", kMap, kOptional, "",
       "what the weights were quantized to; absent for the reference, and where they were not. Its "
       "keys mean what they mean in a config. Of a candidate it is of the codes of its blocks' "
       "matrices: an embedding or a head of other types counts in the bits alone. Where matrices "
       "differ (a candidate's types, a budget's bits, overrides) it has what they have in common, and tables "
       "show `mixed` in the place of `bits`, `group` or `symmetric`; older records of candidates "
       "have the name alone, and those with overrides the config's scheme (`unknown`)"},
      Named({"scheme.name", kText, kWritten, "",
             "as tables show it: `int4 g128 asym`; of a candidate the types of its matrices, that "
             "with the most weights first: `Q4_K, Q6_K`"},
            "weights"),
      {"scheme.format", kText, kOptional, "",
       "what codes stand for; absent: `int`. Of GGUF's blocks their type (`Q4_K`); `mixed`: "
       "candidates have several"},
      Named({"scheme.bits", kCount, kOptional, "bits",
             "of a stored code; `ternary` stores 2; of a candidate without codes of a number"},
            "bits"),
      {"scheme.granularity", kText, kOptional, "",
       "what shares a scale: `tensor`, `row`, `column` or `group`; of candidates also `block` (of "
       "several rows), `mixed` and, of plain numbers, `none`"},
      {"scheme.symmetric", kFlag, kOptional, "", "no zero points"},
      Named({"scheme.group", kCount, kOptional, "weights", "in a group along the inputs"}, "group"),
      {"scheme.scales", kText, kOptional, "",
       "how scales are stored: `fp16`, `fp32`, `e8m0`, `e4m3` (over one FP32 number a matrix) or "
       "`dynamic8`; absent for `int`, whose scales are FP16"},
      {"scheme.double_quant", kFlag, kOptional, "",
       "scales are 8-bit codes themselves, in blocks of 256 with an FP32 scale each"},
      {"scheme.full_range", kFlag, kOptional, "",
       "of symmetric codes: the lowest one is used, too"},
      {"scheme.zero_in_range", kFlag, kOptional, "",
       "of asymmetric codes: 0 is always within their range"},
  };
  return rows;
}

const Rows& MethodRows() {
  static const Rows rows = {
      {"activations", kText, kOptional, "",
       "`none`, or how the inputs of quantized matrices are rounded; absent for the reference and "
       "for `full`"},
      {"activations_path", kText, kOptional, "",
       "of rounded ones: `kernel`: their codes are multiplied in integers (but in "
       "`simulated_linears`); `simulated`: they are rounded to the values that codes stand for, "
       "which are multiplied as FP32 activations are"},
      {"rotation", kMap, kOptional, "",
       "of a method that changes the whole model (`quarot`), what is in it since; its knobs stand "
       "in `config.resolved`"},
      {"rotation.head_untied", kFlag, kOptional, "",
       "`true`: embedding and head were one matrix and are two, each counted in the bits"},
      {"rotation.attention_order", kCount, kOptional, "",
       "of the Hadamard matrices that what o_proj reads goes through in every forward; absent: "
       "none"},
      {"rotation.mlp_order", kCount, kOptional, "", "the same before down_proj"},
      {"rotation.flops", kNumber, kWritten, "",
       "operations of these for one token, all blocks together; `throughput` times them with the "
       "rest of prefill and decode"},
      {"rotation.flops_share", kNumber, kWritten, "", "of all of a token's, attention apart"},
      {"lora", kMap, kOptional, "",
       "of a cell with trained adapters; the first keys mean what they mean in a config"},
      {"lora.rank", kCount, kWritten, "", "of an adapter"},
      {"lora.alpha", kNumber, kWritten, "", "over the rank, its factor"},
      {"lora.merge", kText, kWritten, "",
       "`none`: adapters are kept apart, in FP16, and multiplied beside the codes; `fp16`: they are "
       "in the weights, which are FP16 (there is no `scheme` where that is all of them); `round`: "
       "these were rounded again"},
      {"lora.matrices", kCount, kWritten, "", "that got one"},
      {"lora.parameters", kCount, kWritten, "", "that were trained"},
      {"lora.bits", kNumber, kOptional, "bits",
       "a weight of `effective_bits`, those of adapters that are kept apart"},
      Stamped({"path", kText, kOptional, "",
               "`kernel`: the quantized matrices are multiplied by the kernels that are timed "
               "(`decoded_from`); `simulated`: codes are decoded to FP32 as a whole and multiplied "
               "in FP32",
               0, Stage::kPath},
              {kDecodesStamp.letter, kDecodesStamp.text, true, true, "simulated"}),
      {"decoded_from", kCount, kOptional, "tokens",
       "on `path: kernel`: products of so many tokens and more are by panels of rows, decoded to "
       "FP32 one after the other, where that was measured to be faster than to multiply codes, of "
       "some matrix at least. Absent where codes are always multiplied, and in older records"},
      Stamped({"simulated_linears", kTexts, kOptional, "",
               "on `accuracy.path: kernel`, matrices that the kernels cannot hold and that were "
               "simulated; where that is all of them, `path` says `simulated`"},
              kDecodesStamp),
  };
  return rows;
}

const Rows& KvCacheRows() {
  static const Rows rows = {
      {"kv_cache", kMap, kOptional, "",
       "how keys and values are rounded as they enter the cache; absent where they are not. Its "
       "first keys mean what they mean in a config"},
      Named({"kv_cache.name", kText, kWritten, "", "as tables show it: `kv4 channel/token g64`", 0,
             Stage::kPath},
            "kv_cache"),
      {"kv_cache.bits", kCount, kWritten, "bits", "of a code"},
      {"kv_cache.keys", kText, kWritten, "", "what shares a scale: `channel`, `token` or `head`"},
      {"kv_cache.values", kText, kWritten, "", "likewise"},
      {"kv_cache.group", kCount, kOptional, "",
       "tokens of a channel, channels of a token; absent where heads or whole tokens share one"},
      {"kv_cache.symmetric", kFlag, kWritten, "", "no minimum beside a scale"},
      {"kv_cache.residual", kCount, kWritten, "tokens", "that wait unrounded"},
      {"kv_cache.key_bits", kNumber, kWritten, "bits",
       "stored per rounded number of the keys, scales and minima included"},
      {"kv_cache.value_bits", kNumber, kWritten, "bits", "of the values"},
      Shown({"kv_cache.number_bits", kNumber, kWritten, "bits", "of both together"},
            {.name = "kv_bits", .header = "bits/cached number", .digits = 3}),
      Shown({"kv_cache.token_bytes", kNumber, kWritten, "bytes",
             "stored per rounded token, in all blocks"},
            {.name = "kv_token_bytes", .header = "cached bytes/token", .digits = 0}),
      {"kv_cache.tokens", kCount, kWritten, "tokens",
       "of the longest window, or of a synthetic model's timed text,"},
      {"kv_cache.bytes", kCount, kWritten, "bytes",
       "whose cache takes so much memory, with what waits in FP32"},
      {"kv_cache.fp16_bytes", kCount, kWritten, "bytes", "and in FP16 as many numbers"},
  };
  return rows;
}

const Rows& GapRows() {
  static const Rows rows = {
      {"simulated_vs_kernel", kMap, kOptional, "", "the same packed weights on both paths"},
      {"simulated_vs_kernel.window", kCount, kWritten, "", "over which they are compared"},
      {"simulated_vs_kernel.positions", kCount, kWritten, "", "its first, up to 512"},
      {"simulated_vs_kernel.logit_max_abs", kNumber, kWritten, "", "of the difference"},
      {"simulated_vs_kernel.logit_mean_abs", kNumber, kWritten, "", "of the simulated logits"},
      {"simulated_vs_kernel.kl_mean", kNumber, kWritten, "nats", "of KL(simulated \\|\\| kernel)"},
      {"simulated_vs_kernel.kl_max", kNumber, kWritten, "nats", "the largest of a position"},
      {"simulated_vs_kernel.top1_agreement", kNumber, kWritten, "",
       "share of positions with the same most likely token"},
      {"simulated_vs_kernel.linear_error", kNumber, kWritten, "",
       "the largest relative error (root of the ratio of the sums of squares) of the outputs of a "
       "linear on the same inputs"},
      {"simulated_vs_kernel.worst_linear", kText, kWritten, "", "its name"},
      {"simulated_vs_kernel.linear_error_limit", kNumber, kWritten, "",
       "the gate's bound: config key `accuracy.max_linear_gap` (1e-5), ten times that where some "
       "matrix is a codebook (`nf4`, `fp4`, `nvfp4`)"},
      {"simulated_vs_kernel.kl_mean_limit", kNumber, kOptional, "nats",
       "the other: `accuracy.max_path_gap` (1e-9), there a hundred times that; absent where "
       "activations or the cache are rounded, `configs/README.md` says why"},
      Stamped({"simulated_vs_kernel.failed", kFlag, kOptional, "",
               "`true` beyond either: the run ended with exit code 1", Role::kAsked},
              {'G', "GATE FAILED: kernels and decoded weights differ too much"}),
      Shown({"effective_bits", kNumber, kWritten, "bits",
             "stored per weight, scales and zero points included (and 8 bits a matrix whose scales "
             "have a power of two, the FP32 numbers that scales are relative to, and the FP16 "
             "weights that `outlier_weights: fp16` keeps), over the blocks' matrices and whatever "
             "else was quantized; kept matrices of the blocks count with their 16 or 32"},
            {.name = "effective_bits", .header = "bits/weight", .digits = 3}),
      Shown({"model_effective_bits", kNumber, kWritten, "bits",
             "the same over every matrix of the model"},
            {.name = "model_effective_bits", .header = "bits/weight, whole model", .digits = 3}),
  };
  return rows;
}

}  // namespace

Rows RunFields() {
  Rows all;
  for (const Rows* part : {&Head(), &ModelFileRows(), &ModelRows(), &SchemeRows(), &MethodRows(),
                           &KvCacheRows(), &GapRows()})
    all.insert(all.end(), part->begin(), part->end());
  return all;
}

}  // namespace quantref
