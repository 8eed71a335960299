#include "eval/run/report_headline.h"

#include <fmt/format.h>

#include "eval/record/protocol_text.h"
#include "eval/run/report_inputs.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"

namespace quantref {
MeasuredOn DescribeGroup(const GroupResult& group) {
  MeasuredOn on{group.model->name, TextName(group.text->dataset, group.text->split),
                ProtocolText(group.protocol->name, group.stream->bos.has_value()), group.outliers};
  const std::vector<Window> windows = MeasuredIn(group);
  on.windows = windows.size();
  for (const Window& window : windows) on.scored += window.scored();
  on.all_windows = group.all_windows;
  on.stopped_early = group.measurement.stopped_early;
  on.notice = TestTextLine(group);
  if (group.text->substituted_sample) on.notice += SampleWarning(*group.text);
  on.environment = group.environment;
  return on;
}

std::string HeadlineText(const MeasuredOn& on) {
  const std::string machine = fmt::format("{} threads, {}, {}\n", on.environment.threads,
                                          on.environment.isa, on.environment.blas);
  if (on.windows == 0) return fmt::format("{} · {}", on.model, machine);
  const std::string outliers = on.outliers
                                   ? fmt::format(" with outliers x{:g} in {:.1f} % of channels",
                                                 on.outliers->scale, 100 * on.outliers->channels)
                                   : "";
  std::string line =
      fmt::format("{}{} · {} · {} · {} windows, {} scored tokens · {}", on.model, outliers, on.text,
                  on.protocol, on.windows, WithThousands(on.scored), machine);
  if (on.stopped_early) {
    line += fmt::format("STOPPED when sure: {} of {} windows, in random order\n", on.windows,
                        on.all_windows);
  } else if (on.windows < on.all_windows) {
    line +=
        fmt::format("PARTIAL: the first {} of {} windows; not comparable with whole-text figures\n",
                    on.windows, on.all_windows);
  }
  return line + on.notice;
}

}  // namespace quantref
