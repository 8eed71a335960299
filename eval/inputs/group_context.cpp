#include "eval/inputs/group_context.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "eval/config/setting_keys.h"
#include "eval/support/say.h"
#include "harness/base/cancel.h"
#include "harness/base/parallel.h"

namespace quantref {

size_t GroupContext::LongestWindow() const {
  size_t longest = 0;
  for (const Window& window : windows) longest = std::max(longest, window.length);
  return longest;
}

void GroupContext::CheckInputs() const {
  text.file.CheckUnchanged();
  CheckUnchanged(calibrations.files());
  CheckUnchanged(model->files());
  CheckUnchanged(candidate_files);
}

void GroupContext::Tolerate(const RunConfig& config, const Error& error, const std::string& label) {
  const bool of_team = dynamic_cast<const TeamError*>(&error) != nullptr;
  if (config.study.empty() || CancelRequested() || of_team) throw;
  CheckInputs();
  Say("{} {} cannot be measured, the others go on: {}\n", config.name, label,
      InConfigsWords(error).what());
  ++failed_cells;
}

void LoadInputs(ModelLoader& models, GroupContext& group) {
  const RunConfig& config = group.config();
  const RunOptions& options = group.options;
  group.text = LoadRunText(config.accuracy.dataset, config.accuracy.split, config, options.quiet);
  group.model = models.Load(config.model);
  if (const std::string text = PassedByText(*group.model); !text.empty() && !options.quiet)
    Say("the reference {}: {}\n", group.model->name, text);
  const ModelConfig& shape = group.model->config;
  group.protocol = FitToContext(config.accuracy.ChosenProtocol(), shape.context);
  // Side by side: of a small model that is most of the time until it begins.
  std::vector<std::function<void()>> tokenizing =
      group.calibrations.Prepare(group.configs, *group.model, options.quiet);
  const std::optional<uint32_t> bos = ChooseBos(*group.model, config.accuracy.bos);
  tokenizing.emplace_back([&group, bos] {
    group.stream = Tokenize(group.protocol, group.text.bytes, group.model->tokenizer, bos);
  });
  ParallelFor(tokenizing.size(), group.threads, [&](size_t i, size_t) { tokenizing[i](); });
  group.windows = MakeWindows(group.protocol, group.stream.ids.size(), shape.context);
  group.all_windows = group.windows.size();
  if (options.windows > 0 && options.windows < group.windows.size())
    group.windows.resize(options.windows);
}

}  // namespace quantref
