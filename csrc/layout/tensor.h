// Non-owning views of packed weights and prepared activations. No maths.
#pragma once

#include "layout/format.h"

namespace qwen3cpu {

// A packed weight matrix [rows, cols]; `data` is 64-byte aligned and outlives the view.
struct Matrix {
  Format format = Format::f32;
  int rows = 0;
  int cols = 0;
  const uint8_t* data = nullptr;

  int tiles() const { return row_tiles(rows); }
  const uint8_t* tile(int i) const { return data + i * tile_bytes(format, cols); }
  // float[8] of row tile i, formats with row scales only.
  const float* row_scales(int i) const {
    return reinterpret_cast<const float*>(data + tiles() * tile_bytes(format, cols)) + i * kTileRows;
  }
};

// The two parts of a matrix of q4x2.
inline Matrix first_part_of(const Matrix& w) { return {Format::q4, w.rows, w.cols, w.data}; }
inline Matrix second_part_of(const Matrix& w) {
  return {Format::q4, w.rows, w.cols, w.data + second_part(w.rows, w.cols)};
}

// Inputs of a linear layer, [n_tokens, cols]. Which pointers are set depends on the Activation form.
//   f32             `f32`
//   i8g32, i8g256   `q`, `scale`, `sum`
// Columns are padded with zeros to `stride`, a multiple of 32. The form `f32` may have any stride and is not padded.
// `kActivationSlack` readable elements of `q` and `sum` follow the last token, so that kernels may read whole
// registers. Their values do not matter.
inline constexpr int kActivationSlack = 128;

struct Activations {
  int stride = 0;                // columns incl. padding
  int scales = 0;                // scales per token: ceil(cols / 32) or ceil(cols / 256)
  const float* f32 = nullptr;    // [n_tokens, stride]
  const int8_t* q = nullptr;     // [n_tokens, stride], |q| <= 127
  const float* scale = nullptr;  // [n_tokens, scales], x ~ scale * q
  const int16_t* sum = nullptr;  // [n_tokens, stride / 32], sum of q over each 32 (|sum| <= 4,064)
};

}  // namespace qwen3cpu
