#include "eval/team/open_workers.h"

#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "eval/team/link.h"
#include "eval/team/ranks.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

std::string_view Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

// Beside the program, or where an installation has it.
fs::path PluginFile() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& place : {folder, folder / QUANTREF_PLUGINS}) {
    const fs::path file = place / "libquantref_mpi.so";
    if (fs::exists(file, error)) return file;
  }
  throw Error("this program was built without MPI, and a launcher of MPI started it",
              folder.string(),
              "scripts/setup --mpi builds it in; or run it as shards (--shard), or alone: "
              "env -u OMPI_COMM_WORLD_SIZE -u PMIX_RANK run_eval ...");
}

std::unique_ptr<Link> OpenPlugin(const fs::path& file) {
  // Open MPI's own plugins look for its symbols among the program's.
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr)
    throw Error(std::string("it cannot be loaded: ") + dlerror(), file.string(),
                "install Debian's libopenmpi3 and openmpi-bin");
  const auto open = reinterpret_cast<OpenLink>(dlsym(library, kOpenLinkName));
  if (open == nullptr)
    throw Error(std::string("it lacks the function ") + kOpenLinkName, file.string());
  return std::unique_ptr<Link>(open());
}

}  // namespace

bool IsLaunched() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  const bool by_pmix = std::getenv("PMIX_RANK") != nullptr;
  // A step of Slurm with one task may be launched so, too.
  if (size == nullptr && by_pmix) size = std::getenv("SLURM_STEP_NUM_TASKS");
  return size == nullptr ? by_pmix : std::string_view(size) != "1";
}

std::unique_ptr<Workers> OpenWorkers(const std::string& host, double timeout,
                                     const ToldToStop& told) {
  if (!IsLaunched()) return std::make_unique<OneProcess>();
  return std::make_unique<Ranks>([file = PluginFile()] { return OpenPlugin(file); }, host,
                                 std::chrono::duration<double>(timeout), told);
}

std::unique_ptr<Link> OpenLaunchedLink() { return OpenPlugin(PluginFile()); }

bool IsSpokenFor() {
  if (!IsLaunched()) return false;
  std::string_view place = Variable("OMPI_COMM_WORLD_LOCAL_RANK");
  if (place.empty()) place = Variable("SLURM_LOCALID");
  return !place.empty() && place != "0";
}

}  // namespace quantref
