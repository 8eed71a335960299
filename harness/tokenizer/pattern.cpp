#define PCRE2_CODE_UNIT_WIDTH 8
#include "harness/tokenizer/pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/oniguruma.h"

namespace quantref {

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

namespace {

constexpr size_t kMaxExpressionBytes = size_t{1} << 16;
// Of one match; a run of a million letters costs as much, and no word of a text does.
constexpr uint32_t kMostSteps = 10'000'000;
constexpr size_t kFirstStack = size_t{32} << 10, kLargestStack = size_t{16} << 20;

std::string Message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// What a thread needs to match, whatever the pattern.
struct Matcher {
  pcre2_match_data* found = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* limits = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr);

  Matcher() {
    QR_CHECK(found != nullptr && limits != nullptr && stack != nullptr);
    pcre2_set_match_limit(limits, kMostSteps);
    pcre2_jit_stack_assign(limits, nullptr, stack);
  }
  ~Matcher() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(limits);
    pcre2_match_data_free(found);
  }
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;
};

std::vector<Span> FindText(std::string_view text, std::string_view wanted) {
  std::vector<Span> found;
  if (wanted.empty()) return found;
  for (size_t at = text.find(wanted); at != std::string_view::npos;) {
    found.push_back({at, at + wanted.size()});
    at = text.find(wanted, at + wanted.size());
  }
  return found;
}

}  // namespace

Pattern Pattern::Regex(std::string_view expression, const std::string& where) {
  if (expression.size() > kMaxExpressionBytes) {
    throw Error("a pattern of " + std::to_string(expression.size()) + " bytes: expected at most " +
                    std::to_string(kMaxExpressionBytes),
                where);
  }
  const std::string translated = ForPcre2(expression, where);
  // In Oniguruma's Ruby syntax ^ and $ are of lines.
  // PCRE2 10.42 takes two negated properties for disjoint, so it must not repeat possessively.
  constexpr uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS;
  int error = 0;
  PCRE2_SIZE at = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 kOptions, &error, &at, nullptr);
  if (compiled->code == nullptr) {
    throw Error("the pattern " + Quoted(expression) + " does not compile: " + Message(error),
                where);
  }
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // without it the same, slowly
  Pattern pattern;
  pattern.source_ = expression;
  pattern.where_ = where;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

Pattern Pattern::Text(std::string_view text) {
  Pattern pattern;
  pattern.source_ = text;
  return pattern;
}

bool Pattern::MayMatchNothing() const {
  if (!compiled_) return source_.empty();
  uint32_t may = 0;
  QR_CHECK_EQ(pcre2_pattern_info(compiled_->code, PCRE2_INFO_MATCHEMPTY, &may), 0);
  return may != 0;
}

bool Pattern::IsCharacter() const {
  return !compiled_ && !source_.empty() && CharacterAt(source_, 0).bytes == source_.size();
}

std::vector<Span> Pattern::FindAll(std::string_view text) const {
  if (!compiled_) return FindText(text, source_);
  thread_local const Matcher matcher;
  std::vector<Span> found;
  const size_t* offsets = pcre2_get_ovector_pointer(matcher.found);
  std::optional<size_t> last_end;
  for (size_t at = 0; at <= text.size();) {
    const int result =
        pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                    PCRE2_NO_UTF_CHECK, matcher.found, matcher.limits);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      throw Error(
          "the pattern " + Quoted(source_) + " finds no end in the text: " + Message(result),
          where_, "patterns that backtrack this much are not supported");
    }
    const Span match = {offsets[0], offsets[1]};
    if (match.size() == 0 && last_end == match.end) {
      // An empty match right behind another one is none.
      at += at < text.size() ? CharacterAt(text, at).bytes : 1;
      continue;
    }
    found.push_back(match);
    last_end = at = match.end;
  }
  return found;
}

}  // namespace quantref
