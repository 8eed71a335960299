#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quantref {

// A setting of a method, as configs write it below quantize.<method>.
struct Knob {
  enum class Kind { kFlag, kCount, kReal };
  std::string_view name, about;
  Kind kind = Kind::kReal;
  double otherwise = 0;        // the default; flags: 0 or 1
  double least = 0, most = 1;  // valid range, both included
  std::string_view with{};     // a flag of the same method, without which it does nothing
};

// The values of a method's knobs: the defaults until they are set.
class Knobs {
 public:
  Knobs() = default;
  explicit Knobs(std::span<const Knob> declared);

  // The name is declared and the value in its range: whoever reads configs has checked that.
  void Set(std::string_view name, double value);

  bool Flag(std::string_view name) const;
  size_t Count(std::string_view name) const;
  double Real(std::string_view name) const;
  // Of any kind, where it is not the default and the flag that the knob goes with is not set.
  bool DoesNothing(const Knob& knob) const;

  std::span<const Knob> declared() const { return declared_; }
  bool operator==(const Knobs& other) const { return values_ == other.values_; }

 private:
  size_t Find(std::string_view name, Knob::Kind kind) const;

  std::span<const Knob> declared_;  // lives in the method
  std::vector<double> values_;
};

}  // namespace quantref
