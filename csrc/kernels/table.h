// The kernel function types and their contracts, and the table that each ISA fills.
//
// Rules for every kernel: no threads, no allocation, no exceptions, no STL. Functions of an ISA's files are in an
// anonymous namespace or the ISA's own namespace, so that the linker never shares code compiled for one CPU with
// another.
//
// Order of additions (the invariant): each output is computed by exactly the operations of its scalar twin, for any
// number of rows or tokens in the call. All ISAs give the same bits: float chains use fused multiply-adds in ascending
// k, integer sums are exact, and lane reductions follow the twin's tree.
#pragma once

#include <cstdint>

#include "layout/tensor.h"

namespace qwen3cpu {

// `y[t * ldy + r] = sum_k W[8 * first_tile + r, k] * x[first_token + t, k]`
//   for `r in [0, 8 * n_tiles)`, `t in [0, n_tokens)`. Rows that only pad the last tile are written too.
// y: float, y + t * ldy need not be aligned. scratch: matmul_scratch_bytes(cols) bytes, 64-byte aligned.
//
//   f32, bf16   acc = fma(w[k], x[k], acc), k ascending from acc = 0
//   q8          acc = fma(float(dot), scale_w[g] * scale_x[g], acc), groups g of 32 ascending,
//               dot = sum over the group of (q_w - 128) * q_x, int32
//   q4          acc = fma(float(dot), scale_x[b], acc), blocks b of 256 ascending, then y = acc * row_scale,
//               dot = sum over the block's groups of s * sum((8 (n - 8) + 3 (z - 7)) * q_x), int32
//   q4x2        first + second, the products of both parts, each as q4's
//   q4s         as q4, dot = sum over the block's groups of scale_w[g] * sum((q_w - 8) * q_x), int32
//   q4a<G>      groups g of G ascending: acc = fma(inputs, minimum[g], acc), then acc = fma(products, scale[g], acc).
//               Over the runs k of 32 columns of the group, ascending, both from 0, with int32 sums:
//                 inputs   = fma(float(sum(q_x)), scale_x[k], inputs)
//                 products = fma(float(sum(n * q_x)), scale_x[k], products)
using MatmulFn = void(const Matrix& w, int first_tile, int n_tiles, const Activations& x, int first_token, int n_tokens,
                      float* y, int64_t ldy, uint8_t* scratch);

constexpr int64_t matmul_scratch_bytes(int cols) { return 32 * round_up(cols, 256) + 65536; }

// Converts one token's input x [cols] to the form that the weights take, zero-padded to `stride` columns.
//   `amax` is taken over each scale block: `scale = amax / 127`, `q = round-half-even(x * (127 / amax))`. An all-zero
//   block has scale 0 and q 0. A block whose `127 / amax` is not finite (amax below about 3.7e-37) counts as zero. A
//   block that holds a NaN or an infinity has q 0 and a scale that is not finite. So every output that reads it is NaN,
//   and none is silently wrong.
using QuantizeFn = void(const float* x, int cols, int stride, int8_t* q, float* scale, int16_t* sum);

// An ISA's kernels for a weight format.
struct FormatKernels {
  MatmulFn* matmul;
};

// `out[i] = x[i] * rsqrt * weight[i]`, `rsqrt = 1 / sqrt(sum(x^2) / n + eps)`.
//   `sum(x^2)`: 8 lanes, lane j adds i = j mod 8 in ascending i by fma, then the tree `((0+4)+(2+6)) + ((1+5)+(3+7))`.
//   `out = (x * rsqrt) * weight`, as the reference implementation rounds it. out may be x.
using RmsNormFn = void(const float* x, const float* weight, float eps, int n, float* out);

// Rotates one head in place: pairs `(i, i + half)`, `half = head_dim / 2`, cos and sin float[half]. With the old values
// on the right:
//   `x[i] = fma(-x[i + half], sin[i], x[i] * cos[i])`
//   `x[i + half] = fma(x[i], sin[i], x[i + half] * cos[i])`
using RopeFn = void(float* x, const float* cos, const float* sin, int half);

// out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]. out may be gate.
using SiluMulFn = void(const float* gate, const float* up, int n, float* out);

// y[i] = (y[i] + x[i]) * factor[i]; factor may be null: y[i] = y[i] + x[i].
using AddFn = void(const float* x, const float* factor, int n, float* y);

// y[i] = fma(scale, x[i], y[i]).
using AddScaledFn = void(const float* x, float scale, int n, float* y);

constexpr int kMostExperts = 4096;

// Chooses experts for one token by its router logits [experts].
//   chosen [k]: the experts with the k largest logits, in ascending order. Of equal logits the lower index wins.
//   `m` is the largest chosen logit, `e[i] = exp(logits[i] - m)`, `p[j] = e[chosen[j]] / total`.
//   total: e in 8 lanes (lane i mod 8, ascending, plain additions from 0), added up along the tree of RmsNormFn.
//   weight [k]: p, or with `normalised` p / (sum of p, ascending from 0)
// A NaN among the logits counts as less than all others, and makes all weights NaN.
using RouteFn = void(const float* logits, int experts, int k, bool normalised, int* chosen, float* weight);

// Running state of one query head over the blocks of keys. The caller divides `out` by `sum` after the last block.
struct SoftmaxState {
  float max;
  float sum;
};

// Adds one block of keys to `n_rows` query rows (rows = query heads of one group x tokens).
//   q      [n_rows][head_dim_padded] float, already multiplied by 1 / sqrt(head_dim)
//   k, v   the planes of keys and values (csrc/layout/format.h)
//   count  [n_rows] valid positions in this block for each row, 0..64 (0: the row does not change)
//   state  [n_rows], out [n_rows][head_dim_padded]; start: max = -inf, sum = 0, out = 0
//   head_dim_padded is a multiple of 8; padding of q, k and v is zero.
// Arithmetic per row:
//   s[p]    fma chain of q[d] * float(k[p][d]) over d ascending from 0; q8: times k_scale[p]
//   m       max(state.max, max s) + 0 (-0 becomes +0)
//   c       exp(state.max - m)
//   e[p]    exp(s[p] - m)
//   total   e in 8 lanes (lane p mod 8, ascending, plain additions from 0), then the tree of RmsNormFn
//   sum     fma(sum, c, total)
//   w[p]    e[p]; q8: e[p] * v_scale[p]
//   out[d]  out[d] * c, then fma(w[p], float(v[p][d]), out[d]) for p ascending below count
// Positions at or above count are ignored, whatever the block holds there.
// scratch: attend_scratch_bytes(head_dim_padded), 64-byte aligned.
// next_k: a hint to prefetch, the keys that the same rows attend to next, or nullptr.
using AttendFn = void(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                      SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k);

constexpr int64_t attend_scratch_bytes(int head_dim_padded) { return int64_t{4} * kKvBlock * head_dim_padded; }

// Writes one position's key and value (float, head_dim_padded) into the planes at `slot` (0..63).
//   f16  round half to even; numbers too large for f16 become infinities
//   q8   as QuantizeFn does with one block of head_dim_padded: scale = amax / 127, q = round-half-even(x * (127 /
//        amax)); zeros and what counts as zero: scale 0; a NaN or an infinity: q 0 and a scale that is not finite
using StoreKvFn = void(const float* key, const float* value, int slot, int head_dim_padded, void* k, void* v);

// An ISA's kernels for a KV format.
struct KvKernels {
  AttendFn* attend;
  StoreKvFn* store;
};

// The factor U of a run of columns, from their moments (csrc/rounding/round_q4.h); upper triangular.
struct RoundFactor {
  int n;                    // columns, a multiple of 32
  const float* u;           // [n][n] U_ij / U_ii
  const float* importance;  // [n] proportional to 1 / U_ii^2, at most 1
};

constexpr int kRoundRows = 16;

// Rounds 16 rows of a run of columns to q4, each row by itself.
//   row_scale  [16]
//   w          [n][16] weights; replaced by the errors that later columns have to make up for
//   q          [n][16] n - 8 of each weight, -8..7
//   scale      [n / 32][16] s, 1..15
//   zero       [n / 32][16] z - 7, -7..8
//
// Arithmetic per row, with `quantize(v) = round-half-even(max(min(v, 7), -8))` and `unit = 8 * row_scale`, or 1 where
// that is 0. Groups g of 32 columns are rounded in ascending order:
//
// 1. `w[j] = fma(-w[k], u[k][j], w[j])` for k ascending below `32 g`.
// 2. Eight scales are tried. `y = w * (1 / unit)`, low and high are the least and the largest y, and widest is the
//    largest of `(high - low) * (1.1f / 15)`, `high * (1.1f / 10)` and `-low * (1.1f / 10.625f)`. The first scale is
//    `widest + 0.5`, rounded and clamped to 1..15. Each following scale is one less, at least 1.
// 3. Five zeros are tried for each scale: `((low + high) * 0.5f * (1 / scale) + 0.5f) * (1 / 0.375f)` rounded, and two
//    on either side, in ascending order, clamped to -7..8. Their error is the sum of
//    `importance[j] * (v[j] - quantize(v[j]))^2` with `v[j] = fma(y[j], 1 / scale, -(3/8 zero))`. The first zero of
//    least error is kept, with the error `error * scale^2`.
// 4. The scales are compared in the pairs 0 and 4, 1 and 5, 2 and 6, 3 and 7. The first of least error of each pair is
//    tried with feedback (below). Then the best of these four is tried with `zero - 1` and `zero + 1`, clamped in the
//    same way. The error is the sum of `importance[i] * r[i]^2`, times `scale^2`. The first choice of least error is
//    the group's (scale 1 and zero 0 when no error is finite).
// 5. The group is rounded with its choice, and `w[i]` becomes `r[i] * scale * unit`.
//
// Rounding a group with feedback: `v[i] = fma(w[i], 1 / (scale * unit), -(3/8 zero))`. Then for i ascending,
// `q[i] = quantize(v[i])`, `r[i] = v[i] - q[i]`, and `v[j] = fma(-r[i], u[i][j], v[j])` for j > i.
// Sums are `fma((v - q)^2, importance, sum)` and `fma(r^2, importance, sum)`, columns ascending, from 0.
using RoundQ4Fn = void(const RoundFactor& factor, const float* row_scale, float* w, int8_t* q, int8_t* scale,
                       int8_t* zero);

constexpr int kRoundScales = 8, kRoundClasses = 4, kRoundZeros = 5;
constexpr float kRoundWidest = 1.1f;

struct OpKernels {
  RmsNormFn* rms_norm;
  RopeFn* rope;
  SiluMulFn* silu_mul;
  AddFn* add;
  AddScaledFn* add_scaled;
  RouteFn* route;
  QuantizeFn* quantize_i8g32;
  QuantizeFn* quantize_i8g256;
  RoundQ4Fn* round_q4;
};

// The peak speed of the ISA's instructions and of this machine's memory, for benchmarks. Each returns the amount of its
// work: multiply-adds in `rounds` rounds of independent chains that never leave the registers, or bytes read.
struct Probes {
  int64_t (*fp32)(int64_t rounds);
  int64_t (*int8)(int64_t rounds);  // unsigned x signed, summed in int32
  int64_t (*read)(const uint8_t* data, int64_t bytes);
};

// All kernels of one ISA. `formats` is indexed by Format, `kv` by KvFormat.
struct IsaTable {
  const char* name;
  bool (*supported)();  // this CPU and its operating system can run it
  const FormatKernels* formats;
  const KvKernels* kv;
  OpKernels ops;
  Probes probes;
};

}  // namespace qwen3cpu
