#pragma once

#include <deque>
#include <string>
#include <vector>

#include "eval/inputs/group_context.h"

namespace quantref {

// A text that a ledger takes windows from.
struct LedgerText {
  const Text* text;
  const TokenStream* stream;
  std::vector<size_t> places;  // of the windows in the text, rising
  std::vector<Window> windows;
  bool is_test;  // what is found there must not be used to choose by
};

// Those that a group's configs calibrate on, each read once, as the protocol that is measured reads
// texts.
class LedgerTexts {
 public:
  // Reads all that will be asked for, so that what is wrong with one is said before anything long
  // begins; none where the run asks for no windows of them. The group must outlive it.
  explicit LedgerTexts(const GroupContext& group);

  // Windows from anywhere in the text, the same ones each time: as many as the run asks for, or
  // all. Of the test text where it asks for that.
  LedgerText For(const RunConfig& config) const;
  void CheckUnchanged() const;  // as GroupContext::CheckInputs

 private:
  struct Source {
    std::string dataset, split;
    Text text;
    TokenStream stream{};
    std::vector<Window> windows{};
  };
  void Load(const RunConfig& config);
  LedgerText Chosen(const Text& text, const TokenStream& stream, const std::vector<Window>& all,
                    bool is_test) const;

  const GroupContext& group_;
  std::deque<Source> sources_;  // texts point into it
};

}  // namespace quantref
