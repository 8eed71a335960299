#include <deque>
#include <string>

#include "eval/record/kept_logits.h"
#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

// Views of names that are put together last as long as the program.
std::string_view Interned(std::string text) {
  static std::deque<std::string> texts;
  return texts.emplace_back(std::move(text));
}

}  // namespace

std::vector<RecordField> KeptLogitsFields() {
  using enum FieldType;
  using enum Presence;
  std::vector<RecordField> rows = {
      {"accuracy.kept_logits", kMap, kOptional, "",
       "what tools report that keep the reference's logits in some form and compare models with "
       "that (`accuracy.metrics: kept_logits`); in the reference's own record what they report of "
       "a model that changes nothing. Absent of a form that no double holds"}};
  for (const KeptLogitsForm& form : kKeptLogitsForms) {
    const std::string path = "accuracy.kept_logits." + std::string(form.name);
    const std::string_view interval = Interned(path + ".kl_ci95"),
                           samples = Interned(path + ".window_kl"),
                           of_error = Interned(path + ".error_ci95");
    rows.push_back({path, kMap, kOptional, "", std::string(form.about)});
    rows.push_back(Shown({path + ".kl_mean", kNumber, kWritten, "nats",
                          "KL(what was kept \\|\\| cell) a position", Role::kAggregate},
                         {.name = Interned("kl_" + std::string(form.name)),
                          .header = form.words,
                          .interval = interval,
                          .samples = samples,
                          .digits = 5}));
    rows.push_back(
        {path + ".kl_ci95", kInterval, kOptional, "nats", "over windows", Role::kAggregate});
    rows.push_back(
        Shown({path + ".error", kNumber, kWritten, "nats",
               "that less `accuracy.kl_mean`, which is 0 of the reference", Role::kAggregate},
              {.name = Interned("kl_" + std::string(form.name) + "_error"),
               .header = Interned(std::string(form.words) + ", error"),
               .interval = of_error,
               .digits = 5,
               .is_signed = true}));
    rows.push_back({path + ".error_ci95", kInterval, kOptional, "nats",
                    "of the difference, over windows", Role::kAggregate});
    rows.push_back({path + ".window_kl", kNumbers, kWritten, "nats",
                    "sum over each measured window's scored positions", Role::kSample});
  }
  return rows;
}

}  // namespace quantref
