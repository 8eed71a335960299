#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/checkpoint.h"
#include "harness/io/input_file.h"
#include "harness/model/weights.h"
#include "harness/quant/activation.h"
#include "harness/quant/stored_codes.h"

namespace quantref {

// kDoubt: the numbers may be others than whoever made the file meant (damaged, or read by settings
// that are not theirs), and every figure with them. kTold: nothing of that.
enum class NoteGrade { kTold, kDoubt };

// Something that a checkpoint's reader noticed, and how often: {"zero points of GPTQ v1 that wrap:
// kernels read them as 0 or as 16", 12, "groups"}.
struct CountedNote {
  std::string what;
  size_t count = 0;
  std::string of{};  // what is counted
  NoteGrade grade = NoteGrade::kTold;
};

// What a matrix would be if a setting that files often have wrong, and that nothing in them tells,
// said otherwise. Only who has the numbers that it was made of can tell which was meant.
struct OtherReading {
  std::string setting;           // that would mean it: "checkpoint_format gptq_v2"
  std::function<Weight()> read;  // rows that decode; as ForeignMatrix::read
};

// A matrix of another tool's checkpoint, found and checked (tensors, types, shapes), but not read.
struct ForeignMatrix {
  std::string type;     // as tables show it: "int4 g128 asym", "nf4 g64 dq", "fp8_e4m3 row"
  StoredCodes codes{};  // what it is, as data
  std::vector<std::string> tensors;  // that it is made of, by name: their bytes are its stored bits
  // How the checkpoint has the matrix's inputs rounded; nothing: not at all.
  std::optional<ActivationFormat> activations{};
  // Reads it: a Weight of a PackedMatrix where one holds it bit for bit, else of an EncodedMatrix
  // that decodes exactly. Adds what there is to tell, without the matrix's name: notes of the same
  // words are added up. Throws Error naming the tensor. Called from any thread; the checkpoint
  // outlives it.
  std::function<Weight(std::vector<CountedNote>& notes)> read;
  std::optional<OtherReading> other{};
};

// Adds the notes; those of the same words are added up.
void AddNotes(const std::vector<CountedNote>& more, std::vector<CountedNote>& notes);

// Adds notes of so many scales that are 0 or below. Negative ones: tensors that are read as others.
// Those of 0 may be a part of the file that was never written, or weights that are all 0: only who
// has the numbers that it was made of can tell.
inline constexpr char kScaleOfZero[] = "with a scale of 0";
void AddScaleNotes(size_t zero, size_t negative, std::vector<CountedNote>& notes);

// The quantized matrices of a checkpoint that another tool wrote, in whichever way; what is plain
// in it (norms, biases, kept matrices) is read as of any checkpoint.
class ForeignCheckpoint {
 public:
  virtual ~ForeignCheckpoint() = default;

  virtual std::string format() const = 0;  // "gptq v1", "awq gemm", "compressed-tensors nvfp4"
  // The bits of a code that it promises of every quantized matrix; nothing: it does not. Those
  // whose `type` has other ones are counted.
  virtual std::optional<int> promised_bits() const { return std::nullopt; }

  // The (rows, cols) matrix NAME of NAME.weight ("model.layers.3.mlp.down_proj"); nothing where it
  // stands there as a plain tensor. Throws Error for what is missing, misshapen or not understood.
  virtual std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                            size_t cols) const = 0;

  // Tensors of no matrix and no norm that it has looked at, so that they are not refused as left
  // over: biases that are all 0, which the notes count.
  virtual std::vector<std::string> Others(std::vector<CountedNote>& notes) const {
    static_cast<void>(notes);
    return {};
  }
};

// Opens a folder's; nullptr where its checkpoint is plain. A rule that would change the numbers and
// is not supported (activations, caches, rotations) is refused by name. `settings`, where it is not
// nullptr, gets the file that says how to read it, if that is another than config.json.
using ForeignOpener = std::function<std::shared_ptr<const ForeignCheckpoint>(
    const std::filesystem::path& dir, std::shared_ptr<const Checkpoint> checkpoint,
    std::optional<InputFile>* settings)>;

// How a checkpoint stores one of a model's matrices.
struct MatrixFacts {
  std::string name;  // as Linear has it
  std::string type;  // "F16", "Q4_K", ForeignMatrix::type
  size_t rows = 0, cols = 0;
  size_t bytes = 0;     // of all that it is made of
  bool coded = false;   // blocks or codes, and not plain numbers
  StoredCodes codes{};  // which
  std::optional<OtherReading> other{};

  bool IsOfBlock() const;  // and not the embedding or the head
  double Weights() const { return static_cast<double>(rows) * static_cast<double>(cols); }
  double Bits() const { return 8 * static_cast<double>(bytes) / Weights(); }  // a weight
};

// Where MapWeights finds matrices that are not plain, and what it found.
struct MatrixSources {
  std::shared_ptr<const ForeignCheckpoint> foreign{};  // nullptr: all are plain, or GGUF's
  // Whether codes become the numbers that they stand for, as GGUF's blocks do: a reference's.
  // Inputs that the checkpoint has rounded are refused then.
  bool decode = false;
  std::vector<MatrixFacts> found{};  // in the order of AllLinears
  std::vector<CountedNote> notes{};

  bool HoldsCodes() const;  // whether another tool's codes are among what was found
};

}  // namespace quantref
