#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "harness/base/error.h"

// What the tests of every layer share. Only tests link this.

namespace quantref::testing {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A new folder of its own below the system's temporary folder, removed with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Creates or replaces the file, and the folders above it; fails the test where that is impossible.
void WriteFile(const std::filesystem::path& path, std::string_view contents);
// The whole file; fails the test where it cannot be read.
std::string FileText(const std::filesystem::path& path);

std::filesystem::path SourceDir();                            // the root of the repository
std::filesystem::path ReferenceModel(std::string_view name);  // the folder of a bundled model

// The whole message of the quantref::Error that f throws; the test fails if f throws none.
template <typename F>
std::string ErrorMessage(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL("expected a quantref::Error, but none was thrown");
  return {};
}

// worst = the larger of both; one that is not a number stays.
template <typename Number>
void KeepWorst(Number error, Number& worst) {
  if (!(error <= worst) && !std::isnan(worst)) worst = error;
}

bool Contains(std::string_view text, std::string_view part);

// The first of the parts that the message lacks; empty if it has them all.
std::string MissingPart(std::string_view message, std::initializer_list<std::string_view> parts);

}  // namespace quantref::testing

// CHECK_ERROR(expression, "part", ...): the expression throws a quantref::Error whose message has
// every part.
#define CHECK_ERROR(expression, ...)                                                   \
  do {                                                                                 \
    INFO("in CHECK_ERROR(" #expression ")");                                           \
    const std::string check_error_message =                                            \
        ::quantref::testing::ErrorMessage([&] { static_cast<void>(expression); });     \
    INFO("message: " << check_error_message);                                          \
    CHECK(::quantref::testing::MissingPart(check_error_message, {__VA_ARGS__}) == ""); \
  } while (false)
