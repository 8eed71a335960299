#include <fmt/format.h>

#include <memory>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/affine_source.h"
#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/formats/table_source.h"
#include "harness/io/json_file.h"
#include "harness/quant/format.h"

// quant_method "fp8": transformers' fine-grained FP8 (DeepSeek) and AutoFP8. Of each matrix, (out,
// in), weight in E4M3, to be multiplied with weight_scale_inv (despite its name), one for each
// block of weight_block_size or for all, which AutoFP8 calls weight_scale. Inputs are rounded to
// E4M3, too: in groups as wide as blocks, token by token where there are none, or under
// activation_scale (AutoFP8: input_scale).

namespace quantref {
namespace {

class Fp8Checkpoint final : public ForeignCheckpoint {
 public:
  explicit Fp8Checkpoint(ForeignFolder folder) : folder_(std::move(folder)) {
    const JsonFields json = folder_.fields();
    RefuseUnknownKeys(folder_.settings, json.where(),
                      {"quant_method", "activation_scheme", "fmt", "scale_fmt", "weight_block_size",
                       "modules_to_not_convert", "ignored_layers", "dequantize", "expert_dtype",
                       "kv_cache_scheme"});
    RefuseRoundedCache(folder_);
    if (json.FlagOr("dequantize", false)) {
      RefuseSetting(folder_, "weights that are decoded when they are loaded (dequantize)",
                    "leave it out to judge the inputs' rounding, too");
    }
    if (json.Has("scale_fmt") && json.Text("scale_fmt") != "float")
      RefuseSetting(folder_, "scales in the format " + Quoted(json.Text("scale_fmt")));
    if (json.Has("fmt") && json.Text("fmt") != "e4m3")
      RefuseSetting(folder_, "8-bit floats of the kind " + Quoted(json.Text("fmt")));
    const std::string scheme =
        json.Has("activation_scheme") ? json.Text("activation_scheme") : "dynamic";
    if (scheme != "dynamic" && scheme != "static")
      json.Fail("activation_scheme", "dynamic or static");
    static_ = scheme == "static";
    if (!json.Has("weight_block_size")) return;
    const std::vector<uint64_t> sizes = json.Counts("weight_block_size");
    if (sizes.size() != 2 || sizes[0] == 0 || sizes[1] == 0 || sizes[0] > kMostGroupInputs ||
        sizes[1] > kMostGroupInputs)
      json.Fail("weight_block_size", "two sizes, [rows, columns]");
    block_ = Block{sizes[0], sizes[1]};
    if (static_) RefuseSetting(folder_, "static scales of inputs beside blocks of weights");
  }

  std::string format() const override {
    return block_ ? fmt::format("fp8 block {}x{}", block_->rows, block_->cols) : "fp8 tensor";
  }
  std::optional<int> promised_bits() const override { return 8; }

  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override;

 private:
  struct Block {
    size_t rows, cols;
  };
  ActivationFormat Inputs(MatrixTensors& tensors) const;

  ForeignFolder folder_;
  std::optional<Block> block_;  // none: a scale for all of a matrix
  bool static_ = false;
};

ActivationFormat Fp8Checkpoint::Inputs(MatrixTensors& tensors) const {
  ActivationFormat format;
  format.format = FindFormat("fp8_e4m3");
  if (block_) format.group = block_->cols;
  if (static_) {
    const char* const part =
        tensors.Find("input_scale") != nullptr ? "input_scale" : "activation_scale";
    format.static_scale = tensors.TakePositive(part, kFloatTypes);
  }
  return format;
}

std::optional<ForeignMatrix> Fp8Checkpoint::Find(const std::string& name, size_t rows,
                                                 size_t cols) const {
  MatrixTensors tensors(folder_, name, rows, cols);
  if (tensors.IsPlain()) return std::nullopt;
  tensors.RequireUnlisted({"modules_to_not_convert", "ignored_layers"});
  Float8Source source;
  source.tool = "fp8";
  source.rows = rows;
  source.cols = cols;
  source.rows_each = block_ ? block_->rows : rows;
  source.cols_each = block_ ? block_->cols : cols;
  source.codes = &tensors.Take("weight", {DType::kF8E4M3}, {rows, cols});
  const bool plain_name = !block_ && tensors.Find("weight_scale") != nullptr;
  const char* const part = plain_name ? "weight_scale" : "weight_scale_inv";
  source.scales = block_ ? &tensors.Take(part, kFloatTypes,
                                         {(rows + block_->rows - 1) / block_->rows,
                                          (cols + block_->cols - 1) / block_->cols})
                         : &tensors.TakeScalar(part, kFloatTypes);
  source.stored = tensors.stored();
  ForeignMatrix matrix;
  matrix.type = Float8Name(source);
  matrix.codes = CodesOf(source);
  matrix.activations = Inputs(tensors);
  matrix.tensors = tensors.names();
  const bool by_token = !block_ && !static_;
  matrix.read = [source, by_token, where = folder_.where](std::vector<CountedNote>& notes) {
    if (by_token) {
      AddNote(notes,
              "inputs rounded token by token, as transformers and vLLM do; AutoFP8's own Python "
              "takes one scale for all tokens",
              1, "matrices");
    }
    return ReadFloat8(source, where, notes);
  };
  return matrix;
}

}  // namespace

std::shared_ptr<const ForeignCheckpoint> OpenFp8(ForeignFolder folder) {
  return std::make_shared<const Fp8Checkpoint>(std::move(folder));
}

}  // namespace quantref
