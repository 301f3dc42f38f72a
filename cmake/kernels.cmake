# The kernels: one object library per instruction set, so that its flags reach no other file. Sets KERNEL_LIBRARIES (for
# $<TARGET_OBJECTS:...>), ISA_DEFINITIONS (for csrc/layout/isas.inc), QWEN3CPU_FLAGS and for C QWEN3CPU_C_FLAGS. Used by
# the extension and by tests/csrc/standalone.

# -ffp-contract=off: the order of float operations is part of the contract of every kernel; a fused multiply-add is
# written where it is meant.
if(MSVC)  # clang-cl; no other compiler for Windows is meant
  set(QWEN3CPU_C_FLAGS /clang:-O3 /clang:-ffp-contract=off)
  set(QWEN3CPU_FLAGS ${QWEN3CPU_C_FLAGS} /EHsc /W4 -Wno-unknown-pragmas)
else()
  set(QWEN3CPU_C_FLAGS -O3 -ffp-contract=off)
  set(QWEN3CPU_FLAGS ${QWEN3CPU_C_FLAGS} -Wall -Wextra -Wno-unknown-pragmas)
endif()
if(QWEN3CPU_SANITIZE)
  list(TRANSFORM QWEN3CPU_FLAGS REPLACE "^-O3$" "-O1")  # with checks in every line -O3 compiles twice as long
endif()
if(QWEN3CPU_WERROR)
  list(APPEND QWEN3CPU_FLAGS -Werror)
endif()
if(QWEN3CPU_SANITIZE)
  list(APPEND QWEN3CPU_FLAGS -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(QWEN3CPU_COVERAGE)
  list(APPEND QWEN3CPU_FLAGS --coverage)
  add_link_options(--coverage)
endif()

set(CSRC ${CMAKE_CURRENT_LIST_DIR}/../csrc)
set(KERNEL_LIBRARIES "")
set(ISA_DEFINITIONS "")

# add_isa(name flags...): the kernels in csrc/kernels/<name>.
function(add_isa name)
  file(GLOB sources CONFIGURE_DEPENDS ${CSRC}/kernels/${name}/*.cc)
  add_library(kernels_${name} OBJECT ${sources})
  target_include_directories(kernels_${name} PRIVATE ${CSRC})
  target_compile_options(kernels_${name} PRIVATE ${QWEN3CPU_FLAGS} ${ARGN})
  set(KERNEL_LIBRARIES ${KERNEL_LIBRARIES} kernels_${name} PARENT_SCOPE)
endfunction()

add_isa(scalar)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(AVX2_FLAGS -mavx2 -mfma -mf16c)
  add_isa(avx2 ${AVX2_FLAGS})
  list(APPEND ISA_DEFINITIONS QWEN3CPU_HAVE_AVX2)
  include(CheckCXXCompilerFlag)
  set(AVX512VNNI_FLAGS ${AVX2_FLAGS} -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND AVX512VNNI_FLAGS -Wno-maybe-uninitialized -Wno-uninitialized)  # false alarms in GCC 12's AVX-512 header
  endif()
  # GCC 8 and Clang 7 know AVX-512 VNNI, GCC 11 and Clang 12 AVX-VNNI and AMX.
  check_cxx_compiler_flag("-mavxvnni" COMPILER_KNOWS_AVXVNNI)
  if(COMPILER_KNOWS_AVXVNNI)
    add_isa(avxvnni ${AVX2_FLAGS} -mavxvnni)
    list(APPEND ISA_DEFINITIONS QWEN3CPU_HAVE_AVXVNNI)
  endif()
  check_cxx_compiler_flag("-mavx512vnni" COMPILER_KNOWS_AVX512VNNI)
  if(COMPILER_KNOWS_AVX512VNNI)
    add_isa(avx512vnni ${AVX512VNNI_FLAGS})
    list(APPEND ISA_DEFINITIONS QWEN3CPU_HAVE_AVX512VNNI)
  endif()
  check_cxx_compiler_flag("-mamx-int8" COMPILER_KNOWS_AMX)
  if(COMPILER_KNOWS_AMX)
    add_isa(amx ${AVX512VNNI_FLAGS} -mamx-tile -mamx-int8)
    list(APPEND ISA_DEFINITIONS QWEN3CPU_HAVE_AMX)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  add_isa(neon)
  add_isa(dotprod -march=armv8.2-a+dotprod)
  add_isa(i8mm -march=armv8.2-a+dotprod+i8mm)
  list(APPEND ISA_DEFINITIONS QWEN3CPU_HAVE_NEON)
endif()
