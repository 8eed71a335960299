#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/cost/cost.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/ledger/ledger_items.h"
#include "eval/ledger/ledger_texts.h"
#include "eval/pass/ledger_steps.h"

namespace quantref {

// The second half of a ledger, measured: on windows of the text that the cell's config calibrates
// on, or of the test text, each item of the cell quantized alone, and all but it.
struct BlockLedger {
  // Rows of the measurement.
  static constexpr size_t kReference = 0, kWhole = 1;
  static size_t Alone(size_t item) { return 2 + 2 * item; }
  static size_t AllBut(size_t item) { return 3 + 2 * item; }

  std::string left_out;  // why there is none; "" where there is
  std::string dataset, split, sha256;
  bool substituted_sample = false, is_test_text = false;
  std::string token_sha256;
  std::vector<size_t> places;   // of the windows in the text, rising
  std::vector<Window> windows;  // likewise
  std::vector<LedgerItem> items;
  Measurement measurement;
};

// By GroupCell::model, of every quantized cell; none where the run does not ask for them. What is
// interrupted says so, and is in a journal in the folder of the records for who goes on with it.
using BlockLedgers = std::map<size_t, std::shared_ptr<const BlockLedger>>;
BlockLedgers MeasureBlocks(const GroupContext& group, const LedgerTexts& texts, const Pass& cells);

// All that the cell's ledger depends on, once its text and its items are there.
Facts LedgerFacts(const GroupContext& group, const GroupCell& cell, const BlockLedger& ledger);

// What a record says of a cell.
struct CellLedger {
  std::string request;  // LedgerOptions::Name
  std::vector<LedgerStep> steps;
  std::shared_ptr<const BlockLedger> blocks;  // nullptr: not asked for, or not measured yet
};

// Whether one of them was interrupted.
bool WasInterrupted(const BlockLedgers& ledgers);
void RemoveJournals(const BlockLedgers& ledgers);  // the records stand

// Runs between the reference and a quantized cell that its ledger takes through the windows, at
// most; none where no ledger is asked for.
size_t StepsBefore(const GroupContext& group, const GroupCell& cell);
// What ledgers add to a pass of this cost: to the seconds of its windows for the runs between the
// steps, and behind these for each quantized cell, in their order.
double SecondsOfSteps(const GroupContext& group, const Pass& cells, const Cost& cost);
std::vector<double> SecondsOfBlocks(const GroupContext& group, const Pass& cells, const Cost& cost);
// To its memory, on all threads: the hidden states of one cell's spliced models, and the room in
// which more than one model is compared with the reference.
double BytesOfLedgers(const GroupContext& group, const Pass& cells);

}  // namespace quantref
