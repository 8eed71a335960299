#include "eval/config/read_candidates.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/config/read_quantize.h"
#include "eval/record/reference.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr char kCandidates[] = "candidates";
constexpr char kOption[] = "--candidate";  // the tag of its entries, too

// A map by labels, and not one candidate.
bool IsByLabel(const YAML::Node& node) {
  return node.IsMap() && !node["label"].IsDefined() && !node["path"].IsDefined();
}

YAML::Node Entry(const YAML::Node& label, const YAML::Node& path) {
  YAML::Node entry(YAML::NodeType::Map);
  entry["label"] = label;
  entry["path"] = path;
  return entry;
}

YAML::Node FromCommandLine(const std::string& text) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size()) {
    throw Error(fmt::format("expected LABEL=PATH, found '{}'", text), kOption,
                "for example --candidate Q4_K_M=model-q4_k_m.gguf");
  }
  YAML::Node entry = Entry(YAML::Node(text.substr(0, at)), YAML::Node(text.substr(at + 1)));
  entry.SetTag(kOption);
  return entry;
}

void CheckNew(YamlReader& entry, const std::string& label, const RunConfig& config) {
  const auto same = std::find_if(config.cells.begin(), config.cells.end(),
                                 [&](const CellConfig& cell) { return cell.label == label; });
  if (same != config.cells.end()) {
    throw Error(fmt::format("{} '{}' has this label, too",
                            same->IsCandidate() ? "the candidate" : "the method", label),
                entry.Where("label"), "labels of methods and candidates differ");
  }
  if (MeansReference(label)) {
    throw Error(fmt::format("'{}' is the reference and cannot be a label", label),
                entry.Where("label"));
  }
}

void ReadCandidate(YamlReader& entry, RunConfig& config) {
  CellConfig cell;
  entry.Set("label", cell.label);
  entry.Set("path", cell.candidate);
  CheckLabel(entry, cell.label);
  if (cell.candidate.empty())
    entry.Fail("path", "a .gguf file, or a folder with config.json, *.safetensors, tokenizer");
  entry.RefuseUnknownKeys();
  CheckNew(entry, cell.label, config);
  config.cells.push_back(std::move(cell));
}

}  // namespace

void ListCandidates(YAML::Node& root, const std::vector<std::string>& more) {
  const YAML::Node given = NodeAt(root, kCandidates);
  const bool there = given.IsDefined() && !given.IsNull();
  if (more.empty() && !(there && IsByLabel(given))) return;
  YAML::Node list(YAML::NodeType::Sequence);
  if (there && IsByLabel(given)) {
    for (const auto& item : given) list.push_back(Entry(item.first, item.second));
  } else if (there && given.IsSequence()) {
    for (const auto& item : given) list.push_back(item);
  } else if (there) {
    list.push_back(given);
  }
  for (const std::string& text : more) list.push_back(FromCommandLine(text));
  root[kCandidates] = list;
}

void ReadCandidates(YamlReader& yaml, RunConfig& config) {
  for (YamlReader& entry : yaml.Maps(kCandidates)) {
    try {
      ReadCandidate(entry, config);
    } catch (const Error& error) {
      if (entry.node().Tag() != kOption) throw;
      throw Error(error.problem(), fmt::format("{} {}", kOption, entry.node()["label"].Scalar()),
                  error.hint());
    }
  }
}

}  // namespace quantref
