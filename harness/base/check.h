#pragma once

#include <sstream>
#include <string>

// CHECK aborts on a bug with both values; DCHECK is the same in Debug builds only and costs nothing
// in Release. Neither may be reachable by a user's input: that is what Error is for.

namespace quantref::internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& values);

template <typename A, typename B>
[[noreturn]] void CheckOpFailed(const char* file, int line, const char* expression, const A& a,
                                const B& b) {
  std::ostringstream values;
  values << a << " vs " << b;
  CheckFailed(file, line, expression, values.str());
}

}  // namespace quantref::internal

#define QR_CHECK_OP(a, op, b)                                                             \
  do {                                                                                    \
    const auto& check_a = (a);                                                            \
    const auto& check_b = (b);                                                            \
    if (!(check_a op check_b))                                                            \
      ::quantref::internal::CheckOpFailed(__FILE__, __LINE__, #a " " #op " " #b, check_a, \
                                          check_b);                                       \
  } while (false)

#define QR_CHECK(condition)                                                                  \
  do {                                                                                       \
    if (!(condition)) ::quantref::internal::CheckFailed(__FILE__, __LINE__, #condition, {}); \
  } while (false)
#define QR_CHECK_EQ(a, b) QR_CHECK_OP(a, ==, b)
#define QR_CHECK_LE(a, b) QR_CHECK_OP(a, <=, b)
#define QR_CHECK_LT(a, b) QR_CHECK_OP(a, <, b)

#ifdef NDEBUG
#define QR_DCHECK(condition) \
  do {                       \
  } while (false && (condition))
#define QR_DCHECK_EQ(a, b) QR_DCHECK((a) == (b))
#define QR_DCHECK_LE(a, b) QR_DCHECK((a) <= (b))
#define QR_DCHECK_LT(a, b) QR_DCHECK((a) < (b))
#else
#define QR_DCHECK(condition) QR_CHECK(condition)
#define QR_DCHECK_EQ(a, b) QR_CHECK_EQ(a, b)
#define QR_DCHECK_LE(a, b) QR_CHECK_LE(a, b)
#define QR_DCHECK_LT(a, b) QR_CHECK_LT(a, b)
#endif
