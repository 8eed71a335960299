# Writes OUTPUT from the state of the git checkout in SOURCE: the commit, and whether the tree differs from it.
set(commit "unknown")
set(dirty "false")
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse HEAD WORKING_DIRECTORY ${SOURCE}
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${head})
    execute_process(COMMAND ${GIT_EXECUTABLE} status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE}
      OUTPUT_VARIABLE changes OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(NOT "${changes}" STREQUAL "")
      set(dirty "true")
    endif()
  endif()
endif()
file(WRITE ${OUTPUT}.new "#include \"eval/support/version.h\"

namespace quantref {

const char* const kVersion = \"${VERSION}\";
const char* const kGitCommit = \"${commit}\";
const bool kGitDirty = ${dirty};

}  // namespace quantref
")
execute_process(COMMAND ${CMAKE_COMMAND} -E copy_if_different ${OUTPUT}.new ${OUTPUT})
file(REMOVE ${OUTPUT}.new)
