// The instruction sets that this CPU and its operating system can run. Functions of other architectures are not
// defined.
#pragma once

namespace qwen3cpu {

static inline bool cpu_runs_scalar() { return true; }

// x86-64
bool cpu_runs_avx2();        // AVX2, FMA and F16C, with the YMM registers saved by the operating system
bool cpu_runs_avxvnni();     // all of that, and AVX-VNNI
bool cpu_runs_avx512vnni();  // avx2, and AVX-512 F, BW, VL, DQ and VNNI with their registers saved
bool cpu_runs_amx();         // all of that, and AMX int8 tiles that this process may use

// 64-bit ARM
bool cpu_runs_neon();     // always: NEON is in its baseline
bool cpu_runs_dotprod();  // SDOT and UDOT
bool cpu_runs_i8mm();     // SMMLA, USMMLA and USDOT, and dotprod

}  // namespace qwen3cpu
