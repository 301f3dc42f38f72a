// Peaks of plain code, as the compiler translates it for the baseline CPU.
#include "kernels/scalar/kernels.h"

namespace qwen3cpu::scalar {
namespace {

constexpr int kChains = 16;

// Keeps the compiler from computing the chains in advance or dropping them.
template <class T>
void escape(T& chains) {
  asm volatile("" : : "r"(&chains) : "memory");
}

}  // namespace

int64_t probes::fp32(int64_t rounds) {
  float acc[kChains] = {};
  float w = 1.0f, x = 0.5f;
  escape(w);
  escape(x);
  for (int64_t i = 0; i < rounds; ++i)
    for (float& a : acc) a = a + w * x;
  escape(acc);
  return rounds * kChains;
}

int64_t probes::int8(int64_t rounds) {
  int32_t acc[kChains] = {};
  uint8_t w[kChains] = {1, 2, 3};
  int8_t x[kChains] = {1, 2, 3};
  for (int64_t i = 0; i < rounds; ++i) {
    escape(w);
    for (int c = 0; c < kChains; ++c) acc[c] += w[c] * x[c];
  }
  escape(acc);
  return rounds * kChains;
}

int64_t probes::read(const uint8_t* data, int64_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  uint64_t all = 0;
  for (int64_t i = 0; i < bytes / 8; ++i) all |= words[i];
  escape(all);
  return bytes / 8 * 8;
}

}  // namespace qwen3cpu::scalar
