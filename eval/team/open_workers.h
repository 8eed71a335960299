#pragma once

#include <memory>
#include <string>

#include "eval/team/link.h"
#include "eval/team/workers.h"

namespace quantref {

// The processes that an MPI launcher started with this one (mpirun, or srun with PMIx); this one
// alone where none did, and then without MPI, which a plugin beside the program holds. `host`: this
// machine's name. A rank that is not heard of for so many seconds is lost; `told`: by Ranks. Throws
// Error where a launcher started it and there is no plugin.
std::unique_ptr<Workers> OpenWorkers(const std::string& host, double timeout,
                                     const ToldToStop& told);

// The link of a process that such a launcher started; throws likewise.
std::unique_ptr<Link> OpenLaunchedLink();

// Whether a launcher started this process with others: Open MPI's mpirun, or one that speaks PMIx.
bool IsLaunched();

// Whether a launcher started this process behind another one of this machine, which says what is
// wrong with the command line or the program, as all of them would.
bool IsSpokenFor();

}  // namespace quantref
