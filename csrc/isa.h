// What this CPU and its operating system can run.
#pragma once

namespace qwen3cpu {

bool cpu_runs_scalar();  // always
bool cpu_runs_avx2();    // AVX2, FMA and F16C, with the YMM registers saved by the operating system
bool cpu_runs_amx();     // all of that, AVX-512 F/BW/VL/DQ/VNNI and AMX int8 tiles that this process may use

}  // namespace qwen3cpu
