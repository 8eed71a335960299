#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "eval/testing/process.h"
#include "eval/testing/run_eval_lab.h"

// run_eval as several processes, under mpirun.

namespace quantref::testing {

// False, and says so, where this build or this machine has no MPI, which a build that was told to
// have it must.
bool HasMpi();

// On this machine, however few cores it has. What goes between mpirun's options and programs.
// `grace`: seconds until who is told to end is killed.
std::vector<std::string> MpiRun(const std::vector<std::string>& ranks_and_programs,
                                const char* grace = "0");
std::vector<std::string> MpiRun(size_t ranks, const std::vector<std::string>& arguments);
ProcessOptions MpiOptions(const RunEvalLab& lab);
ProcessResult RunRanks(const RunEvalLab& lab, size_t ranks,
                       const std::vector<std::string>& arguments);

// Arguments for several cells of the lab's model, and more.
std::vector<std::string> TinyOf(const RunEvalLab& lab, const std::vector<std::string>& more = {});
// One rank with these as ever, and one that mpirun starts in another way.
std::unique_ptr<Process> StartUnlike(const RunEvalLab& lab,
                                     const std::vector<std::string>& other_program);

// Arguments for windows of seven models, which are at it for many times what happens to them here.
std::vector<std::string> SevenModels(size_t windows, const std::vector<std::string>& more = {});
inline constexpr size_t kMany = 200, kFew = 12;
inline constexpr uintmax_t kTwoWindows = 8000;  // bytes of a journal, and of a third at most

uintmax_t JournalBytes(const RunEvalLab& lab);
// Until windows are added to so many bytes of a journal; false after a minute.
bool WaitForMore(const RunEvalLab& lab, uintmax_t bytes);

// Process ids by rank, of runs whose records go to this lab.
std::map<int, int> RanksOf(const RunEvalLab& lab);

// A folder from which the same paths lead elsewhere.
std::filesystem::path Elsewhere(const RunEvalLab& lab, const std::string& name);

size_t CountOf(std::string_view text, std::string_view part);

}  // namespace quantref::testing
