#include "harness/method/knobs.h"

#include "harness/base/check.h"

namespace quantref {

Knobs::Knobs(std::span<const Knob> declared) : declared_(declared) {
  for (const Knob& knob : declared) values_.push_back(knob.otherwise);
}

size_t Knobs::Find(std::string_view name, Knob::Kind kind) const {
  size_t i = 0;
  while (i < declared_.size() && declared_[i].name != name) ++i;
  QR_CHECK_LT(i, declared_.size());
  QR_CHECK(declared_[i].kind == kind);
  return i;
}

void Knobs::Set(std::string_view name, double value) {
  for (size_t i = 0; i < declared_.size(); ++i) {
    if (declared_[i].name != name) continue;
    QR_CHECK(value >= declared_[i].least && value <= declared_[i].most);
    values_[i] = value;
    return;
  }
  QR_CHECK(false);
}

bool Knobs::Flag(std::string_view name) const {
  return values_[Find(name, Knob::Kind::kFlag)] != 0;
}
size_t Knobs::Count(std::string_view name) const {
  return static_cast<size_t>(values_[Find(name, Knob::Kind::kCount)]);
}
double Knobs::Real(std::string_view name) const { return values_[Find(name, Knob::Kind::kReal)]; }

bool Knobs::DoesNothing(const Knob& knob) const {
  return !knob.with.empty() && !Flag(knob.with) &&
         values_[Find(knob.name, knob.kind)] != knob.otherwise;
}

}  // namespace quantref
