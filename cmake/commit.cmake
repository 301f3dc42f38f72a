# The commit that is built, for the installed package: qwen3cpu/_commit.py. A source distribution carries it in the file
# COMMIT, as it has no repository.
set(COMMIT_FILE ${CMAKE_CURRENT_SOURCE_DIR}/COMMIT)
set(COMMIT "")
find_package(Git QUIET)
if(GIT_FOUND)
  # Somebody else's repository around an unpacked source distribution does not track these files.
  execute_process(
    COMMAND ${GIT_EXECUTABLE} ls-files --error-unmatch CMakeLists.txt
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} RESULT_VARIABLE UNTRACKED OUTPUT_QUIET ERROR_QUIET)
  if(UNTRACKED EQUAL 0)
    execute_process(
      COMMAND ${GIT_EXECUTABLE} describe --always --dirty --abbrev=12 --exclude=*
      WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
if(COMMIT AND SKBUILD_STATE STREQUAL "sdist")
  file(WRITE ${COMMIT_FILE} "${COMMIT}\n")
elseif(NOT COMMIT AND EXISTS ${COMMIT_FILE})
  file(STRINGS ${COMMIT_FILE} COMMIT LIMIT_COUNT 1)
endif()
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/_commit.py "COMMIT = \"${COMMIT}\"\n")
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/_commit.py DESTINATION qwen3cpu)
