// The memory layout of packed weights, quantised activations and the planes of the KV cache. The code that computes
// with them is elsewhere.
//
// Every weight format stores a matrix [rows, cols] as *row tiles* of 8 rows; cols is the summed dimension k. One SIMD
// lane computes one output row, so no horizontal sums are needed. Missing rows of the last tile are zero weights.
// Missing k of the last group are zero weights too, except in q4 and q4a, whose levels need not include zero. In these
// formats they are multiplied by inputs of zero.
//
// A row tile is a run of blocks along k. The last block may end early, after a whole group. Every block starts on a
// 64-byte boundary relative to the matrix. Each block struct defines how many columns it has (kCols), how many of them
// form a group (kGroupCols), and the bytes of its scales and of each group (kScaleBytes, kGroupBytes).
//
//   matrix = [row tile 0][row tile 1]...[row tile n-1][row scales: float x 8 per row tile, formats with row scales
//   only]
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwen3cpu {

inline constexpr int kTileRows = 8;    // output rows that share a tile, one per 32-bit lane of a 256-bit register
inline constexpr int kGroup = 32;      // weights along k that share a scale in the quantised formats
inline constexpr int kCacheLine = 64;  // bytes

enum class Format : uint8_t {
#define FORMAT(name, ...) name,
#include "layout/formats.inc"
#undef FORMAT
};

// The forms in which a linear layer takes its input.
enum class Activation : uint8_t {
  f32,     // float
  i8g32,   // int8, one float scale per 32 k
  i8g256,  // int8, one float scale per 256 k
};
inline constexpr int kActivations = 3;

// f32 and bf16: [k][8 rows] values, one cache line a block.
struct F32Block {
  static constexpr int kCols = 2, kGroupCols = 2;
  static constexpr int kScaleBytes = 0, kGroupBytes = 64;
  float w[kCols][kTileRows];
};
static_assert(sizeof(F32Block) == kCacheLine);

struct Bf16Block {
  static constexpr int kCols = 4, kGroupCols = 4;
  static constexpr int kScaleBytes = 0, kGroupBytes = 64;
  uint16_t w[kCols][kTileRows];
};
static_assert(sizeof(Bf16Block) == kCacheLine);

// q8: w = scale * (q - 128), scale f16 per row and 32 k. 8.5 bits per weight.
//
//   byte 0      [4 groups][8 rows] f16 scales                     64 bytes
//   byte 64     [4 groups][8 quads of k][8 rows][4 k] uint8       1,024 bytes
//
// The offset of 128 makes the bytes unsigned, because VPDPBUSD multiplies unsigned by signed bytes.
struct Q8Block {
  static constexpr int kGroups = 4;
  static constexpr int kCols = kGroups * kGroup, kGroupCols = kGroup;
  static constexpr int kScaleBytes = 64, kGroupBytes = 256;
  uint16_t scale[kGroups][kTileRows];
  uint8_t q[kGroups][8][kTileRows][4];
};
static_assert(sizeof(Q8Block) == 17 * kCacheLine);

// q4: `w = row_scale * s * (8 (n - 8) + 3 (z - 7))`, n 0..15 for each weight, s and z 0..15 for each row and 32 k,
// row_scale float for each row. 4.25 bits per weight + 32/cols.
//
// In steps of `8 * row_scale * s` the levels are `n - 8 + 3/8 (z - 7)`. They are evenly spaced, and z moves zero among
// them by 3/8 of a step at a time. The range of z is as wide as nearly symmetric weights need. The sum of a group's
// `n * x` is multiplied by s, and the sum of its x by `s * (z - 7)`, which fits int8 (-105..120).
//
//   byte 0      [8 groups][8 rows]: bits 0-3 = s, bits 4-7 = z    64 bytes
//   byte 64     [8 groups][4 vectors][8 rows][4 k] two nibbles    1,024 bytes
//
//   byte [g][v][r][i]:  bits 0-3 = n of k = 32 g + 4 v + i        (quads 0-3 of the group)
//                       bits 4-7 = n of k = 32 g + 16 + 4 v + i   (quads 4-7)
struct Q4Block {
  static constexpr int kGroups = 8;
  static constexpr int kCols = kGroups * kGroup, kGroupCols = kGroup;
  static constexpr int kScaleBytes = 64, kGroupBytes = 128;
  uint8_t scale[kGroups][kTileRows];
  uint8_t q[kGroups][4][kTileRows][4];
};
static_assert(sizeof(Q4Block) == 17 * kCacheLine);

inline constexpr int kQ4Middle = 8, kQ4LevelParts = 8;     // the middle of n; parts of a step
inline constexpr int kQ4ZeroMiddle = 7, kQ4ZeroParts = 3;  // the middle of z; parts by which 1 in z moves the levels
inline constexpr int kQ4LeastZero = -7, kQ4MostZero = 8;   // the range of z - kQ4ZeroMiddle
inline constexpr int kQ4MostScale = 15;
inline constexpr float kQ4ZeroStep = float{kQ4ZeroParts} / float{kQ4LevelParts};

// In steps: from the lowest level to the highest; the farthest that levels reach below and above zero, by choice of z.
inline constexpr float kQ4Range = 15;
inline constexpr float kQ4Below = kQ4Middle - kQ4ZeroStep * kQ4LeastZero;
inline constexpr float kQ4Above = kQ4Range - kQ4Middle + kQ4ZeroStep * kQ4MostZero;

// q4x2: a matrix in q4, and behind it the rounding error of this matrix, in q4 as well. w is the sum of both.
// 8.5 bits per weight + 64/cols. The first part alone gives the products to within a tenth of their spread, for half
// of the bytes. So the head is multiplied by the first part, and only the rows that may matter by the second part too.
//
//   byte 0                           the first part, a matrix in q4
//   byte second_part(rows, cols)     the second part, a matrix in q4
struct Q4x2Block {
  static constexpr int kCols = Q4Block::kCols, kGroupCols = Q4Block::kGroupCols;
  static constexpr int kScaleBytes = 2 * Q4Block::kScaleBytes, kGroupBytes = 2 * Q4Block::kGroupBytes;
  Q4Block parts[2];
};
static_assert(sizeof(Q4x2Block) == 34 * kCacheLine);

// q4s: w = row_scale * scale * (q - 8), scale int8 (-127..127) per row and 32 k, row_scale float per row.
// 4.25 bits per weight + 32/cols. Files of format version 2 call it q4. It is read and multiplied, but never written.
//
//   byte 0      [8 groups][8 rows] int8 scales                    64 bytes
//   byte 64     nibbles as in q4, with q instead of n             1,024 bytes
struct Q4sBlock {
  static constexpr int kGroups = 8;
  static constexpr int kCols = kGroups * kGroup, kGroupCols = kGroup;
  static constexpr int kScaleBytes = 64, kGroupBytes = 128;
  int8_t scale[kGroups][kTileRows];
  uint8_t q[kGroups][4][kTileRows][4];
};
static_assert(sizeof(Q4sBlock) == 17 * kCacheLine);

// q4a32, q4a64, q4a128: w = scale * n + minimum, n 0..15 for each weight, scale and minimum float for each row and G k:
// 6, 5 and 4.5 bits per weight. They hold the weights of other quantisers without rounding: AWQ, GPTQ, MLX, Q4_K.
//
//   byte 0             [256/G groups][8 rows] float scales          8,192/G bytes
//   byte 8,192/G       [256/G groups][8 rows] float minima          8,192/G bytes
//   byte 16,384/G      nibbles as in q4, in groups of 32            1,024 bytes
//
// The last block ends after a whole group of G.
template <int G>
struct Q4aBlock {
  static constexpr int kGroups = 256 / G;
  static constexpr int kCols = 256, kGroupCols = G;
  static constexpr int kScaleBytes = kGroups * 2 * kTileRows * int{sizeof(float)}, kGroupBytes = G / 2 * kTileRows;
  float scale[kGroups][kTileRows];
  float minimum[kGroups][kTileRows];
  uint8_t q[kCols / kGroup][4][kTileRows][4];
};
static_assert(sizeof(Q4aBlock<32>) == 24 * kCacheLine && sizeof(Q4aBlock<128>) == 18 * kCacheLine);

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// `bytes` rounded up to an odd number of cache lines, for the distance between rows of a workspace. Rows whose distance
// is a power of two would fall into the same few sets of the caches.
constexpr int64_t spread_lines(int64_t bytes) { return (round_up(bytes, kCacheLine) / kCacheLine | 1) * kCacheLine; }

constexpr int row_tiles(int rows) { return ceil_div(rows, kTileRows); }

// Rows, including those that pad the last tile.
constexpr int64_t padded_rows(int rows) { return int64_t{row_tiles(rows)} * kTileRows; }

// Floats from one token's outputs to the next: whole row tiles, and an odd number of cache lines.
constexpr int64_t spread_rows(int rows) {
  return spread_lines(int64_t{row_tiles(rows)} * kTileRows * int64_t{sizeof(float)}) / int64_t{sizeof(float)};
}

// The form in which a matrix of this format takes its input.
constexpr Activation activation_of(Format format) {
  switch (format) {
#define FORMAT(name, block, activations, row_scales) \
  case Format::name:                                 \
    return Activation::activations;
#include "layout/formats.inc"
#undef FORMAT
  }
  return Activation::f32;
}

// Columns of an input that share a scale; 0: the input stays float.
constexpr int scale_columns(Activation form) {
  switch (form) {
    case Activation::f32:
      return 0;
    case Activation::i8g32:
      return 32;
    case Activation::i8g256:
      return 256;
  }
  return 0;
}

// Columns of one block.
constexpr int block_columns(Format format) {
  switch (format) {
#define FORMAT(name, block, activations, row_scales) \
  case Format::name:                                 \
    return block::kCols;
#include "layout/formats.inc"
#undef FORMAT
  }
  return 0;
}

constexpr bool has_row_scales(Format format) {
  switch (format) {
#define FORMAT(name, block, activations, row_scales) \
  case Format::name:                                 \
    return row_scales;
#include "layout/formats.inc"
#undef FORMAT
  }
  return false;
}

template <class Block>
constexpr int64_t tile_bytes_of(int cols) {
  static_assert(Block::kScaleBytes % kCacheLine == 0 && Block::kGroupBytes % kCacheLine == 0);
  static_assert(sizeof(Block) == Block::kScaleBytes + Block::kCols / Block::kGroupCols * Block::kGroupBytes);
  return int64_t{ceil_div(cols, Block::kCols)} * Block::kScaleBytes +
         int64_t{ceil_div(cols, Block::kGroupCols)} * Block::kGroupBytes;
}

// Bytes of one row tile of `cols` columns.
constexpr int64_t tile_bytes(Format format, int cols) {
  switch (format) {
#define FORMAT(name, block, activations, row_scales) \
  case Format::name:                                 \
    return tile_bytes_of<block>(cols);
#include "layout/formats.inc"
#undef FORMAT
  }
  return 0;
}

// Bytes from the first part of a matrix of q4x2 to its second one.
constexpr int64_t second_part(int rows, int cols) {
  return round_up(row_tiles(rows) * (tile_bytes(Format::q4, cols) + int64_t{4} * kTileRows), kCacheLine);
}

// Bytes of a whole packed matrix.
constexpr int64_t matrix_bytes(Format format, int rows, int cols) {
  if (format == Format::q4x2) return second_part(rows, cols) + matrix_bytes(Format::q4, rows, cols);
  const int64_t row_scales = has_row_scales(format) ? int64_t{4} * kTileRows : 0;
  return row_tiles(rows) * (tile_bytes(format, cols) + row_scales);
}

enum class KvFormat : uint8_t {
#define KV_FORMAT(name, value_bytes, scale_bytes) name,
#include "layout/kv_formats.inc"
#undef KV_FORMAT
};

inline constexpr int kKvBlock = 64;  // positions of a block of the KV cache

// Bytes of one dimension of one key or value.
constexpr int kv_value_bytes(KvFormat format) {
  constexpr int bytes[] = {
#define KV_FORMAT(name, value_bytes, scale_bytes) value_bytes,
#include "layout/kv_formats.inc"
#undef KV_FORMAT
  };
  return bytes[static_cast<int>(format)];
}

// Bytes of the scale of one key or value; 0 in formats without scales.
constexpr int kv_scale_bytes(KvFormat format) {
  constexpr int bytes[] = {
#define KV_FORMAT(name, value_bytes, scale_bytes) scale_bytes,
#include "layout/kv_formats.inc"
#undef KV_FORMAT
  };
  return bytes[static_cast<int>(format)];
}

// A plane is the keys or the values of one KV head in one block. head_dim is padded with zeros to a multiple of 8.
//
//   keys    [8 groups of positions][head_dim_padded][8 positions] in the KV format: one position per SIMD lane
//   values  [64 positions][head_dim_padded] in the KV format: one dimension per SIMD lane
//   both    then, in formats with scales, [64 positions] float: the factor of the position's numbers
//
// q8: x = scale * q, q int8 (-127..127), one scale per KV head and position for the key and one for the value.
constexpr int64_t kv_data_bytes(KvFormat format, int head_dim_padded) {
  return int64_t{kv_value_bytes(format)} * kKvBlock * head_dim_padded;
}

// A multiple of 64.
constexpr int64_t kv_plane_bytes(KvFormat format, int head_dim_padded) {
  return kv_data_bytes(format, head_dim_padded) + int64_t{kv_scale_bytes(format)} * kKvBlock;
}

}  // namespace qwen3cpu
