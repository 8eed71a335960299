#include "eval/config/words.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace quantref {
namespace {

constexpr std::string_view kDevice =
    "there is one device, the CPU; --threads N says how many of its cores are used";
constexpr std::string_view kDropout = "adapters are trained without dropout";
constexpr std::string_view kTasks =
    "no tasks are run: a model is judged by perplexity, KL and top-1 agreement on a text";
constexpr std::string_view kWindow = "windows that are measured have accuracy.window tokens";
constexpr std::string_view kLimit = "--windows N on the command line measures the first N windows";
constexpr std::string_view kOut = "--out DIR on the command line says where records go";
constexpr std::string_view kThreads =
    "--threads N on the command line; throughput.threads are timed";
constexpr std::string_view kBatch =
    "there are no batches: as many windows are at work at once as the cores and memory allow";

constexpr FieldWord kWords[] = {
    // the model
    {"pretrained", "model.name", ""},
    {"model_name_or_path", "model.name", ""},
    {"model_name", "model.name", ""},
    {"model_path", "model.name", ""},
    {"checkpoint", "model.name", ""},
    {"torch_dtype", "model.dtype", ""},
    {"precision", "model.dtype", ""},
    // what weights are rounded to
    {"wbits", "quantize.weights.bits", ""},
    {"w_bit", "quantize.weights.bits", ""},
    {"w_bits", "quantize.weights.bits", ""},
    {"weight_bits", "quantize.weights.bits", ""},
    {"num_bits", "quantize.weights.bits", ""},
    {"nbits", "quantize.weights.bits", ""},
    {"group_size", "quantize.weights.group", ""},
    {"groupsize", "quantize.weights.group", ""},
    {"q_group_size", "quantize.weights.group", ""},
    {"quant_type", "quantize.weights.format", ""},
    {"bnb_4bit_quant_type", "quantize.weights.format", ""},
    {"load_in_4bit", "quantize.weights.format", "format: nf4"},
    {"use_double_quant", "quantize.weights.double_quant", ""},
    {"bnb_4bit_use_double_quant", "quantize.weights.double_quant", ""},
    {"compress_statistics", "quantize.weights.double_quant", ""},
    {"sym", "quantize.weights.symmetric", ""},
    {"zero_point", "quantize.weights.symmetric", "symmetric: false has zero points"},
    {"strategy", "quantize.weights.granularity", ""},
    {"per_channel", "quantize.weights.granularity", "granularity: row, or group: row"},
    {"perchannel", "quantize.weights.granularity", "granularity: row, or group: row"},
    {"a_bit", "quantize.activations.bits", ""},
    {"a_bits", "quantize.activations.bits", ""},
    {"abits", "quantize.activations.bits", ""},
    {"act_bits", "quantize.activations.bits", ""},
    {"input_activations", "quantize.activations", ""},
    {"llm_int8_threshold", "quantize.activations.outlier_threshold", ""},
    {"int8_threshold", "quantize.activations.outlier_threshold", ""},
    {"kv_bits", "quantize.kv_cache.bits", ""},
    {"kv_cache_dtype", "quantize.kv_cache.bits", ""},
    {"kv_cache_scheme", "quantize.kv_cache", ""},
    {"residual_length", "quantize.kv_cache.residual", ""},
    // which matrices
    {"ignore", "quantize.keep", "globs of matrices that stay as they are"},
    {"exclude_modules", "quantize.keep", "globs of matrices that stay as they are"},
    {"modules_to_not_convert", "quantize.keep", "globs of matrices that stay as they are"},
    {"targets", "quantize.overrides",
     "every matrix that quantize.keep does not match is quantized"},
    {"config_groups", "quantize.overrides", ""},
    // methods
    {"method", "quantize.methods", ""},
    {"quant_method", "quantize.methods", ""},
    {"algorithm", "quantize.methods", ""},
    {"recipe", "quantize.methods", ""},
    {"modifiers", "quantize.methods", ""},
    {"percdamp", "quantize.gptq.damp", ""},
    {"damp_percent", "quantize.gptq.damp", ""},
    {"dampening_frac", "quantize.gptq.damp", ""},
    {"desc_act", "quantize.gptq.act_order", ""},
    {"actorder", "quantize.gptq.act_order", ""},
    {"blocksize", "quantize.gptq.block", ""},
    {"block_size", "quantize.gptq.block", ""},
    {"mse", "quantize.gptq.mse_clip", ""},
    {"auto_scale", "quantize.awq.scale", ""},
    {"auto_clip", "quantize.awq.clip", ""},
    {"apply_clip", "quantize.awq.clip", ""},
    {"mse_range", "quantize.awq.clip", ""},
    {"n_grid", "quantize.awq.grid", ""},
    {"smoothing_strength", "quantize.smoothquant.alpha", ""},
    {"migration_strength", "quantize.smoothquant.alpha", ""},
    {"lora_alpha", "quantize.lora.alpha", ""},
    {"lora_r", "quantize.lora.rank", ""},
    {"lora_rank", "quantize.lora.rank", ""},
    {"target_modules", "quantize.lora.targets", ""},
    {"lora_dropout", "", kDropout},
    // calibration
    {"nsamples", "calibration.samples", ""},
    {"n_samples", "calibration.samples", ""},
    {"num_samples", "calibration.samples", ""},
    {"num_calibration_samples", "calibration.samples", ""},
    {"seq_len", "calibration.length", kWindow},
    {"seqlen", "calibration.length", kWindow},
    {"sequence_length", "calibration.length", kWindow},
    {"max_seq_length", "calibration.length", kWindow},
    {"max_seq_len", "calibration.length", kWindow},
    {"calib_data", "calibration.dataset", ""},
    {"calib_dataset", "calibration.dataset", ""},
    {"calibration_dataset", "calibration.dataset", ""},
    {"random_seed", "calibration.seed", ""},
    // evaluation
    {"tasks", "", kTasks},
    {"task", "", kTasks},
    {"num_fewshot", "", kTasks},
    {"limit", "", kLimit},
    {"max_chunks", "", kLimit},
    {"chunks", "", kLimit},
    {"max_length", "accuracy.window", ""},
    {"ctx_size", "accuracy.window", ""},
    {"context_length", "accuracy.window", ""},
    {"n_ctx", "accuracy.window", ""},
    {"stride", "accuracy.protocol", "full-stride moves by half a window"},
    {"add_bos_token", "accuracy.bos", "always, never, or as the tokenizer says"},
    {"eval_dataset", "accuracy.dataset", ""},
    // the machine and the command line
    {"device", "", kDevice},
    {"device_map", "", kDevice},
    {"gpu", "", kDevice},
    {"backend", "", kDevice},
    {"batch_size", "", kBatch},
    {"out", "", kOut},
    {"output", "", kOut},
    {"output_dir", "", kOut},
    {"output_path", "", kOut},
    {"save_dir", "", kOut},
    {"num_threads", "throughput.threads", kThreads},
    {"n_threads", "throughput.threads", kThreads},
    {"repeats", "throughput.repetitions", ""},
    {"n_prompt", "throughput.prefill", ""},
    {"n_gen", "throughput.decode", ""},
};

}  // namespace

std::span<const FieldWord> FieldWords() { return kWords; }

const FieldWord* FindFieldWord(std::string_view word) {
  std::string plain(word);
  for (char& c : plain) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  const auto found = std::find_if(std::begin(kWords), std::end(kWords),
                                  [&](const FieldWord& entry) { return entry.word == plain; });
  return found == std::end(kWords) ? nullptr : &*found;
}

}  // namespace quantref
