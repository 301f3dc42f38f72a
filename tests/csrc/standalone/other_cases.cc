// Attention and the KV cache, the operations between products, and rounding.
#include <cmath>
#include <limits>

#include "case.h"

namespace qwen3cpu::check {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const char* kv_name(int format) { return kv_format_name(static_cast<KvFormat>(format)); }

// Fills every position of a block with the scalar kernel.
void fill_block(int format, int dim, Random& random, Bytes& k, Bytes& v) {
  k.assign(static_cast<size_t>(kv_plane_bytes(static_cast<KvFormat>(format), dim)), 0);
  v = k;
  for (int slot = 0; slot < kKvBlock; ++slot) {
    const std::vector<float> key = random.normals(dim, slot % 7 ? 1.0f : 6.0f), value = random.normals(dim, 1.0f);
    isa_table("scalar").kv[format].store(key.data(), value.data(), slot, dim, k.data(), v.data());
  }
}

// fresh: whether the block is the first one of the rows.
Case attend_case(int format, int dim, const std::vector<int>& counts, bool fresh, Random& random) {
  const auto rows = static_cast<int64_t>(counts.size());
  Bytes k, v;
  fill_block(format, dim, random, k, v);
  std::vector<SoftmaxState> state(counts.size(), {-kInfinity, 0.0f});
  std::vector<float> out(static_cast<size_t>(rows * dim));
  if (!fresh) {
    for (SoftmaxState& s : state) s = {random.normal() * 3.0f, 1.0f + 0.25f * static_cast<float>(random.below(40))};
    out = random.normals(rows * dim, 1.0f);
  }
  const std::vector<float> q = random.normals(rows * dim, 1.0f / std::sqrt(static_cast<float>(dim)));
  return {"attend",
          kv_name(format),
          {rows, dim},
          {to_bytes(q), k, v, to_bytes(std::vector<int32_t>(counts.begin(), counts.end())), to_bytes(state),
           to_bytes(out)}};
}

Case store_case(int format, int dim, int slot, Random& random) {
  Bytes k, v;
  fill_block(format, dim, random, k, v);
  std::vector<float> key = random.normals(dim, 1.0f), value = random.normals(dim, 10.0f);
  constexpr float kValues[] = {65519.0f, 65520.0f, -65504.0f, 6e-8f,     2.9e-8f, 1e-5f, kInfinity,
                               kNan,     -0.0f,    1e-39f,    0x1p-149f, 1e30f,   2.5f};
  if (random.below(3) > 0) key[static_cast<size_t>(random.below(dim))] = kValues[random.below(13)];
  if (random.below(3) > 0) value[static_cast<size_t>(random.below(dim))] = kValues[random.below(13)];
  if (random.below(10) == 0) key.assign(key.size(), 0.0f);
  return {"store", kv_name(format), {slot, dim}, {to_bytes(key), to_bytes(value), k, v}};
}

// Numbers that test rounding, the bounds of exp and special values.
std::vector<float> hard_numbers(int n, Random& random) {
  constexpr float kValues[] = {0.0f,  -0.0f,  0.5f,       1.5f,   2.5f,    -2.5f,  87.0f,   -87.0f,
                               88.0f, -88.0f, -87.00001f, 200.0f, -200.0f, 1e-30f, -1e-30f, 126.5f};
  std::vector<float> x = random.normals(n, 4.0f);
  for (float& v : x)
    if (random.below(4) == 0) v = kValues[random.below(16)];
  return x;
}

constexpr int kLengths[] = {1,  2,  3,  4,  5,  6,  7,   8,   9,   10,  15,  16,  17,  24,  31,
                            32, 33, 63, 64, 65, 96, 128, 200, 255, 256, 257, 288, 300, 512, 576};

std::vector<Case> quantize_cases() {
  std::vector<Case> cases;
  Random random(31);
  constexpr float kAdded[] = {kInfinity, kNan, 1e38f, 3e-37f, 1e-44f};
  for (const char* name : {"i8g32", "i8g256"})
    for (const int n : kLengths)
      for (int kind = 0; kind < 6; ++kind) {
        std::vector<float> x = random.normals(n, 3.0f);
        if (kind == 1) {  // halves: every one is a tie
          for (float& v : x) v = static_cast<float>(random.below(253) - 126) + 0.5f;
          x[0] = 127.0f;
        }
        if (kind == 2) x.assign(x.size(), 0.0f);
        if (kind == 3) x[static_cast<size_t>(random.below(n))] = kAdded[random.below(5)];
        if (kind == 4)
          for (float& v : x) v *= 1e-37f;
        if (kind == 5)
          for (float& v : x) v = v < 0.0f ? -5.0f : 5.0f;
        cases.push_back({"quantize", name, {n}, {to_bytes(x)}});
      }
  return cases;
}

}  // namespace

std::vector<Case> kv_cases() {
  std::vector<Case> cases;
  Random random(11);
  for (int format = 0; format < kKvFormats; ++format) {
    for (const int dim : {8, 16, 24, 40, 64, 72, 128}) {
      for (const bool fresh : {true, false}) {
        cases.push_back(attend_case(format, dim, {64}, fresh, random));
        cases.push_back(attend_case(format, dim, {1 + random.below(64), 1 + random.below(64)}, fresh, random));
        cases.push_back(attend_case(format, dim, {33, 33, 33}, fresh, random));
        cases.push_back(attend_case(format, dim, {0, 0, 1, 1, 7, 8, 9, 9, 63, 63, 63, 63, 63, 0, 64}, fresh, random));
      }
      for (const int slot : {0, 1, 7, 8, 29, 56, 63})
        for (int i = 0; i < 3; ++i) cases.push_back(store_case(format, dim, slot, random));
    }
    for (int count = 1; count <= 64; ++count)
      cases.push_back(
          attend_case(format, 32, std::vector<int>(static_cast<size_t>(1 + count % 5), count), true, random));
  }
  return cases;
}

std::vector<Case> op_cases() {
  std::vector<Case> cases = quantize_cases();
  Random random(21);
  for (const int n : kLengths) {
    const Bytes eps = to_bytes(std::vector<float>{1e-6f});
    cases.push_back({"rms_norm", "", {n}, {to_bytes(random.normals(n, 2.0f)), to_bytes(random.normals(n, 1.0f)), eps}});
    cases.push_back({"rms_norm", "", {n}, {to_bytes(hard_numbers(n, random)), to_bytes(random.normals(n, 1.0f)), eps}});
    std::vector<float> angle = random.normals(n, 3.0f), cos = angle, sin = angle;
    for (float& a : cos) a = std::cos(a);
    for (float& a : sin) a = std::sin(a);
    cases.push_back({"rope", "", {n}, {to_bytes(random.normals(2 * n, 1.0f)), to_bytes(cos), to_bytes(sin)}});
    cases.push_back({"silu_mul", "", {n}, {to_bytes(hard_numbers(n, random)), to_bytes(random.normals(n, 1.0f))}});
    std::vector<float> special = hard_numbers(n, random);
    special[static_cast<size_t>(n - 1)] = n % 3 == 0 ? kNan : n % 3 == 1 ? kInfinity : -kInfinity;
    cases.push_back({"silu_mul", "", {n}, {to_bytes(special), to_bytes(random.normals(n, 1.0f))}});
  }
  return cases;
}

// Weights of very different sizes together: rows of zeros, rows too small for a scale, groups that are clipped or out
// of range, halves of steps.
std::vector<Case> round_cases() {
  std::vector<Case> cases;
  Random random(41);
  constexpr float kAdded[] = {0.0f, -0.0f, 1e-40f, 1e-30f, 100.0f, -3e38f, 1e38f};
  for (const int n : {32, 64, 96, 192, 256})
    for (int kind = 0; kind < 8; ++kind) {
      std::vector<float> u(static_cast<size_t>(n) * n), importance(static_cast<size_t>(n)), row_scale(kRoundRows);
      for (int i = 0; i < n; ++i) {
        importance[i] = std::ldexp(1.0f, -random.below(kind == 1 ? 30 : 4)) * (i % 3 ? 1.0f : 0.75f);
        for (int j = i; j < n; ++j) u[i * n + j] = i == j ? 1.0f : random.normal() * (kind == 2 ? 3.0f : 0.1f);
      }
      std::vector<float> w = random.normals(int64_t{n} * kRoundRows, 0.05f);
      for (float& each : row_scale) each = 0.0003f * (1.0f + 0.1f * random.normal());
      if (kind == 3) row_scale[5] = row_scale[11] = 0.0f;
      if (kind == 4)
        for (float& each : w) each = random.below(3) == 0 ? kAdded[random.below(7)] : each;
      if (kind == 5)
        for (float& each : w) each = static_cast<float>(random.below(31) - 15) * 0.5f * 0.0003f * 64.0f;
      if (kind == 6)
        for (size_t i = 0; i < w.size(); ++i) w[i] *= i % kRoundRows < 4 ? 0.0f : 1e-36f;
      if (kind == 7)
        for (float& each : w) each *= random.below(20) == 0 ? 50.0f : 1.0f;
      cases.push_back({"round", "q4", {n}, {to_bytes(u), to_bytes(importance), to_bytes(row_scale), to_bytes(w)}});
    }
  return cases;
}

}  // namespace qwen3cpu::check
