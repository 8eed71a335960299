#include "harness/tokenizer/oniguruma.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

// What \s holds: White_Space has no U+180E.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kNoSpace =
    R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Cn}\p{Co}\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f)";
// What \w holds in a class, and what it has besides elsewhere: below U+0100, where Oniguruma asks a
// table, some numbers are of words.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kLatinWord = R"(\xb2\xb3\xb9\xbc-\xbe)";
// Of one letter that folds to several, whatever else it folds to: ß, ﬀ, ﬁ, ﬂ, ﬅ.
constexpr std::array<std::string_view, 5> kFoldedPairs = {"ss", "ff", "fi", "fl", "st"};
// Names of properties that are no scripts and mean the same, beside those of one or two letters.
constexpr std::array<std::string_view, 3> kSameProperties = {"any", "lowercase", "uppercase"};

char Lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }

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
  void Replace(size_t bytes, std::string_view text) {
    made_ += text;
    rest_.remove_prefix(bytes);
  }

  void Step() {
    const char before = std::exchange(letter_, '\0');
    const char c = rest_[0];
    if (c == '\\') return Escape();
    if (folds_) CheckFolds(before);
    if (in_class_) return StepInClass();
    CheckOutside();
    if (c == '[') return OpenClass();
    if (c == '(') return OpenGroup();
    if (c == ')') CloseGroup();
    Take(1);
    if (c == '|') begins_ = made_.size();
  }

  void StepInClass() {
    if (rest_[0] == '[') Refuse("a class within a class");
    if (rest_.starts_with("&&")) Refuse("an intersection of classes (&&)");
    if (rest_[0] == ']') in_class_ = false;
    Take(1);
  }

  // Oniguruma folds letters to several, and several to one, across what only groups or repeats
  // them.
  void CheckFolds(char before) {
    constexpr std::string_view kBetween = "()?:{},0123456789";
    if (static_cast<signed char>(rest_[0]) < 0) Refuse("letters beyond ASCII under the flag i");
    if (in_class_) return;
    if (kBetween.find(rest_[0]) != std::string_view::npos) {
      letter_ = before;
      return;
    }
    letter_ = Lower(rest_[0]);
    const std::array<char, 2> pair = {before, letter_};
    const std::string_view text(pair.data(), pair.size());
    if (std::find(kFoldedPairs.begin(), kFoldedPairs.end(), text) != kFoldedPairs.end())
      Refuse("\"" + std::string(text) + "\" under the flag i");
  }

  // "(", "(?:", "(?i:", "(?<=", "(?i)": an alternative begins behind it.
  void OpenGroup() {
    if (!rest_.starts_with("(?")) return OpenPlainGroup(1);
    for (const std::string_view opener : {"(?|", "(?C", "(?#"}) {
      if (rest_.starts_with(opener)) Refuse(opener);
    }
    if (rest_.starts_with("(?<=") || rest_.starts_with("(?<!")) return OpenPlainGroup(4);
    const size_t end = rest_.find_first_not_of("imsx-", 2);
    if (end == std::string_view::npos || rest_.find_first_of(":=!>)", end) != end)
      return OpenPlainGroup(1);
    const std::string_view flags = rest_.substr(2, end - 2);
    if (flags.find_first_of("msx") != std::string_view::npos) Refuse("flags beside i");
    // There a flag would hold for the alternatives behind it, too, as one choice with what follows.
    if (rest_[end] == ')' && begins_ != made_.size())
      Refuse("a flag that does not begin an alternative");
    if (rest_[end] != ')') groups_.push_back(folds_);
    if (const size_t on = flags.find('i'); on != std::string_view::npos)
      folds_ = on < flags.find('-');
    Take(end + 1);
    begins_ = made_.size();
  }

  void OpenPlainGroup(size_t bytes) {
    groups_.push_back(folds_);
    Take(bytes);
    begins_ = made_.size();
  }

  void CloseGroup() {
    if (groups_.empty()) return;  // found when it is compiled
    folds_ = groups_.back();
    groups_.pop_back();
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
    if (rest_.starts_with("{,")) Refuse("{,n}");
    if (rest_[0] != '{') return;
    const size_t close = rest_.find_first_not_of("0123456789,", 1);
    if (close == std::string_view::npos || close == 1) return;
    if (rest_.substr(close).starts_with("}+")) Refuse("{n,m}+");
    if (rest_.substr(close).starts_with("}?") && rest_.find(',') > close) Refuse("{n}?");
  }

  void Escape() {
    if (rest_.size() < 2) Refuse("a backslash at its end");
    constexpr std::string_view kRefused = "hHRQEKGCXyYOgkvVcN";  // Oniguruma's own, or PCRE2's
    const char c = rest_[1];
    if (kRefused.find(c) != std::string_view::npos) Refuse(rest_.substr(0, 2));
    // Such a class has letters that fold to several.
    if (in_class_ && folds_ && std::string_view("wSDpP").find(c) != std::string_view::npos)
      Refuse(std::string(rest_.substr(0, 2)) + " in a class under the flag i");
    if (c == 'S' && in_class_) return Replace(2, kNoSpace);
    if (c == 's' || c == 'S') return EscapeSet(c == 'S', std::string(kSpace));
    if (c == 'w' || c == 'W') return EscapeSet(c == 'W', Word());
    if ((c == 'b' || c == 'B') && !in_class_) return EscapeBoundary(c == 'b');
    if (c == 'p' || c == 'P') return EscapeProperty();
    if (c == 'x') return EscapeCode();
    if (IsDigit(c) && c != '0' && rest_.size() > 2 && IsDigit(rest_[2]))
      Refuse("a backslash and several digits");
    Take(2);
  }

  std::string Word() const {
    return std::string(kWord) + (in_class_ ? "" : std::string(kLatinWord));
  }

  void EscapeSet(bool negated, const std::string& members) {
    if (in_class_ && negated) Refuse(std::string(rest_.substr(0, 2)) + " in a class");
    Replace(2, in_class_ ? members : (negated ? "[^" : "[") + members + "]");
  }

  void EscapeBoundary(bool is_one) {
    const std::string word = "[" + Word() + "]";
    const char* behind = is_one ? "(?!" : "(?=";
    const char* otherwise = is_one ? "(?=" : "(?!";
    Replace(2, "(?:(?<=" + word + ")" + behind + word + ")|(?<!" + word + ")" + otherwise + word +
                   "))");
  }

  // Scripts by the property of that name: PCRE2 means script extensions otherwise.
  void EscapeProperty() {
    const size_t close = rest_.find('}');
    if (rest_.size() < 3 || rest_[2] != '{' || close == std::string_view::npos)
      Refuse("\\p without braces");
    const bool negated = rest_[3] == '^';
    const std::string_view name = rest_.substr(negated ? 4 : 3, close - (negated ? 4 : 3));
    std::string plain;
    for (const char c : name) {
      if (c != '_' && c != ' ' && c != '-') plain += Lower(c);
    }
    const bool is_same =
        (plain.size() <= 2 && plain != "yi") ||
        std::find(kSameProperties.begin(), kSameProperties.end(), plain) != kSameProperties.end();
    Replace(close + 1, std::string(rest_.substr(0, 2)) + "{" + (negated ? "^" : "") +
                           (is_same ? "" : "sc:") + std::string(name) + "}");
  }

  // Two digits are a byte to Oniguruma, which in UTF-8 is a character below 0x80 alone.
  void EscapeCode() {
    if (folds_) Refuse("a code point under the flag i");
    size_t end = 2;
    if (rest_.substr(2).starts_with('{')) {
      end = std::min(rest_.find('}'), rest_.size() - 1) + 1;
    } else {
      while (end < std::min<size_t>(rest_.size(), 4) && IsHex(rest_[end])) ++end;
      if (end == 2) Refuse("\\x without digits");
      if (end == 4 && rest_[2] >= '8') Refuse(rest_.substr(0, 4));
    }
    Take(end);
  }

  std::string_view rest_, whole_;
  const std::string& where_;
  std::string made_;
  size_t begins_ = 0;         // the alternative, in what is made
  std::vector<bool> groups_;  // those that are open: whether letters folded before them
  bool folds_ = false;        // the flag i
  char letter_ = '\0';        // before what is next, where letters fold
  bool in_class_ = false;
};

}  // namespace

std::string ForPcre2(std::string_view expression, const std::string& where) {
  return Translator(expression, where).Translated();
}

}  // namespace quantref
