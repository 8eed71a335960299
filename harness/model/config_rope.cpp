#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "harness/model/config_reader.h"

namespace quantref {
namespace {

// What cosines and sines are multiplied by, where config.json does not give it itself.
double YarnAttentionFactor(const JsonFields& scaling, double factor) {
  const auto of = [factor](double scale) {
    return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1;
  };
  if (scaling.Has("attention_factor")) return scaling.Positive("attention_factor");
  if (!scaling.Has("mscale") || !scaling.Has("mscale_all_dim")) return of(1);
  return of(scaling.Positive("mscale")) / of(scaling.Positive("mscale_all_dim"));
}

void ReadLlama3(const JsonFields& scaling, RopeScaling& result) {
  result.low_freq_factor = scaling.Positive("low_freq_factor");
  result.high_freq_factor = scaling.Positive("high_freq_factor");
  result.original_context = scaling.Positive("original_max_position_embeddings");
  if (result.high_freq_factor <= result.low_freq_factor) {
    scaling.Fail("high_freq_factor",
                 fmt::format("more than low_freq_factor ({})", result.low_freq_factor));
  }
}

void ReadYarn(const JsonFields& scaling, double context, RopeScaling& result) {
  result.original_context = scaling.PositiveOr("original_max_position_embeddings", context);
  if (result.original_context < 1) {
    scaling.Fail("original_max_position_embeddings", "at least 1");
  }
  result.factor = scaling.Has("original_max_position_embeddings")
                      ? scaling.PositiveOr("factor", context / result.original_context)
                      : scaling.Positive("factor");
  result.attention_factor = YarnAttentionFactor(scaling, result.factor);
  result.beta_fast = scaling.PositiveOr("beta_fast", result.beta_fast);
  result.beta_slow = scaling.PositiveOr("beta_slow", result.beta_slow);
  result.truncate = scaling.FlagOr("truncate", true);
  if (result.beta_fast < result.beta_slow) {
    scaling.Fail("beta_fast", fmt::format("at least beta_slow ({})", result.beta_slow));
  }
}

// Lists of factors for each pair, and how both of them were chosen: by the original context.
void ReadLongRope(const JsonFields& json, const JsonFields& scaling, const ModelConfig& config,
                  RopeScaling& result) {
  const char* const original = "original_max_position_embeddings";
  const double context = static_cast<double>(config.context);
  const JsonFields& has_it = scaling.Has(original) ? scaling : json;
  result.original_context = has_it.Positive(original);
  if (result.original_context <= 1) has_it.Fail(original, "more than 1");
  result.factor = scaling.PositiveOr("factor", context / result.original_context);
  const double of_factor =
      result.factor <= 1
          ? 1.0
          : std::sqrt(1 + std::log(result.factor) / std::log(result.original_context));
  result.attention_factor = scaling.PositiveOr("attention_factor", of_factor);
  const size_t pairs = config.RotaryDim() / 2;
  result.short_factors = scaling.Positives("short_factor", pairs);
  result.long_factors = scaling.Positives("long_factor", pairs);
}

RopeScaling::Kind KindOf(const JsonFields& scaling, bool phi) {
  using Kind = RopeScaling::Kind;
  static const std::map<std::string, Kind> kinds = {
      {"default", Kind::kNone},    {"linear", Kind::kLinear}, {"llama3", Kind::kLlama3},
      {"dynamic", Kind::kDynamic}, {"yarn", Kind::kYarn},     {"longrope", Kind::kLongRope}};
  const char* key = scaling.Has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.Text(key);
  if (phi && (type == "su" || type == "yarn")) return Kind::kLongRope;
  const auto kind = kinds.find(type);
  if (kind == kinds.end()) Unsupported(scaling, fmt::format("{} \"{}\"", key, type));
  return kind->second;
}

// Of the scaling in `scaling`, which may leave to `json` what older files have there.
RopeScaling ReadRopeScaling(const JsonFields& json, const JsonFields& scaling, bool phi,
                            const ModelConfig& config) {
  using Kind = RopeScaling::Kind;
  RopeScaling result;
  result.kind = KindOf(scaling, phi);
  if (result.kind == Kind::kNone) return result;
  if (result.kind == Kind::kYarn) {
    ReadYarn(scaling, static_cast<double>(config.context), result);
    return result;
  }
  if (result.kind == Kind::kLongRope) {
    ReadLongRope(json, scaling, config, result);
    return result;
  }
  result.factor = scaling.Positive("factor");
  if (result.kind == Kind::kDynamic) {
    if (result.factor < 1) scaling.Fail("factor", "at least 1");
    result.original_context = static_cast<double>(config.context);
  }
  if (result.kind == Kind::kLlama3) ReadLlama3(scaling, result);
  return result;
}

void ReadPart(const JsonFields& json, bool phi, ModelConfig& config) {
  const char* const key = "partial_rotary_factor";
  if (!json.Has(key)) return;
  const double part = json.Positive(key);
  if (part == 1) return;
  if (!phi) Unsupported(json, "partial_rotary_factor other than 1");
  config.rotary_dim = static_cast<size_t>(static_cast<double>(config.head_dim) * part);
  if (part > 1 || config.rotary_dim == 0 || config.rotary_dim % 2 != 0)
    json.Fail(key, fmt::format("a part of head_dim ({}) that is even", config.head_dim));
}

// What newer files have in place of rope_theta and rope_scaling.
void ReadParameters(const JsonFields& json, const JsonFields& parameters, bool phi,
                    ModelConfig& config) {
  config.rope_theta = parameters.PositiveOr("rope_theta", config.rope_theta);
  ReadPart(parameters, phi, config);
  if (parameters.Has("rope_type") || parameters.Has("type"))
    config.rope_scaling = ReadRopeScaling(json, parameters, phi, config);
}

}  // namespace

void ReadRope(const JsonFields& json, bool phi, ModelConfig& config) {
  config.rope_theta = json.PositiveOr("rope_theta", config.rope_theta);
  config.local_rope_theta = json.PositiveOr("rope_local_base_freq", config.local_rope_theta);
  ReadPart(json, phi, config);
  if (json.Has("rope_scaling"))
    config.rope_scaling = ReadRopeScaling(json, json.Object("rope_scaling"), phi, config);
  if (!json.Has("rope_parameters")) return;
  const JsonFields parameters = json.Object("rope_parameters");
  if (!parameters.Has("full_attention")) return ReadParameters(json, parameters, phi, config);
  // One set for each kind of layers; the local one is plain.
  ReadParameters(json, parameters.Object("full_attention"), phi, config);
  if (!parameters.Has("sliding_attention")) return;
  const JsonFields local = parameters.Object("sliding_attention");
  config.local_rope_theta = local.PositiveOr("rope_theta", config.local_rope_theta);
  if (local.Has("rope_type") && KindOf(local, phi) != RopeScaling::Kind::kNone)
    Unsupported(local, "rope_type \"" + local.Text("rope_type") + "\"");
}

// The context that dynamic and yarn scaling make of the original one.
size_t StretchedContext(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  using Kind = RopeScaling::Kind;
  if (scaling.kind != Kind::kDynamic && scaling.kind != Kind::kYarn) return config.context;
  const double stretched = std::min(scaling.original_context * scaling.factor, 1.0 * kMostContext);
  return std::max(config.context, static_cast<size_t>(stretched));
}

}  // namespace quantref
