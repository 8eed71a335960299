#pragma once

#include <map>
#include <string>

#include "eval/testing/run_eval_lab.h"

namespace quantref::testing {

// The text of every record in the lab, by config, method and seed, without what another run of the
// same has otherwise: ids, times, memory, the machine. Fails the test where one stands there twice.
std::map<std::string, std::string> RecordTexts(const RunEvalLab& lab);

}  // namespace quantref::testing
