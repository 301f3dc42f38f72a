// A call of one kernel with all inputs. It can be repeated by another instruction set or, written to a file, on another
// machine.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/registry.h"
#include "layout/format_names.h"

namespace qwen3cpu::check {

using Bytes = std::vector<uint8_t>;

struct Case {
  std::string kind;            // matmul, attend, store, rms_norm, rope, silu_mul, `quantize`, round, pack
  std::string name;            // of the format; of `quantize`: i8g32 or i8g256
  std::vector<int64_t> shape;  // depends on the kind, see its runner
  std::vector<Bytes> inputs;
};

// The output of a kernel. Floats are compared bit for bit, but all NaNs are equal.
struct Output {
  bool floats;
  Bytes bytes;
};

// Runs a case on the kernels of `isa`.
std::vector<Output> run(const IsaTable& isa, const Case& c);

// All cases: shapes with every kind of tail, and blocks chosen to provoke overflows.
std::vector<Case> all_cases();
std::vector<Case> product_cases();
std::vector<Case> adversarial_cases();
std::vector<Case> kv_cases();
std::vector<Case> op_cases();
std::vector<Case> round_cases();
std::vector<Case> pack_cases();

// Write and read cases with the outputs of the scalar kernels. They throw Error for an incomplete file.
void write_vectors(const std::string& path, const std::vector<Case>& cases,
                   const std::vector<std::vector<Output>>& outputs);
void read_vectors(const std::string& path, std::vector<Case>& cases, std::vector<std::vector<Output>>& outputs);

template <class T>
Bytes to_bytes(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class T>
std::vector<T> from_bytes(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// splitmix64, which gives the same numbers with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>(bits() % static_cast<uint64_t>(n)); }
  // Roughly normal, exact in float: a sum of four uniform numbers.
  float normal() {
    int64_t sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int64_t>(bits() >> 44) - (int64_t{1} << 19);
    return static_cast<float>(sum) * 0x1p-19f;
  }
  std::vector<float> normals(int64_t n, float scale) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = normal() * scale;
    return values;
  }

 private:
  uint64_t state_;
};

}  // namespace qwen3cpu::check
