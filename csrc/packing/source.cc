// Reads source rows, and finds weights that cannot be packed.
#include "packing/source.h"

#include <cstring>

#include "layout/half.h"

namespace qwen3cpu {
namespace packing {
namespace {

struct F32 {
  using Stored = float;
  static float load(float x) { return x; }
};
struct F16 {
  using Stored = uint16_t;
  static float load(uint16_t x) { return half_to_float(x); }
};
struct Bf16 {
  using Stored = uint16_t;
  static float load(uint16_t x) { return bf16_to_float(x); }
};

template <class Element>
void to_float(const void* from, int64_t n, float* out) {
  const auto* stored = static_cast<const typename Element::Stored*>(from);
  for (int64_t i = 0; i < n; ++i) out[i] = Element::load(stored[i]);
}

constexpr uint32_t kMagnitude = 0x7fffffffu;  // magnitudes of floats compare like their bits; a NaN is above infinity

}  // namespace

template <class Element>
void TileRows::transpose(int first, float (&out)[kGroup][kTileRows]) const {
  const int n = cols_ - first < kGroup ? cols_ - first : kGroup;
  if (n < kGroup || rows_ < kTileRows) std::memset(out, 0, sizeof(out));
  for (int r = 0; r < rows_; ++r) {
    const auto* row = static_cast<const typename Element::Stored*>(from_) + int64_t{r} * cols_ + first;
    for (int i = 0; i < n; ++i) out[i][r] = Element::load(row[i]);
  }
}

template <class Element>
std::optional<Unpackable> TileRows::find_above(float largest) const {
  const uint32_t limit = float_bits(largest);
  for (int r = 0; r < rows_; ++r) {
    const auto* row = static_cast<const typename Element::Stored*>(from_) + int64_t{r} * cols_;
    uint32_t greatest = 0;
    for (int i = 0; i < cols_; ++i) {
      const uint32_t magnitude = float_bits(Element::load(row[i])) & kMagnitude;
      greatest = magnitude > greatest ? magnitude : greatest;
    }
    if (greatest <= limit) continue;
    for (int i = 0; i < cols_; ++i)
      if ((float_bits(Element::load(row[i])) & kMagnitude) > limit) return Unpackable{r, i, Element::load(row[i])};
  }
  return std::nullopt;
}

void TileRows::columns(int first, float (&out)[kGroup][kTileRows]) const {
  switch (source_) {
    case Source::f32:
      return transpose<F32>(first, out);
    case Source::f16:
      return transpose<F16>(first, out);
    case Source::bf16:
      return transpose<Bf16>(first, out);
  }
}

std::optional<Unpackable> TileRows::first_above(float largest) const {
  switch (source_) {
    case Source::f32:
      return find_above<F32>(largest);
    case Source::f16:
      return find_above<F16>(largest);
    case Source::bf16:
      return find_above<Bf16>(largest);
  }
  return std::nullopt;
}

}  // namespace packing

void source_to_float(Source source, const void* from, int64_t n, float* out) {
  switch (source) {
    case Source::f32:
      return packing::to_float<packing::F32>(from, n, out);
    case Source::f16:
      return packing::to_float<packing::F16>(from, n, out);
    case Source::bf16:
      return packing::to_float<packing::Bf16>(from, n, out);
  }
}

}  // namespace qwen3cpu
