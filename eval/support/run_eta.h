#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace quantref {

// When all of a run will be over. It knows the stages that are to come with what they are expected
// to take; what stages took corrects what is expected of the others of their kind. Times are
// seconds of any clock that does not go back.
class RunEta {
 public:
  enum class Kind { kSensitivity, kQuantize, kTrain, kMeasure, kSpeed };
  struct Stage {
    Kind kind;
    double seconds;  // expected
  };

  // Of the whole run: cells that are nowhere planned yet, which are expected to take as long as
  // those that were planned last.
  void SetUnplanned(size_t cells) { unplanned_ = static_cast<double>(cells); }
  // In order, in place of all that was planned and has not begun. `cells`: that these measure.
  void Plan(const std::vector<Stage>& stages, size_t cells);

  // The next stage of this kind begins; those planned before it are left out.
  void Begin(Kind kind, double now);
  void Advance(size_t done, size_t total);
  void End(double now);

  bool MoreToCome() const { return !stages_.empty() || unplanned_ > 0; }  // behind the one at work
  // Nothing where nothing was planned.
  std::optional<double> SecondsLeft(double now) const;

 private:
  struct Past {
    double expected = 0, taken = 0;
  };
  double Correction(Kind kind) const;
  double LeftOfThis(double now) const;

  std::deque<Stage> stages_;  // to come
  double unplanned_ = 0, seconds_a_cell_ = 0;
  std::optional<Stage> at_work_;
  double began_ = 0, share_ = 0, first_share_ = 0;  // of the stage at work
  std::map<Kind, Past> past_;
  bool planned_ = false;
};

}  // namespace quantref
