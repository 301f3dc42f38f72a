# Toolchain file: cross compilation with the clang of PyPI's package `ziglang`, which brings the C and C++ libraries of its
# targets. ZIG: its program. ZIG_TARGET: x86_64-windows-gnu, whose programs run under Wine, or x86_64-linux-musl.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
if(ZIG_TARGET MATCHES "windows")
  set(CMAKE_SYSTEM_NAME Windows)
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target ${ZIG_TARGET})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Probes are compiled and not linked: for each way to link zig would build its C++ library anew.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
