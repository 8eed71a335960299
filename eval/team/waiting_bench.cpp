// What ranks wait for: units that sleep for a planted time in the place of computing, so that more
// ranks than cores do no harm and a busy machine little.
//   mpirun -n N waiting_bench UNITS MILLISECONDS [THREADS [STRETCH]]
// STRETCH: units between two looks of a stop rule, at which all wait for one another (0: none).

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "eval/team/open_workers.h"
#include "eval/team/ranks.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr size_t kResultBytes = 2000;  // as of a window of two models
constexpr double kSpread = 0.2;        // units take from 1 - so much of the time to 1 + so much

struct Traffic {
  std::atomic<size_t> messages{0}, bytes{0};
};

// Counts what rank 0 sends and receives.
class CountingLink final : public Link {
 public:
  CountingLink(std::unique_ptr<Link> link, Traffic& traffic)
      : link_(std::move(link)), traffic_(traffic) {}
  size_t rank() const override { return link_->rank(); }
  size_t size() const override { return link_->size(); }
  void Send(size_t to, std::string bytes) override {
    Count(bytes);
    link_->Send(to, std::move(bytes));
  }
  size_t UnsentBytes() override { return link_->UnsentBytes(); }
  std::optional<Message> Receive() override {
    std::optional<Message> message = link_->Receive();
    if (message) Count(message->bytes);
    return message;
  }
  bool IsIdle() override { return link_->IsIdle(); }
  void Close() override { link_->Close(); }
  void Abort(int exit_code) override { link_->Abort(exit_code); }

 private:
  void Count(const std::string& bytes) {
    ++traffic_.messages;
    traffic_.bytes += bytes.size();
  }
  const std::unique_ptr<Link> link_;
  Traffic& traffic_;
};

struct Plan {
  size_t units = 0, threads = 1, stretch = 0;
  double seconds = 0;  // of a unit, on average

  // In an order of no pattern.
  double SecondsOf(size_t unit) const {
    const double place = static_cast<double>(unit * 7919 % units) / static_cast<double>(units);
    return seconds * (1 + kSpread * (2 * place - 1));
  }
};

double DealAll(const Plan& plan, Workers& workers) {
  const auto sleep = [&](size_t unit, size_t) {
    std::this_thread::sleep_for(std::chrono::duration<double>(plan.SecondsOf(unit)));
    return std::string(kResultBytes, 'x');
  };
  workers.WaitForFirst();
  const Clock::time_point start = Clock::now();
  if (!workers.IsFirst()) {
    workers.Deal({}, plan.threads, sleep, {});
    return Since(start);
  }
  std::vector<size_t> units(plan.units);
  std::iota(units.begin(), units.end(), size_t{0});
  const size_t stretch = plan.stretch > 0 ? plan.stretch : plan.units;
  for (size_t begin = 0; begin < plan.units; begin += stretch) {
    const auto part = std::span(units).subspan(begin, std::min(stretch, plan.units - begin));
    workers.Deal(part, plan.threads, sleep, [](size_t, size_t, std::string_view) {});
  }
  workers.Dismiss();
  return Since(start);
}

void Print(const Plan& plan, size_t ranks, double seconds, size_t messages, size_t bytes) {
  double planted = 0;
  for (size_t unit = 0; unit < plan.units; ++unit) planted += plan.SecondsOf(unit);
  const auto workers = static_cast<double>(ranks * plan.threads);
  const auto units = static_cast<double>(plan.units);
  fmt::print(
      "{} ranks of {} threads, stretches of {}: {:.3f} s, efficiency {:.3f}, a thread waits {:.2f} "
      "ms a unit; {:.2f} messages and {:.0f} bytes a unit\n",
      ranks, plan.threads, plan.stretch, seconds, planted / workers / seconds,
      1e3 * (seconds * workers - planted) / units, static_cast<double>(messages) / units,
      static_cast<double>(bytes) / units);
}

int Main(int argc, char** argv) {
  const auto number = [&](int at, size_t otherwise) {
    return argc > at ? std::strtoul(argv[at], nullptr, 10) : otherwise;
  };
  const Plan plan{.units = std::max<size_t>(number(1, 200), 1),
                  .threads = std::max<size_t>(number(3, 1), 1),
                  .stretch = number(4, 0),
                  .seconds = static_cast<double>(number(2, 100)) / 1e3};
  Traffic traffic;
  Ranks workers([&] { return std::make_unique<CountingLink>(OpenLaunchedLink(), traffic); }, "host",
                std::chrono::seconds(600));
  const size_t messages = traffic.messages, bytes = traffic.bytes;  // of the start
  const double seconds = DealAll(plan, workers);
  const size_t ranks = workers.size();
  if (workers.IsFirst())
    Print(plan, ranks, seconds, traffic.messages - messages, traffic.bytes - bytes);
  workers.AwaitEnd(true);
  workers.End(true);
  return 0;
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) try {
  return quantref::Main(argc, argv);
} catch (const quantref::Error& error) {
  fmt::print(stderr, "waiting_bench: {}\n", error.what());
  return 2;
}
