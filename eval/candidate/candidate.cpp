#include "eval/candidate/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>
#include <utility>

#include "eval/candidate/candidate_errors.h"
#include "eval/candidate/candidate_tokens.h"
#include "eval/inputs/group_cell.h"
#include "eval/inputs/run_inputs.h"
#include "eval/support/public_name.h"
#include "eval/support/resources.h"
#include "harness/base/error.h"
#include "harness/formats/open_foreign.h"
#include "harness/model/layout.h"
#include "harness/model/rope.h"

namespace quantref {
namespace {

// What of families decides how a model computes.
auto WiringOf(const Family& family) {
  return std::tuple(family.norm, family.activation, family.gated, family.fused, family.qk_norms,
                    family.post_norms, family.scaled_embedding, family.learned_positions);
}

void CheckSameShape(const ModelConfig& own, const ModelConfig& reference,
                    const std::string& where) {
  constexpr char kHint[] = "a candidate is a quantized form of the reference itself";
  if (WiringOf(*own.family) != WiringOf(*reference.family)) {
    throw Error(fmt::format("expected a model of the reference's family {}, found {}",
                            reference.family->model_type, own.family->model_type),
                where, kHint);
  }
  const auto check = [&](const char* what, size_t expected, size_t found) {
    if (expected == found) return;
    throw Error(
        fmt::format("expected {}, as the reference has, found {}: {}", expected, found, what),
        where, kHint);
  };
  check("blocks", reference.layers.size(), own.layers.size());
  check("hidden channels", reference.hidden, own.hidden);
  check("channels of the MLP", reference.intermediate, own.intermediate);
  check("heads", reference.heads, own.heads);
  check("heads of keys and values", reference.kv_heads, own.kv_heads);
  check("channels of a head", reference.head_dim, own.head_dim);
  check("rows of the embedding", reference.vocab, own.vocab);
}

void CheckContext(const ModelConfig& own, size_t window, const std::string& where) {
  if (own.context >= window) return;
  throw Error(fmt::format("its context is {} tokens, the windows have {}", own.context, window),
              where, "set accuracy.window to what both hold");
}

// Numbers that a converter may have lost.
bool SameAngles(const ModelConfig& own, const ModelConfig& reference, size_t window) {
  if (own.family->learned_positions) return true;
  constexpr double kRounding = 1e-5;  // of factors that are stored in FP32
  const std::vector<double> a = RopeFrequencies(own, window),
                            b = RopeFrequencies(reference, window);
  const auto alike = [&](double x, double y) {
    return std::fabs(x - y) <= kRounding * std::fabs(y);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), alike) &&
         own.HasLocalRope() == reference.HasLocalRope() &&
         (!own.HasLocalRope() || alike(own.local_rope_theta, reference.local_rope_theta));
}

// Of queries times keys: with the factor that cosines and sines have.
double ScoreScale(const ModelConfig& config) {
  const double factor = config.rope_scaling.attention_factor;
  const double scale = config.attention_scale > 0
                           ? config.attention_scale
                           : 1 / std::sqrt(static_cast<double>(config.head_dim));
  return scale * factor * factor;
}

// What of its config changes what it computes: its own holds, and is told. A converter may have
// lost it; all but where the head comes from, which converters choose.
void NoteConfig(const ModelConfig& own, const ModelConfig& reference, size_t window,
                std::vector<CountedNote>& notes) {
  const auto note = [&](bool same, const std::string& what, NoteGrade grade = NoteGrade::kDoubt) {
    if (!same) AddNotes({{what, 1, "", grade}}, notes);
  };
  constexpr double kRounding = 1e-6;
  note(std::fabs(own.rms_eps - reference.rms_eps) <= kRounding * reference.rms_eps,
       fmt::format("its norms add {:g} to the mean square, the reference's {:g}", own.rms_eps,
                   reference.rms_eps));
  note(SameAngles(own, reference, window), "its rotary embedding turns by other angles");
  note(std::fabs(ScoreScale(own) - ScoreScale(reference)) <= kRounding * ScoreScale(reference),
       fmt::format("its scores are multiplied by {:g}, the reference's by {:g}", ScoreScale(own),
                   ScoreScale(reference)));
  note(own.attention_softcap == reference.attention_softcap &&
           own.final_softcap == reference.final_softcap,
       "its scores or logits are capped elsewhere");
  note(own.tied_head == reference.tied_head,
       own.tied_head ? "its head is its embedding; the reference's is a matrix of its own"
                     : "its head is a matrix of its own; the reference's is its embedding",
       NoteGrade::kTold);
  // One that no window fills is none.
  const auto reach = [&](const LayerConfig& layer) {
    return layer.sliding_window == 0 ? window : std::min(layer.sliding_window, window);
  };
  size_t windows = 0;
  for (size_t layer = 0; layer < own.layers.size(); ++layer)
    windows += reach(own.layers[layer]) != reach(reference.layers[layer]);
  if (windows > 0)
    AddNotes({{"blocks that attend to another window", windows, "", NoteGrade::kDoubt}}, notes);
}

void NoteBos(const GroupContext& group, const Model& model, std::vector<CountedNote>& notes) {
  const std::optional<uint32_t> used = group.stream.bos;
  const std::optional<uint32_t> own = model.adds_bos ? model.bos_id : std::nullopt;
  if (group.config().accuracy.bos != BosRule::kTokenizer || own.has_value() == used.has_value())
    return;
  AddNotes({{used ? "its files ask for no BOS; texts begin with the reference's"
                  : "its files ask for a BOS; texts begin with none, as the reference's",
             1, ""}},
           notes);
}

}  // namespace

bool Candidate::IsDecoded() const {
  return stored.foreign == nullptr &&
         std::any_of(stored.found.begin(), stored.found.end(),
                     [](const MatrixFacts& matrix) { return matrix.coded; });
}

std::vector<const MatrixFacts*> Candidate::Plain() const {
  std::vector<const MatrixFacts*> plain;
  for (const MatrixFacts& matrix : stored.found)
    if (!matrix.coded) plain.push_back(&matrix);
  return plain;
}

Candidate MapCandidate(const CellConfig& spec) {
  return NamingCandidate(spec.label, [&] {
    MatrixSources stored;
    Model model = MapModel(PublicName(spec.candidate), FindModel(spec.candidate, "candidates"),
                           WeightType::kNative, OpenForeign, &stored);
    return Candidate{std::move(model), std::move(stored)};
  });
}

std::shared_ptr<const Candidate> OpenCandidate(const GroupContext& group, const CellConfig& spec) {
  auto candidate = std::make_shared<Candidate>(MapCandidate(spec));
  return NamingCandidate(spec.label, [&] {
    const Model& model = candidate->model;
    const ModelConfig& reference = group.model->config;
    const std::string where = model.dir.string();
    CheckSameShape(model.config, reference, where);
    CheckContext(model.config, group.LongestWindow(), where);
    CheckSameTokens(group.stream, group.protocol, group.text.bytes, model);
    NoteConfig(model.config, reference, group.LongestWindow(), candidate->stored.notes);
    NoteBos(group, model, candidate->stored.notes);
    if (const std::string text = PassedByText(model); !text.empty())
      AddNotes({{text, 1, ""}}, candidate->stored.notes);
    return std::shared_ptr<const Candidate>(candidate);
  });
}

bool LoadAlike(const GroupCell& a, const GroupCell& b) {
  return a.candidate != nullptr && b.candidate != nullptr &&
         a.spec->candidate == b.spec->candidate && a.config->path.kernels == b.config->path.kernels;
}

bool IsTimed(const GroupCell& cell) {
  return cell.candidate == nullptr || !cell.candidate->IsDecoded();
}

double CandidateBytes(const Candidate& candidate) {
  const Checkpoint& checkpoint = *candidate.model.weights.checkpoint;
  const bool tied = HeadIsTied(candidate.model.weights);
  double bytes = static_cast<double>(checkpoint.FileBytes() + checkpoint.CopiedBytes());
  for (const MatrixFacts& matrix : candidate.stored.found) {
    if (!matrix.coded) continue;
    // Codes in the kernels' layout, or what blocks decode to where they are multiplied by.
    const bool multiplied = tied || matrix.name != kEmbeddingName;
    bytes += candidate.IsDecoded() ? (multiplied ? sizeof(float) * matrix.Weights() : 0)
                                   : 2 * static_cast<double>(matrix.bytes);
  }
  return bytes;
}

EffectiveBits StoredBits(const Candidate& candidate) {
  double block_bits = 0, block_weights = 0, bits = 0, weights = 0;
  for (const MatrixFacts& matrix : candidate.stored.found) {
    const double stored = 8 * static_cast<double>(matrix.bytes);
    bits += stored;
    weights += matrix.Weights();
    if (!matrix.IsOfBlock() && !matrix.coded) continue;
    block_bits += stored;
    block_weights += matrix.Weights();
  }
  return {block_bits / block_weights, bits / weights};
}

}  // namespace quantref
