// Registers of 16 floats, and parts of one. Internal linkage.
#pragma once

#include <immintrin.h>

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kWide = 16;  // floats of a register

inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }

}  // namespace
}  // namespace qwen3cpu::avx512vnni
