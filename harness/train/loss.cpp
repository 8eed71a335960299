#include "harness/train/loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/model/ops.h"
#include "harness/train/linear.h"

namespace quantref {
namespace {

// Logits of so many tokens at a time, in whole tiles: 64 MB of them.
constexpr size_t kMostLogits = size_t{1} << 24;
constexpr size_t kVocabularyTile = 1024, kChannelTile = 256;

// Pieces of [0, rows) by [0, cols), a tile each: body(first row, rows, first column, columns).
template <typename F>
void ForPieces(Team* team, size_t rows, size_t row_tile, size_t cols, size_t col_tile,
               const F& body) {
  const size_t across = (cols + col_tile - 1) / col_tile, down = (rows + row_tile - 1) / row_tile;
  RunOn(team, across * down, [&](size_t index, size_t) {
    const size_t row = index / across * row_tile, col = index % across * col_tile;
    body(row, std::min(row_tile, rows - row), col, std::min(col_tile, cols - col));
  });
}

void MakeLogits(const HeadInput& input, size_t first, MatrixView<float> logits, Team* team) {
  ForPieces(team, logits.rows(), kTokenTile, logits.cols(), kVocabularyTile,
            [&](size_t row, size_t rows, size_t col, size_t cols) {
              MultiplyTransposed(input.hidden.Rows(first + row, rows), input.head.Rows(col, cols),
                                 logits.Rows(row, rows).Cols(col, cols));
            });
}

float Largest(std::span<const float> x) { return *std::max_element(x.begin(), x.end()); }

}  // namespace

size_t LogitsAtATime(size_t vocab, size_t tokens) {
  return std::min(std::max<size_t>(1, kMostLogits / vocab / kTokenTile) * kTokenTile, tokens);
}

double CrossEntropyBackward(std::span<float> logits, uint32_t target, float factor) {
  const float largest = Largest(logits), of_target = logits[target];
  const float sum = Ops().softmax_numerators(logits.data(), 1.0f, logits.size());
  Ops().scale(logits.data(), factor / sum, logits.size());
  logits[target] -= factor;
  return std::log(static_cast<double>(sum)) + static_cast<double>(largest) -
         static_cast<double>(of_target);
}

double KlBackward(std::span<float> reference, std::span<float> logits, float factor) {
  const size_t n = logits.size();
  const float reference_largest = Largest(reference), largest = Largest(logits);
  // Differences before either becomes numerators: the logits hold them meanwhile.
  thread_local std::vector<float> differences;
  differences.resize(n);
  for (size_t i = 0; i < n; ++i) differences[i] = reference[i] - logits[i];
  const float reference_sum = Ops().softmax_numerators(reference.data(), 1.0f, n);
  const float sum = Ops().softmax_numerators(logits.data(), 1.0f, n);
  double mean = 0;  // of the differences under the reference
  const float to_reference = 1 / reference_sum, to_model = factor / sum;
  for (size_t i = 0; i < n; ++i) {
    const float p = reference[i] * to_reference;
    mean += static_cast<double>(p * differences[i]);
    logits[i] = logits[i] * to_model - factor * p;
  }
  return mean + std::log(static_cast<double>(sum)) + static_cast<double>(largest) -
         std::log(static_cast<double>(reference_sum)) - static_cast<double>(reference_largest);
}

double HeadBackward(TrainingLoss loss, const HeadInput& input, const HeadInput* reference,
                    std::span<const uint32_t> ids, const BatchShape& batch,
                    MatrixView<float> dhidden, MatrixView<float> dhead, LossWorkspace& work,
                    Team* team) {
  const size_t tokens = batch.tokens(), vocab = input.head.rows();
  const size_t predictions = batch.windows * (batch.length - 1);
  const float factor = 1 / static_cast<float>(predictions);
  QR_CHECK(loss != TrainingLoss::kKl || reference != nullptr);
  work.losses.assign(tokens, 0);
  const size_t chunk = LogitsAtATime(vocab, tokens);
  for (size_t first = 0; first < tokens; first += chunk) {
    const size_t count = std::min(chunk, tokens - first);
    const MatrixView<float> logits = Shaped(work.logits, chunk, vocab).Rows(0, count);
    MakeLogits(input, first, logits, team);
    MatrixView<float> of_reference;
    if (loss == TrainingLoss::kKl) {
      of_reference = Shaped(work.reference_logits, chunk, vocab).Rows(0, count);
      MakeLogits(*reference, first, of_reference, team);
    }
    ForTokens(team, count, [&](size_t t) {
      const size_t token = first + t;
      if ((token + 1) % batch.length == 0) {
        std::fill_n(logits.row(t), vocab, 0.0f);
      } else if (loss == TrainingLoss::kKl) {
        work.losses[token] = KlBackward(of_reference.row_span(t), logits.row_span(t), factor);
      } else {
        work.losses[token] = CrossEntropyBackward(logits.row_span(t), ids[token + 1], factor);
      }
    });
    ForPieces(team, count, kTokenTile, dhidden.cols(), kChannelTile,
              [&](size_t row, size_t rows, size_t col, size_t cols) {
                Multiply(logits.Rows(row, rows), input.head.Cols(col, cols),
                         dhidden.Rows(first + row, rows).Cols(col, cols));
              });
    if (dhead.empty()) continue;
    ForPieces(team, vocab, kRowTile, dhead.cols(), dhead.cols(),
              [&](size_t row, size_t rows, size_t, size_t) {
                MultiplyFirstTransposed(logits.Cols(row, rows), input.hidden.Rows(first, count),
                                        dhead.Rows(row, rows), first > 0);
              });
  }
  return std::accumulate(work.losses.begin(), work.losses.end(), 0.0) /
         static_cast<double>(predictions);
}

}  // namespace quantref
