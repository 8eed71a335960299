#pragma once

namespace quantref {

extern const char* const kVersion;
extern const char* const
    kGitCommit;               // of the sources that were built; "unknown" outside a checkout
extern const bool kGitDirty;  // the tree differed from that commit

}  // namespace quantref
