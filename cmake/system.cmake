# What of csrc/system is of this system: SYSTEM_SOURCES, THREADS_SOURCES and SYSTEM_LIBRARIES to link with. Used by the
# extension and by tests/csrc/standalone.
if(WIN32)
  file(GLOB SYSTEM_SOURCES CONFIGURE_DEPENDS ${CSRC}/system/windows/*.cc)
else()
  file(GLOB SYSTEM_SOURCES CONFIGURE_DEPENDS ${CSRC}/system/posix/*.cc)
endif()

# Threads are OpenMP's, but on Windows: a wheel would have to bring a runtime there.
option(QWEN3CPU_OPENMP "Threads of OpenMP, not of the C++ library" ON)
set(STD_THREADS_SOURCES ${CSRC}/system/std_threads/threads.cc)
if(QWEN3CPU_OPENMP AND NOT WIN32)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  set(THREADS_SOURCES ${CSRC}/system/openmp/threads.cc)
  set(SYSTEM_LIBRARIES OpenMP::OpenMP_CXX)
else()
  find_package(Threads REQUIRED)
  set(THREADS_SOURCES ${STD_THREADS_SOURCES})
  set(SYSTEM_LIBRARIES Threads::Threads)
endif()
