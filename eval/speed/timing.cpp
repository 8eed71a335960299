#include "eval/speed/timing.h"

#include "eval/stats/stats.h"

namespace quantref {
namespace {

double ShareOf(std::vector<double> seconds, double share) { return Quantile(seconds, share); }

}  // namespace

double Samples::Median() const { return ShareOf(seconds, 0.5); }
double Samples::Low() const { return ShareOf(seconds, 0.25); }
double Samples::High() const { return ShareOf(seconds, 0.75); }

}  // namespace quantref
