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

// What \s and \w hold: White_Space has no U+180E, and words have marks.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})", kWord = R"(\p{L}\p{M}\p{Nd}\p{Pc})";

std::string Message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// Writes an expression of Oniguruma so that PCRE2 reads the same.
class Translator {
 public:
  Translator(std::string_view expression, const std::string& where)
      : rest_(expression), whole_(expression), where_(where) {}

  std::string Translated() && {
    while (!rest_.empty()) Step();
    return std::move(made_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view what) const {
    throw Error(
        "the pattern " + Quoted(whole_) + " has " + std::string(what) + ", which is not supported",
        where_);
  }

  void Take(size_t bytes) {
    made_ += rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
  }

  void Step() {
    const char c = rest_[0];
    if (c == '\\') return Escape();
    if (!in_class_ && c == '[') return OpenClass();
    if (in_class_ && c == ']') in_class_ = false;
    if (in_class_ && c == '[') Refuse("a class within a class");
    if (in_class_ && rest_.starts_with("&&")) Refuse("an intersection of classes (&&)");
    if (!in_class_) CheckOutside();
    if (!in_class_ && c == '(') return OpenGroup();
    Take(1);
    if (!in_class_ && c == '|') begins_ = made_.size();
  }

  // "(", "(?:", "(?i:", "(?<=", "(?i)": an alternative begins behind it.
  void OpenGroup() {
    const size_t end = rest_.find_first_not_of("imsx-<", 2);
    const bool special = rest_.starts_with("(?") && end != std::string_view::npos;
    if (special && (rest_[end] == '|' || rest_[end] == 'C')) Refuse(rest_.substr(0, end + 1));
    // There a flag would hold for the alternatives behind it, too, as one choice with what follows.
    if (special && rest_[end] == ')' && begins_ != made_.size())
      Refuse("a flag that does not begin an alternative");
    Take(special && rest_.find_first_of(":=!>)", end) == end ? end + 1 : 1);
    begins_ = made_.size();
  }

  void OpenClass() {
    in_class_ = true;
    Take(1);
    if (rest_.starts_with('^')) Take(1);
    if (rest_.starts_with(']')) Take(1);  // stands for itself there
  }

  // What means something else outside of classes.
  void CheckOutside() const {
    if (rest_.starts_with("(*")) Refuse("a verb (*...)");
    if (rest_.starts_with("(?")) {
      const std::string_view flags = rest_.substr(0, rest_.find_first_not_of("#imsx-", 2));
      if (flags.find_first_of("#msx") != std::string_view::npos) Refuse("flags beside i");
    }
    if (rest_.starts_with("{,")) Refuse("{,n}");
    if (rest_[0] != '{') return;
    const size_t close = rest_.find_first_not_of("0123456789,", 1);
    if (close != std::string_view::npos && close > 1 && rest_.substr(close).starts_with("}+")) {
      Refuse("{n,m}+");
    }
  }

  void Escape() {
    if (rest_.size() < 2) Refuse("a backslash at its end");
    const char c = rest_[1];
    const auto replace = [&](std::string_view text) {
      made_ += text;
      rest_.remove_prefix(2);
    };
    const auto set = [&](std::string_view negation, std::string_view members) {
      if (in_class_ && !negation.empty()) Refuse("\\W in a class");
      const std::string text(members);
      replace(in_class_ ? text : "[" + std::string(negation) + text + "]");
    };
    const std::string word = "[" + std::string(kWord) + "]";
    if (c == 's') return set("", kSpace);
    if (c == 'S' && !in_class_) return set("^", kSpace);
    if (c == 'w') return set("", kWord);
    if (c == 'W') return set("^", kWord);
    if ((c == 'b' || c == 'B') && !in_class_) {
      const char* second = c == 'b' ? "(?!" : "(?=";
      const char* third = c == 'b' ? "(?=" : "(?!";
      return replace("(?:(?<=" + word + ")" + second + word + ")|(?<!" + word + ")" + third + word +
                     "))");
    }
    constexpr std::string_view kRefused = "hHRQEKGCXyYOgk";  // Oniguruma's own, or PCRE2's
    if (kRefused.find(c) != std::string_view::npos) Refuse("\\" + std::string(1, c));
    Take(2);
    if (rest_.starts_with('{')) Take(std::min(rest_.find('}'), rest_.size() - 1) + 1);  // \p{L}
  }

  std::string_view rest_, whole_;
  const std::string& where_;
  std::string made_;
  size_t begins_ = 0;  // the alternative, in what is made
  bool in_class_ = false;
};

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
  const std::string translated = Translator(expression, where).Translated();
  // In Oniguruma's Ruby syntax ^ and $ are of lines.
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
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
