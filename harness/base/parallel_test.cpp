#include "harness/base/parallel.h"

#include <catch2/catch.hpp>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

namespace quantref {
namespace {

TEST_CASE("parallel: no index, no call", "[parallel]") {
  for (size_t threads : {1, 2, 4}) {
    ParallelFor(0, threads, [](size_t, size_t) { throw std::logic_error("called"); });
  }
}

TEST_CASE("parallel: one thread is the caller's, in increasing order", "[parallel]") {
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<size_t> order;
  ParallelFor(50, 1, [&](size_t index, size_t worker) {
    CHECK(std::this_thread::get_id() == caller);
    CHECK(worker == 0);
    order.push_back(index);
  });
  REQUIRE(order.size() == 50);
  for (size_t i = 0; i < order.size(); ++i) CHECK(order[i] == i);
}

}  // namespace
}  // namespace quantref
