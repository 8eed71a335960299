#include "harness/tokenizer/tokenizer_json_steps.h"

#include <algorithm>
#include <array>
#include <utility>

#include "harness/io/json_file.h"
#include "harness/tokenizer/known_splits.h"

namespace quantref {
namespace {

using Behavior = SplitByPattern::Behavior;

std::string TypeOf(const JsonNode& node) { return node.Get("type").Text(); }

[[noreturn]] void RefuseType(const JsonNode& node, const char* known) {
  node.Get("type").Fail(Quoted(TypeOf(node)) + " is not supported",
                        std::string("those that are: ") + known);
}

// {"String": ...} or {"Regex": ...}
Pattern ReadPattern(const JsonNode& node) {
  if (node.value().IsText()) return Pattern::Text(node.Text());
  node.AllowOnly({"String", "Regex"});
  if (const auto text = node.Find("String")) return Pattern::Text(text->Text());
  const JsonNode regex = node.Get("Regex");
  return Pattern::Regex(regex.Text(), regex.file());
}

void AddNormalizers(const JsonNode& node, std::vector<NormalizerStep>& steps) {
  const std::string type = TypeOf(node);
  if (type == "Sequence") {
    node.AllowOnly({"type", "normalizers"});
    for (const JsonNode& one : node.Get("normalizers").Items()) AddNormalizers(one, steps);
  } else if (type == "Prepend") {
    node.AllowOnly({"type", "prepend"});
    steps.emplace_back(PrependText{node.Get("prepend").Text()});
  } else if (type == "Replace") {
    node.AllowOnly({"type", "pattern", "content"});
    ReplaceText step = {ReadPattern(node.Get("pattern")), node.Get("content").Text()};
    // Hugging Face's library puts the content twice at some such places.
    if (step.pattern.MayMatchNothing())
      node.Get("pattern").Fail("a replacement where no text is is not supported");
    steps.push_back(std::move(step));
  } else if (type == "NFC") {
    node.AllowOnly({"type"});
    steps.emplace_back(ComposeText{});
  } else {
    RefuseType(node, "Sequence, Prepend, Replace, NFC");
  }
}

Behavior ReadBehavior(const JsonNode& node) {
  constexpr std::array<std::pair<std::string_view, Behavior>, 5> kNames = {
      {{"Removed", Behavior::kRemoved},
       {"Isolated", Behavior::kIsolated},
       {"MergedWithPrevious", Behavior::kMergedWithPrevious},
       {"MergedWithNext", Behavior::kMergedWithNext},
       {"Contiguous", Behavior::kContiguous}}};
  const std::string name = node.Text();
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  node.Fail(Quoted(name) + " is not supported");
}

SplitByPattern ReadSplit(const JsonNode& node) {
  node.AllowOnly({"type", "pattern", "behavior", "invert"});
  return {ReadPattern(node.Get("pattern")), ReadBehavior(node.Get("behavior")),
          node.FlagOr("invert", false)};
}

SplitByPattern ReadDigits(const JsonNode& node) {
  node.AllowOnly({"type", "individual_digits"});
  const bool single = node.FlagOr("individual_digits", false);
  return {Pattern::Regex(R"(\p{N})", "a split"),
          single ? Behavior::kIsolated : Behavior::kContiguous};
}

SplitByPattern ReadPunctuation(const JsonNode& node) {
  node.AllowOnly({"type", "behavior"});
  const auto behavior = node.Find("behavior");
  return {Pattern::Regex(R"([\p{P}!-/:-@\[-`{-~])", "a split"),
          behavior ? ReadBehavior(*behavior) : Behavior::kIsolated};
}

MarkSpaces ReadMetaspace(const JsonNode& node) {
  using Prepend = MarkSpaces::Prepend;
  node.AllowOnly({"type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"});
  MarkSpaces step;
  step.mark = node.Get("replacement").Text();
  if (step.mark.empty() || CharacterAt(step.mark, 0).bytes != step.mark.size())
    node.Get("replacement").Fail("expected a character, found " + Quoted(step.mark));
  step.prepend = node.FlagOr("add_prefix_space", true) ? Prepend::kAlways : Prepend::kNever;
  if (const auto scheme = node.Find("prepend_scheme")) {
    const std::string name = scheme->Text();
    if (name != "always" && name != "first" && name != "never") {
      scheme->Fail("expected always, first or never, found " + Quoted(name));
    }
    step.prepend = name == "always"  ? Prepend::kAlways
                   : name == "first" ? Prepend::kFirst
                                     : Prepend::kNever;
  }
  step.split = node.FlagOr("split", true);
  return step;
}

void AddByteLevel(const JsonNode& node, PreTokenizer& made) {
  node.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (node.FlagOr("add_prefix_space", true)) made.steps.emplace_back(PrefixSpace{});
  if (node.FlagOr("use_regex", true)) made.steps.push_back(GptSplit());
  made.byte_level = true;
}

void AddPreTokenizers(const JsonNode& node, PreTokenizer& made) {
  const std::string type = TypeOf(node);
  if (made.byte_level) node.Fail("a step behind ByteLevel is not supported");
  if (type == "Sequence") {
    node.AllowOnly({"type", "pretokenizers"});
    for (const JsonNode& one : node.Get("pretokenizers").Items()) AddPreTokenizers(one, made);
  } else if (type == "Split") {
    made.steps.emplace_back(ReadSplit(node));
  } else if (type == "Digits") {
    made.steps.emplace_back(ReadDigits(node));
  } else if (type == "Punctuation") {
    made.steps.emplace_back(ReadPunctuation(node));
  } else if (type == "Metaspace") {
    made.steps.emplace_back(ReadMetaspace(node));
  } else if (type == "ByteLevel") {
    AddByteLevel(node, made);
  } else {
    RefuseType(node, "Sequence, Split, Digits, Punctuation, Metaspace, ByteLevel");
  }
}

bool IsOneForOne(const NormalizerStep& step) {
  if (std::holds_alternative<ComposeText>(step)) return true;
  const auto* replace = std::get_if<ReplaceText>(&step);
  return replace != nullptr && replace->pattern.IsCharacter() &&
         Pattern::Text(replace->by).IsCharacter();
}

}  // namespace

std::vector<NormalizerStep> ReadNormalizer(const JsonNode& node) {
  std::vector<NormalizerStep> steps;
  AddNormalizers(node, steps);
  return steps;
}

PreTokenizer ReadPreTokenizer(const JsonNode& node, const std::vector<NormalizerStep>& normalizer) {
  PreTokenizer made;
  AddPreTokenizers(node, made);
  const bool first = std::any_of(made.steps.begin(), made.steps.end(), [](const auto& step) {
    const auto* mark = std::get_if<MarkSpaces>(&step);
    return mark != nullptr && mark->prepend == MarkSpaces::Prepend::kFirst;
  });
  if (first && !std::all_of(normalizer.begin(), normalizer.end(), IsOneForOne)) {
    node.Fail(
        "prepend_scheme \"first\" behind a normalizer that puts or drops text is not supported");
  }
  return made;
}

}  // namespace quantref
