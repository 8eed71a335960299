#pragma once

#include <array>
#include <string_view>

namespace quantref {

// Forms in which tools keep a reference's logits, to compare models with it later: what each makes
// of KL(reference || model) is measured beside the divergence itself where a config asks for it.
// eval/accuracy/kept_logits.h defines them.
struct KeptLogitsForm {
  std::string_view name;   // in records and in specs of tables, "kl_" before it
  std::string_view words;  // "KL from FP16 logits": of a table's columns
  std::string_view about;  // what is kept
};

inline constexpr std::array kKeptLogitsForms = {
    KeptLogitsForm{"fp16", "KL from FP16 logits", "every logit, rounded to FP16"},
    KeptLogitsForm{"bf16", "KL from BF16 logits", "every logit, rounded to BF16"},
    KeptLogitsForm{
        "u16", "KL from 16-bit steps",
        "every log-probability in 65535 steps from the largest down to 16 nats below it, "
        "or the least; terms of e^-16 and less are left out, as llama.cpp has it"},
    KeptLogitsForm{"top20", "KL from the top 20",
                   "the 20 largest probabilities; all other tokens count as one"},
    KeptLogitsForm{"top20_renormalized", "KL within the top 20",
                   "the 20 largest probabilities, renormalized on both sides: other tokens count "
                   "as impossible"},
    KeptLogitsForm{"top200", "KL from the top 200",
                   "the 200 largest probabilities; all other tokens count as one"},
};

}  // namespace quantref
