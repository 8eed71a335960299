#include "eval/testing/plotter.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "eval/testing/table_lab.h"
#include "harness/testing/testing.h"

namespace quantref::testing {
namespace {

class Plotter {
 public:
  Plotter() {
    REQUIRE(::mkfifo((dir_ / "requests").c_str(), 0600) == 0);
    const std::string scripts = (SourceDir() / "scripts").string();
    process_.emplace(std::vector<std::string>{kPython, "-c", kForks, scripts, dir_.path().string()},
                     ProcessOptions{.timeout = std::chrono::hours(2)});
    // For both: then this does not wait for a reader that may have failed.
    requests_.open(dir_ / "requests", std::ios::in | std::ios::out);
  }

  ProcessResult Run(const PlotRun& run) {
    const std::string number = std::to_string(runs_++);
    requests_ << nlohmann::json{run.folder.string(), run.arguments}.dump() << std::endl;
    REQUIRE(process_->WaitForError("run " + number + " ended\n"));
    ProcessResult result;
    result.exit_code = std::stoi(FileText(dir_ / (number + ".code")));
    result.out = FileText(dir_ / (number + ".1"));
    result.err = FileText(dir_ / (number + ".2"));
    return result;
  }

 private:
  static constexpr const char* kForks = R"(
import json, os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from plotting import draw
from plotting.cli import main
out = sys.argv[2]
for number, line in enumerate(open(f"{out}/requests")):
    folder, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        for stream in 1, 2:
            os.dup2(os.open(f"{out}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
        os.chdir(folder)
        sys.argv = ["plots", *arguments]
        code = main("")
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(f"{out}/{number}.code", "w") as file:
        file.write(str(code))
    print(f"run {number} ended", file=sys.stderr, flush=True)
)";

  TempDir dir_;
  std::optional<Process> process_;
  std::fstream requests_;
  size_t runs_ = 0;
};

}  // namespace

ProcessResult PlotForked(const PlotRun& run) {
  static Plotter plotter;
  return plotter.Run(run);
}

}  // namespace quantref::testing
