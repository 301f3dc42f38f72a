// Input preparation and work pieces of linear layers.
#include "engine/linear.h"

#include <algorithm>
#include <cstring>

namespace qwen3cpu {
namespace {

// 256 tokens of a 2,048-wide int8 input are 512 KiB. They stay in L2 while they are multiplied by one panel of weights
// after another.
constexpr int kTokenBlock = 256;
// Weights per piece: so few that the last piece of a phase is short and every thread gets four pieces or more.
constexpr int64_t kLeastPieceBytes = 64 << 10;
// Products of few tokens are limited by memory, which is read faster in long runs. Kernels then walk four row tiles
// side by side, one from each quarter of the piece.
constexpr int64_t kMostPieceBytes = 512 << 10;
constexpr int kFewTokens = 23;      // the tiles of AMX take 24
constexpr int64_t kSideBySide = 4;  // tiles that kernels take together

int scales_of(Activation form, int cols) { return ceil_div(cols, scale_columns(form)); }
int stride_of(int cols) { return static_cast<int>(spread_lines(cols)); }
QuantizeFn* quantize_of(const OpKernels& ops, Activation form) {
  return form == Activation::i8g32 ? ops.quantize_i8g32 : ops.quantize_i8g256;
}

}  // namespace

void PreparedInput::reserve(Activation form, int n_tokens, int cols) {
  int64_t elements = int64_t{n_tokens} * stride_of(cols);
  if (form == Activation::f32) {
    f32_.reserve(elements);
    return;
  }
  elements *= parts_;
  Int8& x = int8(form);
  x.q.reserve(elements + kActivationSlack);
  x.scale.reserve(int64_t{n_tokens} * parts_ * scales_of(form, cols));
  x.sum.reserve(elements / kGroup + kActivationSlack);
}

void PreparedInput::prepare(const OpKernels& ops, Activation form, int cols, int t, const float* x) {
  const int stride = stride_of(cols);
  if (form == Activation::f32) {
    float* out = f32_.get() + int64_t{t} * stride;
    std::memcpy(out, x, sizeof(float) * static_cast<size_t>(cols));
    std::fill(out + cols, out + stride, 0.0f);
    return;
  }
  Int8& to = int8(form);
  const int64_t row = int64_t{t} * parts_;
  const int scales = scales_of(form, cols);
  quantize_of(ops, form)(x, cols, stride, to.q.get() + row * stride, to.scale.get() + row * scales,
                         to.sum.get() + row * stride / kGroup);
  if (parts_ == 2) prepare_rest(ops, form, cols, row, x);
}

// Quantises what the first part, in row `row`, leaves of x [cols], block by block.
void PreparedInput::prepare_rest(const OpKernels& ops, Activation form, int cols, int64_t row, const float* x) {
  constexpr int kBlock = 256;
  const int stride = stride_of(cols), columns = scale_columns(form);
  const int64_t scales = scales_of(form, cols);
  Int8& to = int8(form);
  const Activations parts = both_parts(form, cols);
  float left[kBlock];
  for (int first = 0; first < cols; first += kBlock) {
    const int here = std::min(kBlock, cols - first);
    rounding_error(parts, columns, static_cast<int>(row), x, first, here, left);
    // The last block ends with the padding.
    quantize_of(ops, form)(
        left, here, first + here < cols ? here : stride - first, to.q.get() + (row + 1) * stride + first,
        to.scale.get() + (row + 1) * scales + first / columns, to.sum.get() + ((row + 1) * stride + first) / kGroup);
  }
}

void rounding_error(const Activations& int8, int columns, int t, const float* x, int first, int n, float* left) {
  const int8_t* q = int8.q + int64_t{t} * int8.stride;
  const float* scale = int8.scale + int64_t{t} * int8.scales;
  for (int k = first; k < first + n; ++k) left[k - first] = x[k] - scale[k / columns] * static_cast<float>(q[k]);
}

void PreparedInput::copy(Activation form, int cols, const PreparedInput& from, int from_token, int token) {
  int64_t stride = stride_of(cols);
  if (form == Activation::f32) {
    std::copy_n(from.f32_.get() + from_token * stride, stride, f32_.get() + token * stride);
    return;
  }
  const Int8& x = from.int8(form);
  Int8& to = int8(form);
  stride *= parts_;
  const int64_t scales = int64_t{parts_} * scales_of(form, cols), sums = stride / kGroup;
  std::copy_n(x.q.get() + from_token * stride, stride, to.q.get() + token * stride);
  std::copy_n(x.scale.get() + from_token * scales, scales, to.scale.get() + token * scales);
  std::copy_n(x.sum.get() + from_token * sums, sums, to.sum.get() + token * sums);
}

Activations PreparedInput::every(int parts, Activation form, int cols) const {
  Activations a;
  a.stride = stride_of(cols);
  if (form == Activation::f32) {
    a.f32 = f32_.get();
    return a;
  }
  const Int8& x = int8(form);
  a.stride *= parts;
  a.scales = parts * scales_of(form, cols);
  a.q = x.q.get();
  a.scale = x.scale.get();
  a.sum = x.sum.get();
  return a;
}

int64_t PreparedInput::bytes() const {
  int64_t total = f32_.bytes();
  for (const Int8* x : {&g32_, &g256_}) total += x->q.bytes() + x->scale.bytes() + x->sum.bytes();
  return total;
}

Pieces::Pieces(const Matrix& w, int n_tokens, int threads, int matrices) : tiles_(w.tiles()), tokens_(n_tokens) {
  const int64_t tile = tile_bytes(w.format, w.cols);
  int64_t bytes = kLeastPieceBytes;
  if (n_tokens <= kFewTokens)
    bytes = std::clamp(tile * tiles_ * matrices / (4 * threads), kLeastPieceBytes, kMostPieceBytes);
  tiles_per_piece_ = static_cast<int>(std::max(kSideBySide, bytes / tile / kSideBySide * kSideBySide));
  tile_pieces_ = ceil_div(tiles_, tiles_per_piece_);
  token_blocks_ = ceil_div(tokens_, kTokenBlock);
}

Pieces::Piece Pieces::operator[](int i) const {
  const int tile = i / token_blocks_ * tiles_per_piece_;
  const int token = i % token_blocks_ * kTokenBlock;
  return {tile, std::min(tiles_per_piece_, tiles_ - tile), token, std::min(kTokenBlock, tokens_ - token)};
}

// Prefetches the row scales and outputs of a piece in one run. These are single cache lines at the end of each row
// tile, which no hardware prefetcher foresees. Products of few tokens, which are limited by memory, would wait for them
// at every tile. This way one core reads 5 % more weights in q4s. always_inline: GCC drops calls of functions that only
// prefetch.
inline __attribute__((always_inline)) void fetch_row_ends(const Matrix& w, const Pieces::Piece& piece, const float* y,
                                                          int64_t ldy) {
  constexpr int floats = kCacheLine / int{sizeof(float)};
  const int rows = piece.tiles * kTileRows;
  if (has_row_scales(w.format))
    for (int i = 0; i < rows; i += floats) __builtin_prefetch(w.row_scales(piece.first_tile) + i);
  for (int t = 0; t < piece.tokens; ++t)
    for (int i = 0; i < rows; i += floats) __builtin_prefetch(y + t * ldy + i);
}

// Multiplies both parts of an input and adds their products, a few row tiles after the other, so that the products stay
// in L1. `to` points to the piece's first row and token.
static void multiply_both_parts(MatmulFn* matmul, const Matrix& w, const Activations& x, const Pieces::Piece& piece,
                                float* to, int64_t ldy, uint8_t* scratch) {
  constexpr int kSums = 4096, kMostTokens = 32;
  alignas(kCacheLine) float sums[kSums];
  for (int t = 0; t < piece.tokens; t += kMostTokens) {
    const int tokens = std::min(kMostTokens, piece.tokens - t);
    const int most_tiles = kSums / kTileRows / (2 * tokens);
    for (int tile = 0; tile < piece.tiles; tile += most_tiles) {
      const int tiles = std::min(most_tiles, piece.tiles - tile), rows = tiles * kTileRows;
      matmul(w, piece.first_tile + tile, tiles, x, 2 * (piece.first_token + t), 2 * tokens, sums, rows, scratch);
      for (int i = 0; i < tokens; ++i) {
        const float *first = sums + 2 * i * rows, *second = first + rows;
        float* y = to + (t + i) * ldy + int64_t{tile} * kTileRows;
        for (int r = 0; r < rows; ++r) y[r] = first[r] + second[r];
      }
    }
  }
}

void multiply(const IsaTable& isa, const Matrix& w, const PreparedInput& x, const Pieces::Piece& piece, float* y,
              int64_t ldy, uint8_t* scratch) {
  float* to = y + piece.first_token * ldy + piece.first_tile * kTileRows;
  if (piece.tokens <= kFewTokens) fetch_row_ends(w, piece, to, ldy);
  if (x.has_both_parts_for(w.format)) {
    const Activations both = x.both_parts(activation_of(w.format), w.cols);
    multiply_both_parts(isa.formats[static_cast<int>(w.format)].matmul, w, both, piece, to, ldy, scratch);
    return;
  }
  isa.formats[static_cast<int>(w.format)].matmul(w, piece.first_tile, piece.tiles,
                                                 x.view(activation_of(w.format), w.cols), piece.first_token,
                                                 piece.tokens, to, ldy, scratch);
}

}  // namespace qwen3cpu
