#pragma once

#include <memory>
#include <string>

#include "eval/team/workers.h"

namespace quantref {

// The processes that an MPI launcher started with this one (mpirun, or srun with PMIx); this one
// alone where none did, and then without MPI, which a plugin beside the program holds. `host`: this
// machine's name. A rank that is not heard of for so many seconds is lost. Throws Error where a
// launcher started it and there is no plugin.
std::unique_ptr<Workers> OpenWorkers(const std::string& host, double timeout);

}  // namespace quantref
