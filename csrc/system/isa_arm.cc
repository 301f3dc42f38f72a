// 64-bit ARM: asks the operating system, by HWCAP on Linux and sysctl on macOS. Compiled for the baseline CPU, because
// this code must not use the instructions that it looks for.
#include "system/isa.h"

#if defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>

#include <cstddef>
#endif

namespace qwen3cpu {
namespace {

#if defined(__linux__)

// Bits of the Linux interface, which older headers lack.
bool detect_dotprod() { return (getauxval(AT_HWCAP) & 1ul << 20) != 0; }  // HWCAP_ASIMDDP
bool detect_i8mm() { return (getauxval(AT_HWCAP2) & 1ul << 13) != 0; }    // HWCAP2_I8MM

#elif defined(__APPLE__)

bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool detect_dotprod() { return has("hw.optional.arm.FEAT_DotProd"); }
bool detect_i8mm() { return has("hw.optional.arm.FEAT_I8MM"); }

#else

bool detect_dotprod() { return false; }
bool detect_i8mm() { return false; }

#endif

}  // namespace

bool cpu_runs_neon() { return true; }

bool cpu_runs_dotprod() {
  static const bool runs = detect_dotprod();
  return runs;
}

bool cpu_runs_i8mm() {
  static const bool runs = detect_i8mm() && cpu_runs_dotprod();
  return runs;
}

}  // namespace qwen3cpu

#endif
