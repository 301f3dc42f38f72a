// What this CPU and its operating system can run.
#pragma once

namespace qwen3cpu {

bool cpu_runs_scalar();  // always
bool cpu_runs_avx2();    // AVX2, FMA and F16C, with the YMM registers saved by the operating system

}  // namespace qwen3cpu
