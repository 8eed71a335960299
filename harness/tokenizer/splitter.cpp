#include "harness/tokenizer/splitter.h"

#include <algorithm>
#include <utility>

namespace quantref {
namespace {

using Behavior = SplitByPattern::Behavior;

struct Part {
  Span span;
  bool matches = false;
};

// All of the text, what matches and what lies between.
std::vector<Part> PartsOf(std::string_view text, const SplitByPattern& step) {
  std::vector<Part> parts;
  size_t seen = 0;
  for (const Span& match : step.pattern.FindAll(text)) {
    if (match.begin > seen) parts.push_back({{seen, match.begin}, step.invert});
    parts.push_back({match, !step.invert});
    seen = match.end;
  }
  if (seen < text.size()) parts.push_back({{seen, text.size()}, step.invert});
  return parts;
}

// What matches joins the part before it, unless that was one that matches.
std::vector<Span> MergedWithPrevious(const std::vector<Part>& parts) {
  std::vector<Span> spans;
  bool before = false;
  for (const Part& part : parts) {
    if (part.matches && !before && !spans.empty()) {
      spans.back().end = part.span.end;
    } else {
      spans.push_back(part.span);
    }
    before = part.matches;
  }
  return spans;
}

std::vector<Span> MergedWithNext(const std::vector<Part>& parts) {
  std::vector<Span> spans;
  bool behind = false;
  for (size_t i = parts.size(); i-- > 0;) {
    if (parts[i].matches && !behind && !spans.empty()) {
      spans.back().begin = parts[i].span.begin;
    } else {
      spans.push_back(parts[i].span);
    }
    behind = parts[i].matches;
  }
  std::reverse(spans.begin(), spans.end());
  return spans;
}

std::vector<Span> Contiguous(const std::vector<Part>& parts) {
  std::vector<Span> spans;
  bool before = false;
  for (const Part& part : parts) {
    if (part.matches == before && !spans.empty()) {
      spans.back().end = part.span.end;
    } else {
      spans.push_back(part.span);
    }
    before = part.matches;
  }
  return spans;
}

std::vector<Span> Cut(const std::vector<Part>& parts, Behavior behavior) {
  if (behavior == Behavior::kMergedWithPrevious) return MergedWithPrevious(parts);
  if (behavior == Behavior::kMergedWithNext) return MergedWithNext(parts);
  if (behavior == Behavior::kContiguous) return Contiguous(parts);
  std::vector<Span> spans;
  for (const Part& part : parts) {
    if (behavior == Behavior::kIsolated || !part.matches) spans.push_back(part.span);
  }
  return spans;
}

Pieces Apply(const SplitByPattern& step, Pieces pieces, bool) {
  std::vector<Span> spans;
  for (const Span& piece : pieces.spans) {
    for (const Span& span : Cut(PartsOf(pieces.text.At(piece), step), step.behavior)) {
      if (span.size() > 0) spans.push_back({piece.begin + span.begin, piece.begin + span.end});
    }
  }
  pieces.spans = std::move(spans);
  return pieces;
}

// Writes the pieces anew, one behind the other; what lies between them goes.
template <typename Write>
Pieces Rewritten(const Pieces& pieces, const Write& write) {
  TextTracer tracer(pieces.text);
  std::vector<Span> spans;
  for (const Span& piece : pieces.spans) {
    const size_t begin = tracer.size();
    write(piece, tracer);
    spans.push_back({begin, tracer.size()});
  }
  return {std::move(tracer).Take(), std::move(spans)};
}

Pieces Apply(const PrefixSpace&, Pieces pieces, bool) {
  return Rewritten(pieces, [&](Span piece, TextTracer& tracer) {
    if (pieces.text.text[piece.begin] != ' ') tracer.Put(" ", piece.begin);
    tracer.Keep(piece);
  });
}

Pieces Apply(const MarkSpaces& step, Pieces pieces, bool first) {
  using Prepend = MarkSpaces::Prepend;
  Pieces marked = Rewritten(pieces, [&](Span piece, TextTracer& tracer) {
    const std::string_view text = pieces.text.At(piece);
    const bool begins = first && piece.begin == 0;
    const bool may =
        step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && begins);
    if (may && text[0] != ' ' && !text.starts_with(step.mark)) tracer.Put(step.mark, piece.begin);
    size_t kept = 0;
    for (const Span& space : Pattern::Text(" ").FindAll(text)) {
      tracer.Keep({piece.begin + kept, piece.begin + space.begin});
      tracer.Put(step.mark, piece.begin + space.begin);
      kept = space.end;
    }
    tracer.Keep({piece.begin + kept, piece.end});
  });
  if (!step.split) return marked;
  return Apply(SplitByPattern{Pattern::Text(step.mark), Behavior::kMergedWithNext},
               std::move(marked), first);
}

}  // namespace

Pieces SplitText(const std::vector<SplitStep>& steps, TracedText text, bool first) {
  Pieces pieces;
  if (!text.text.empty()) pieces.spans = {{0, text.text.size()}};
  pieces.text = std::move(text);
  for (const SplitStep& step : steps) {
    pieces =
        std::visit([&](const auto& one) { return Apply(one, std::move(pieces), first); }, step);
  }
  return pieces;
}

}  // namespace quantref
