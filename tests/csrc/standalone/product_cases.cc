// Matrix products: shapes with every kind of tail, and blocks chosen to provoke overflows.
#include <algorithm>
#include <limits>

#include "case.h"
#include "packing/pack.h"

namespace qwen3cpu::check {
namespace {

const IsaTable& scalar() { return isa_table("scalar"); }

Bytes pack(Format format, const std::vector<float>& weights, int rows, int cols) {
  Bytes packed(static_cast<size_t>(matrix_bytes(format, rows, cols)));
  pack_tiles(format, rows, cols, Source::f32, weights.data(), 0, row_tiles(rows), packed.data());
  return packed;
}

// Inputs [tokens][cols] in the form that the format wants.
std::vector<Bytes> prepare(Format format, const std::vector<float>& x, int tokens, int cols) {
  const int stride = static_cast<int>(round_up(cols, kGroup));
  const Activation form = activation_of(format);
  const int scales = form == Activation::f32 ? 0 : ceil_div(cols, scale_columns(form)), sums = stride / kGroup;
  std::vector<float> padded(static_cast<size_t>(tokens * stride)), scale(static_cast<size_t>(tokens * scales));
  std::vector<int8_t> q(padded.size());
  std::vector<int16_t> sum(static_cast<size_t>(tokens * sums));
  for (int t = 0; t < tokens; ++t) {
    std::copy_n(x.data() + t * cols, cols, padded.data() + t * stride);
    const auto quantize = form == Activation::i8g32 ? scalar().ops.quantize_i8g32 : scalar().ops.quantize_i8g256;
    if (form != Activation::f32)
      quantize(x.data() + t * cols, cols, stride, q.data() + t * stride, scale.data() + t * scales,
               sum.data() + t * sums);
  }
  if (form == Activation::f32) return {to_bytes(padded)};
  return {to_bytes(q), to_bytes(scale), to_bytes(sum)};
}

// The sums of q [tokens][stride].
Bytes sums_of(const std::vector<int8_t>& q) {
  std::vector<int16_t> sum(q.size() / kGroup);
  for (size_t i = 0; i < q.size(); ++i) sum[i / kGroup] = static_cast<int16_t>(sum[i / kGroup] + q[i]);
  return to_bytes(sum);
}

Case product(const std::string& name, Bytes packed, std::vector<Bytes> x, int rows, int cols, int tokens) {
  Case c{"matmul", name, {rows, cols, tokens, 0, row_tiles(rows), 0, tokens, row_tiles(rows) * kTileRows + 5}, {}};
  c.inputs.push_back(std::move(packed));
  for (Bytes& array : x) c.inputs.push_back(std::move(array));
  return c;
}

Case random_product(int format, int rows, int cols, int tokens) {
  Random random(static_cast<uint64_t>(rows * 1000003 + cols * 1009 + tokens * 31 + format));
  const auto f = static_cast<Format>(format);
  const std::vector<float> weights = random.normals(int64_t{rows} * cols, 0.05f);
  const std::vector<float> x = random.normals(int64_t{tokens} * cols, 1.0f);
  return product(format_name(f), pack(f, weights, rows, cols), prepare(f, x, tokens, cols), rows, cols, tokens);
}

// Patterns of weight bytes, activations and scales. Every pattern is combined with every other.
using Pattern = int (*)(int k, Random& random);
constexpr int kCols[] = {288, 512};

int alternate(int k, int even, int odd) { return k % 2 ? odd : even; }

const Pattern kActivationPatterns[] = {
    [](int, Random&) { return 127; },
    [](int, Random&) { return -127; },
    [](int k, Random&) { return alternate(k, 127, -127); },
    [](int k, Random&) { return alternate(k, -127, 127); },
    [](int k, Random&) { return k / 4 % 2 ? 127 : -127; },
    [](int, Random& random) { return random.below(2) ? 127 : -127; },
};

// Bytes of weights; for q4 and q4s both nibbles of 0xff and so on.
const Pattern kWeightPatterns[] = {
    [](int, Random&) { return 0xff; },
    [](int, Random&) { return 0x00; },
    [](int k, Random&) { return alternate(k, 0xff, 0x00); },
    [](int k, Random&) { return alternate(k, 0x00, 0xff); },
    [](int k, Random&) { return alternate(k, 0xf0, 0x0f); },
    [](int, Random& random) { return random.below(2) ? 0xff : 0x00; },
    [](int, Random& random) { return random.below(256); },
};

void fill_q8(Bytes& packed, int cols, Pattern weight, Random& random) {
  constexpr uint16_t scales[] = {0x3c00, 0xbc00, 0x7bff, 0x0001, 0x0400, 0x0000};  // 1, -1, 65504, subnormal, 2^-14, 0
  auto* blocks = reinterpret_cast<Q8Block*>(packed.data());
  for (int g = 0; g < ceil_div(cols, kGroup); ++g)
    for (int r = 0; r < kTileRows; ++r) {
      Q8Block& block = blocks[g / Q8Block::kGroups];
      block.scale[g % Q8Block::kGroups][r] = scales[random.below(6)];
      for (int k = 0; k < kGroup; ++k)
        block.q[g % Q8Block::kGroups][k / 4][r][k % 4] = static_cast<uint8_t>(weight(k, random));
    }
}

// q4 and q4s: a byte of scales for each row and group, and nibbles.
template <class Block>
void fill_q4(Format format, const std::vector<uint8_t>& scales, Bytes& packed, int cols, Pattern weight,
             Random& random) {
  auto* blocks = reinterpret_cast<Block*>(packed.data());
  const bool same_scales = random.below(2) == 0;
  for (int g = 0; g < ceil_div(cols, kGroup); ++g)
    for (int r = 0; r < kTileRows; ++r) {
      Block& block = blocks[g / Block::kGroups];
      const size_t scale = static_cast<size_t>(same_scales ? r % 4 : random.below(static_cast<int>(scales.size())));
      std::memcpy(&block.scale[g % Block::kGroups][r], &scales[scale], 1);
      for (int k = 0; k < kGroup / 2; ++k)
        block.q[g % Block::kGroups][k / 4][r][k % 4] = static_cast<uint8_t>(weight(k, random));
    }
  const float row_scales[kTileRows] = {1.0f, -1.0f, 0.0f, 1e-30f, 1e30f, 0.001f, 3.0f, 7.0f};
  std::memcpy(packed.data() + tile_bytes(format, cols), row_scales, sizeof(row_scales));
}

template <int G>
void fill_q4a(Bytes& packed, int cols, Pattern weight, Random& random) {
  constexpr float values[] = {1.0f, -1.0f, 0.0f, 1e-30f, 1e30f, 0.001f, 3.0f, -7.0f};
  auto* blocks = reinterpret_cast<Q4aBlock<G>*>(packed.data());
  for (int g = 0; g < ceil_div(cols, G); ++g)
    for (int r = 0; r < kTileRows; ++r) {
      Q4aBlock<G>& block = blocks[g / Q4aBlock<G>::kGroups];
      const int in_block = g % Q4aBlock<G>::kGroups;
      block.scale[in_block][r] = values[random.below(8)];
      block.minimum[in_block][r] = values[random.below(8)];
      for (int k = 0; k < G / 2; ++k)
        block.q[in_block * (G / kGroup) + k / 16][k % 16 / 4][r][k % 4] = static_cast<uint8_t>(weight(k, random));
    }
}

void fill(Format format, Bytes& packed, int cols, Pattern weight, Random& random) {
  // q4: s and z at both ends first, then values between; q4s: int8.
  const std::vector<uint8_t> q4 = {0xff, 0x0f, 0xf1, 0x01, 0x7f, 0xf0, 0x00}, q4s = {127, 0x81, 1, 0xff, 0};
  if (format == Format::q8) fill_q8(packed, cols, weight, random);
  if (format == Format::q4) fill_q4<Q4Block>(format, q4, packed, cols, weight, random);
  if (format == Format::q4s) fill_q4<Q4sBlock>(format, q4s, packed, cols, weight, random);
  if (format == Format::q4a32) fill_q4a<32>(packed, cols, weight, random);
  if (format == Format::q4a64) fill_q4a<64>(packed, cols, weight, random);
  if (format == Format::q4a128) fill_q4a<128>(packed, cols, weight, random);
}

Case adversarial_product(Format format, int cols, Pattern weight, Pattern activation, int tokens, Random& random) {
  Bytes packed(static_cast<size_t>(matrix_bytes(format, kTileRows, cols)));
  fill(format, packed, cols, weight, random);
  std::vector<int8_t> q(static_cast<size_t>(tokens * cols));
  for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<int8_t>(activation(static_cast<int>(i) % cols, random));
  constexpr float kScales[] = {
      1.0f, 0.0f, 1e-30f, 1e30f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
  std::vector<float> scale(static_cast<size_t>(tokens * ceil_div(cols, scale_columns(activation_of(format)))));
  for (float& s : scale) s = kScales[random.below(40) < 36 ? 0 : random.below(6)];
  return product(format_name(format), packed, {to_bytes(q), to_bytes(scale), sums_of(q)}, kTileRows, cols, tokens);
}

}  // namespace

std::vector<Case> product_cases() {
  std::vector<Case> cases;
  for (int format = 0; format < kFormats; ++format) {
    // Every residue mod 32 below, across and above the blocks of 128 (q8) and 256 (q4).
    for (int cols = 1; cols <= 300; cols += cols == 66 ? 28 : cols == 129 ? 94 : 1)
      cases.push_back(random_product(format, 1 + cols % 17, cols, 1 + cols % 9));
    for (const int cols : {384, 480, 511, 512, 513, 576, 800}) cases.push_back(random_product(format, 17, cols, 3));
    for (int tokens = 1; tokens <= 18; ++tokens)
      for (const int rows : {1, 8, 17, 33}) cases.push_back(random_product(format, rows, 96, tokens));
    // AMX takes 24 tokens and more in tiles of 16, 256 at a time, and four row tiles together.
    for (const int tokens : {24, 25, 32, 39})
      for (const int rows : {1, 17, 25, 40}) cases.push_back(random_product(format, rows, 224, tokens));
    cases.push_back(random_product(format, 40, 544, 67));
    cases.push_back(random_product(format, 33, 160, 273));
    Case part = random_product(format, 77, 320, 21);  // tiles 3..6 of 10, tokens 5..17 of 21
    part.shape = {77, 320, 21, 3, 4, 5, 13, 4 * kTileRows};
    cases.push_back(std::move(part));
  }
  return cases;
}

std::vector<Case> adversarial_cases() {
  std::vector<Case> cases;
  Random random(7);
  int tokens = 0;
  for (const Format format : {Format::q8, Format::q4, Format::q4s, Format::q4a32, Format::q4a64, Format::q4a128})
    for (const int cols : kCols)
      for (const Pattern weight : kWeightPatterns)
        for (const Pattern activation : kActivationPatterns)
          cases.push_back(adversarial_product(format, cols, weight, activation,
                                              tokens++ % 4 ? 1 + tokens % 9 : 24 + tokens % 17, random));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kValues[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 3e38f, -3e38f, 1e-38f,
                               1e-40f,    -0.0f};
  for (const Format format : {Format::f32, Format::bf16})
    for (int i = 0; i < 24; ++i) {
      std::vector<float> x = random.normals(3 * 40, 1.0f);
      x[static_cast<size_t>(random.below(120))] = kValues[i % 8];
      const std::vector<float> weights = random.normals(9 * 40, i % 3 ? 1.0f : 1e-20f);
      cases.push_back(product(format_name(format), pack(format, weights, 9, 40), prepare(format, x, 3, 40), 9, 40, 3));
    }
  return cases;
}

std::vector<Case> pack_cases() {
  std::vector<Case> cases;
  for (int format = 0; format < kFormats; ++format)
    for (const auto& [rows, cols] : {std::pair{1, 1}, {8, 32}, {9, 257}, {21, 576}, {3, 800}}) {
      Random random(static_cast<uint64_t>(rows * 4096 + cols));
      std::vector<float> weights = random.normals(int64_t{rows} * cols, 0.05f);
      for (float& w : weights)
        if (random.below(50) == 0) w *= 20.0f;
      cases.push_back({"pack", format_name(static_cast<Format>(format)), {rows, cols}, {to_bytes(weights)}});
    }
  return cases;
}

}  // namespace qwen3cpu::check
