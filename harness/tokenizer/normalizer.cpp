#include "harness/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr size_t kMostGrowth = 64, kMostMore = size_t{64} << 10;

TracedText Apply(const PrependText& step, TracedText text, const GrowthLimit& limit) {
  if (text.text.empty()) return text;
  limit.Check(text.text.size() + step.text.size());
  TextTracer tracer(text);
  tracer.Put(step.text, 0);
  tracer.Keep({0, text.text.size()});
  return std::move(tracer).Take();
}

TracedText Apply(const ReplaceText& step, TracedText text, const GrowthLimit& limit) {
  const std::vector<Span> matches = step.pattern.FindAll(text.text);
  if (matches.empty()) return text;
  limit.Check(matches.size() * step.by.size());
  TextTracer tracer(text);
  size_t kept = 0;
  for (const Span& match : matches) {
    tracer.Keep({kept, match.begin});
    tracer.Put(step.by, match.begin);
    kept = match.end;
  }
  tracer.Keep({kept, text.text.size()});
  return std::move(tracer).Take();
}

std::string Composed(std::string_view text) {
  utf8proc_uint8_t* made = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &made,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  QR_CHECK_LE(0, size);  // the text is valid
  return {reinterpret_cast<const char*>(made), static_cast<size_t>(size)};
}

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// The end of the next stretch that composes by itself: ASCII up to the last of it, which what
// follows may compose with, or what follows it up to ASCII again.
size_t StretchEnd(std::string_view text, size_t begin) {
  const auto from = text.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto other = std::find_if_not(from, text.end(), IsAscii);
  if (other - from > 1) return static_cast<size_t>(other - text.begin()) - 1;
  return static_cast<size_t>(std::find_if(other, text.end(), IsAscii) - text.begin());
}

// From a character that no mark is to the next one.
size_t ClusterEnd(std::string_view text, size_t begin, size_t end) {
  size_t at = begin + CharacterAt(text, begin).bytes;
  while (at < end) {
    const Character next = CharacterAt(text, at);
    if (utf8proc_get_property(static_cast<utf8proc_int32_t>(next.code))->combining_class == 0) {
      break;
    }
    at += next.bytes;
  }
  return at;
}

// Composes a stretch, cluster by cluster, so that what is made is traced closely; clusters that
// compose with each other (as Hangul's do) go together.
void ComposeStretch(std::string_view text, Span stretch, TextTracer& tracer) {
  const std::string_view whole = text.substr(stretch.begin, stretch.size());
  const std::string composed = Composed(whole);
  if (composed == whole) return tracer.Keep(stretch);
  std::string made;
  std::vector<std::pair<Span, std::string>> parts;  // and what each becomes
  size_t begin = stretch.begin, end = ClusterEnd(text, begin, stretch.end);
  while (true) {
    const std::string part = Composed(text.substr(begin, end - begin));
    const size_t next = end < stretch.end ? ClusterEnd(text, end, stretch.end) : end;
    if (next > end && Composed(text.substr(begin, next - begin)) !=
                          part + Composed(text.substr(end, next - end))) {
      end = next;
      continue;
    }
    made += part;
    parts.emplace_back(Span{begin, end}, part);
    if (next == end) break;
    begin = end;
    end = next;
  }
  if (made != composed) return tracer.Put(composed, stretch.begin);
  for (const auto& [span, part] : parts) {
    if (text.substr(span.begin, span.size()) == part) {
      tracer.Keep(span);
    } else {
      tracer.Put(part, span.begin);
    }
  }
}

TracedText Apply(const ComposeText&, TracedText text, const GrowthLimit&) {
  if (std::all_of(text.text.begin(), text.text.end(), IsAscii)) return text;
  TextTracer tracer(text);
  for (size_t at = 0; at < text.text.size();) {
    const size_t end = StretchEnd(text.text, at);
    if (std::all_of(text.text.begin() + static_cast<std::ptrdiff_t>(at),
                    text.text.begin() + static_cast<std::ptrdiff_t>(end), IsAscii)) {
      tracer.Keep({at, end});
    } else {
      ComposeStretch(text.text, {at, end}, tracer);
    }
    at = end;
  }
  return std::move(tracer).Take();
}

}  // namespace

GrowthLimit::GrowthLimit(size_t bytes, std::string where)
    : given_(bytes), where_(std::move(where)) {}

void GrowthLimit::Check(size_t bytes) const {
  const size_t most = kMostGrowth * given_ + kMostMore;
  if (made_ + bytes <= most) return;
  throw Error("the normalizer makes " + std::to_string(made_ + bytes) + " bytes of " +
                  std::to_string(given_) + ": expected at most " + std::to_string(most),
              where_, "its steps multiply what the one before has put in");
}

TracedText Normalized(const std::vector<NormalizerStep>& steps, TracedText text,
                      GrowthLimit& limit) {
  for (const NormalizerStep& step : steps) {
    text = std::visit([&](const auto& one) { return Apply(one, std::move(text), limit); }, step);
    limit.Check(text.text.size());
  }
  limit.Add(text.text.size());
  return text;
}

}  // namespace quantref
