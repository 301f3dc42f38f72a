// x86-64: CPUID and XGETBV. Compiled for the baseline CPU, because this code must not use the instructions that it
// looks for.
#include "system/isa.h"

#if defined(__x86_64__)

#include <cpuid.h>

#include <cstdint>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace qwen3cpu {
namespace {

constexpr unsigned bit(int i) { return 1u << i; }

// The register states that the operating system saves on a context switch. Requires CPUID's OSXSAVE bit.
uint64_t saved_states() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool detect_avx2() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  constexpr unsigned fma = bit(12), osxsave = bit(27), avx = bit(28), f16c = bit(29);
  constexpr unsigned needed = fma | osxsave | avx | f16c;
  if ((c & needed) != needed) return false;
  constexpr uint64_t xmm_and_ymm = 6;
  if ((saved_states() & xmm_and_ymm) != xmm_and_ymm) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned avx2 = bit(5);
  return (b & avx2) != 0;
}

bool detect_avxvnni() {
  if (!detect_avx2()) return false;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  constexpr unsigned avxvnni = bit(4);
  return (a & avxvnni) != 0;
}

bool detect_avx512vnni() {
  if (!detect_avx2()) return false;
  constexpr uint64_t xmm_to_zmm_and_masks = 0xe6;
  if ((saved_states() & xmm_to_zmm_and_masks) != xmm_to_zmm_and_masks) return false;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned avx512f = bit(16), avx512dq = bit(17), avx512bw = bit(30), avx512vl = bit(31);
  constexpr unsigned avx512 = avx512f | avx512dq | avx512bw | avx512vl, vnni = bit(11);
  return (b & avx512) == avx512 && (c & vnni) != 0;
}

#if defined(__linux__)

// Asks for the tile registers, which are off until a process does so.
bool request_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

bool detect_amx() {
  if (!detect_avx512vnni()) return false;
  constexpr uint64_t tiles = 0x60000;
  if ((saved_states() & tiles) != tiles) return false;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned amx = bit(24) | bit(25);  // tiles, int8
  return (d & amx) == amx && request_tiles();
}

#else

bool detect_amx() { return false; }

#endif

}  // namespace

bool cpu_runs_avx2() {
  static const bool runs = detect_avx2();
  return runs;
}

bool cpu_runs_avxvnni() {
  static const bool runs = detect_avxvnni();
  return runs;
}

bool cpu_runs_avx512vnni() {
  static const bool runs = detect_avx512vnni();
  return runs;
}

bool cpu_runs_amx() {
  static const bool runs = detect_amx();
  return runs;
}

}  // namespace qwen3cpu

#endif
