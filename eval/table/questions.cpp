#include "eval/table/questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "eval/record/pairing.h"
#include "eval/stats/stats.h"
#include "eval/support/figure_text.h"
#include "eval/support/text_table.h"
#include "eval/table/natural_order.h"
#include "eval/table/paired.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

// Cases with one decision beyond this are told by the range of their figures.
constexpr size_t kMostTold = 6;

enum class Decision { kYes, kNo, kOpen, kUnknown };

struct Case {
  const TableRecord *cell = nullptr, *other = nullptr;  // the latter of pairs
  std::string name;                                     // "RTN, 8 bits"; "" where there is one
  Decision decision = Decision::kOpen;
  std::string why{};  // it is unknown
  Figure figure{};    // as it is printed
};

// How a metric's figures are written in answers.
struct Wording {
  std::string quantity;  // "KL"
  std::string before, after;
  bool is_signed = false;
};

bool Meets(const std::vector<FieldFilter>& filters, const TableRecord& record) {
  return !record.stored.cell.reference &&
         std::all_of(filters.begin(), filters.end(), [&](const FieldFilter& filter) {
           return filter.Passes(record.Field(filter.field));
         });
}

// The values that tell cases apart.
using CaseKey = std::vector<std::string>;

CaseKey KeyOf(const TableQuestion& question, const TableRecord& record) {
  CaseKey key;
  for (const std::string& field : question.each) key.push_back(record.Field(field));
  key.push_back(record.stored.cell.Model());
  return key;
}

void Claim(const TableSpec& spec, const TableQuestion& question, const TableRecord*& place,
           const TableRecord& record) {
  if (place != nullptr) {
    throw Error(fmt::format("two records claim one case of '{}': {} and {}", question.ask,
                            place->stored.file.string(), record.stored.file.string()),
                spec.file, "name a field that tells them apart in 'each', or choose by 'cells'");
  }
  place = &record;
}

std::string CaseName(const TableSpec& spec, const TableQuestion& question,
                     const TableRecord& record, bool several_models) {
  std::string name = several_models ? record.stored.cell.model : "";
  for (const std::string& field : question.each) {
    name += name.empty() ? "" : ", ";
    name += spec.LabelOf(field, record.Field(field));
  }
  return name;
}

// In the order of their values, numbers by size.
struct CaseOrder {
  bool operator()(const CaseKey& a, const CaseKey& b) const {
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i] != b[i]) return NaturallyLess(a[i], b[i]);
    return false;
  }
};

std::vector<Case> CasesOf(const TableSpec& spec, const TableQuestion& question,
                          const TableRecords& records) {
  std::map<CaseKey, Case, CaseOrder> by_key;
  std::set<std::string> models;
  for (const TableRecord& record : records.records) {
    const bool first = Meets(question.cells, record);
    if (first) Claim(spec, question, by_key[KeyOf(question, record)].cell, record);
    if (question.than.empty() || !Meets(question.than, record)) continue;
    Claim(spec, question, by_key[KeyOf(question, record)].other, record);
  }
  std::vector<Case> cases;
  for (const auto& [key, found] : by_key) {
    if (found.cell == nullptr || (found.other == nullptr && !question.than.empty())) continue;
    cases.push_back(found);
    models.insert(found.cell->stored.cell.Model());
  }
  for (Case& one : cases) one.name = CaseName(spec, question, *one.cell, models.size() > 1);
  return cases;
}

// Of windows' sums: a's mean over b's, with the interval of the ratio by its linearization, the
// mean of a - ratio b over that of b.
Figure RatioOfMeans(const std::vector<double>& a, const std::vector<double>& b,
                    const std::vector<double>& scored) {
  double sum_a = 0, sum_b = 0, count = 0;
  for (size_t w = 0; w < a.size(); ++w) {
    sum_a += a[w];
    sum_b += b[w];
    count += scored[w];
  }
  if (sum_b <= 0) return {std::numeric_limits<double>::infinity()};
  const double ratio = sum_a / sum_b;
  std::vector<double> scaled = b;
  for (double& sum : scaled) sum *= ratio;
  const auto interval = MeanInterval(DifferenceBlocks(a, scaled, scored));
  Figure figure{ratio};
  if (!interval) return figure;
  figure.low = ratio + interval->low * count / sum_b;
  figure.high = ratio + interval->high * count / sum_b;
  return figure;
}

double InPercent(double nats) { return 100 * std::expm1(nats); }

bool IsRatio(const TableMetric& metric) { return !metric.IsNll() && !metric.larger_is_better; }

// What is printed of two cells: of NLLs the change of perplexity in per cent, of shares the
// difference, of KL the ratio.
Figure PairFigure(const Case& one, const TableMetric& metric,
                  const std::optional<Interval>& difference) {
  const std::vector<double>& a = WindowsOf(*one.cell, metric);
  const std::vector<double>& b = WindowsOf(*one.other, metric);
  const std::vector<double>& scored = one.cell->stored.window_scored;
  if (IsRatio(metric)) return RatioOfMeans(a, b, scored);
  const auto shown = [&](double value) {
    return metric.IsNll() ? InPercent(value) : value * metric.factor;
  };
  Figure figure{shown(BlockMean(DifferenceBlocks(a, b, scored)))};
  if (!difference) return figure;
  figure.low = shown(difference->low);
  figure.high = shown(difference->high);
  return figure;
}

void DecidePair(const TableMetric& metric, Case& one) {
  one.why = WhyUnpaired(*one.cell, *one.other, metric);
  one.decision = one.why.empty() ? Decision::kOpen : Decision::kUnknown;
  if (!one.why.empty()) return;
  const std::vector<double>& a = WindowsOf(*one.cell, metric);
  const std::vector<double>& b = WindowsOf(*one.other, metric);
  const std::optional<Interval> difference =
      MeanInterval(DifferenceBlocks(a, b, one.cell->stored.window_scored));
  one.figure = PairFigure(one, metric, difference);
  if (!difference || a == b) return;
  if (IsRatio(metric)) {  // by what is printed
    if (one.figure.high && *one.figure.high < 1) one.decision = Decision::kYes;
    if (one.figure.low && *one.figure.low > 1) one.decision = Decision::kNo;
    return;
  }
  if (metric.IsNll() ? HoldsNoDifference(*difference) : difference->Contains(0)) return;
  const bool better = metric.larger_is_better ? difference->mean > 0 : difference->mean < 0;
  one.decision = better ? Decision::kYes : Decision::kNo;
}

void DecideBound(const TableQuestion& question, Case& one) {
  const auto number = one.cell->numbers.find(question.metric->name);
  if (number == one.cell->numbers.end()) {
    one.decision = Decision::kUnknown;
    one.why = "it was not measured";
    return;
  }
  const Figure& found = number->second;
  one.figure = found;
  if (!found.low || !found.high) return;
  const double from = question.from.value_or(-std::numeric_limits<double>::infinity());
  const double to = question.to.value_or(std::numeric_limits<double>::infinity());
  if (*found.low >= from && *found.high <= to) one.decision = Decision::kYes;
  if (*found.high < from || *found.low > to) one.decision = Decision::kNo;
}

Wording WordingOf(const TableQuestion& question) {
  const TableMetric& metric = *question.metric;
  if (question.than.empty()) return {metric.header, "", "", metric.is_signed};
  if (metric.IsNll()) return {"PPL", "", " %", true};
  if (metric.larger_is_better) return {metric.header, "", "", true};
  return {metric.header.substr(0, metric.header.find(" (")), "× ", "", false};
}

// As a table of the figure alone would show it.
NumberText Number(const Wording& wording, const Figure& figure) {
  constexpr size_t kOtherwise = 2;
  return NumberTextOf(figure, DigitsOf(figure, kOtherwise), wording.is_signed,
                      UncertaintyStyle::kInterval);
}

std::string Value(const Wording& wording, const Figure& figure) {
  return wording.before + Number(wording, figure).value;
}

std::string Told(const Wording& wording, const Case& one) {
  return (one.name.empty() ? "" : one.name + ": ") + wording.before +
         NumberWithInterval(Number(wording, one.figure)) + wording.after;
}

std::string Range(const Wording& wording, const std::vector<const Case*>& cases) {
  const auto less = [](const Case* a, const Case* b) { return a->figure.value < b->figure.value; };
  const auto [least, most] = std::minmax_element(cases.begin(), cases.end(), less);
  return fmt::format("{} ({}) to {} ({}){}", Value(wording, (*least)->figure), (*least)->name,
                     Value(wording, (*most)->figure), (*most)->name, wording.after);
}

// "no in 2 of 6: RTN: × 2.1 [2.0, 2.2]; ..."; "" where no case has the decision.
std::string Part(const Wording& wording, const std::vector<Case>& cases, Decision decision) {
  std::vector<const Case*> those;
  for (const Case& one : cases) {
    if (one.decision == decision) those.push_back(&one);
  }
  if (those.empty()) return "";
  static constexpr const char* kWords[] = {"Yes", "No", "Open", "Unknown"};
  std::string text = kWords[static_cast<size_t>(decision)];
  if (cases.size() > 1) {
    text += those.size() == cases.size() ? fmt::format(" in all {}", cases.size())
                                         : fmt::format(" in {} of {}", those.size(), cases.size());
  }
  if (decision == Decision::kUnknown) return text + fmt::format(" ({}).", those.front()->why);
  text += fmt::format(" ({} ", wording.quantity);
  if (those.size() > kMostTold) return text + Range(wording, those) + ").";
  for (const Case* one : those) text += (one == those.front() ? "" : "; ") + Told(wording, *one);
  return text + ").";
}

// " Stamps: C, P."; "" where no cell of them has one of its accuracy.
std::string StampsText(const std::vector<Case>& cases) {
  std::set<std::string> letters;
  for (const Case& one : cases) {
    for (const TableRecord* record : {one.cell, one.other}) {
      if (record == nullptr) continue;
      for (const Stamp& stamp : record->stored.stamps) {
        if (!stamp.speed) letters.insert(std::string(1, stamp.letter));
      }
    }
  }
  return letters.empty() ? "" : fmt::format(" Stamps: {}.", fmt::join(letters, ", "));
}

std::string AnswerText(const TableQuestion& question, const std::vector<Case>& cases) {
  if (cases.empty()) return "Not measured.";
  const Wording wording = WordingOf(question);
  const auto all = [&](Decision decision) {
    return std::all_of(cases.begin(), cases.end(),
                       [&](const Case& one) { return one.decision == decision; });
  };
  std::string text;
  for (const Decision decision :
       {Decision::kYes, Decision::kNo, Decision::kOpen, Decision::kUnknown}) {
    const std::string part = Part(wording, cases, decision);
    if (!part.empty()) text += (text.empty() ? "" : " ") + part;
  }
  if (all(Decision::kYes) && !question.yes.empty()) text += " " + question.yes;
  if (all(Decision::kNo) && !question.no.empty()) text += " " + question.no;
  return text + StampsText(cases);
}

}  // namespace

std::vector<TableAnswer> AnswerQuestions(const TableSpec& spec, const TableRecords& records,
                                         size_t threads) {
  std::vector<TableAnswer> answers;
  for (const TableQuestion& question : spec.questions) {
    std::vector<Case> cases = CasesOf(spec, question, records);
    ParallelFor(cases.size(), threads, [&](size_t i, size_t) {
      if (question.than.empty()) {
        DecideBound(question, cases[i]);
      } else {
        DecidePair(*question.metric, cases[i]);
      }
    });
    answers.push_back({question.ask, AnswerText(question, cases)});
  }
  return answers;
}

}  // namespace quantref
