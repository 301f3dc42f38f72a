// Attention of many query rows to one block of keys and values, 16 lanes wide. A block is widened to float once, keys
// with all 64 positions of a dimension side by side; then four rows at a time share every load. Few rows go to the AVX2
// kernel, which reads the block as it is.
#include <immintrin.h>

#include "kernels/avx2/kv_vectors.h"
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/softmax.h"

namespace qwen3cpu::avx512vnni {
namespace {

constexpr int kVectors = kKvBlock / kWide;  // registers of scores of one row
constexpr int kRowsToWiden = 8;             // fewer rows do not earn what widening costs
constexpr int kBatch = 128;                 // rows for which a block is widened: 32 KiB of scores
constexpr int kTile = 4;                    // rows that share a load

// Keeps x in a register here, as avx2::pin: GCC 12 folds the load into each use otherwise and spills the sums.
inline void pin(__m512& x) { asm("" : "+v"(x)); }

struct F32 : avx2::F32 {
  static __m512 load_wide(const float* p) { return _mm512_loadu_ps(p); }
};

struct F16 : avx2::F16 {
  static __m512 load_wide(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

struct Q8 : avx2::Q8 {
  static __m512 load_wide(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
};

// [8 groups][dim][8 positions] -> [dim][64 positions], two groups at a time: a whole cache line of `to`.
template <class Kv>
void widen_keys(const typename Kv::Stored* from, int dim, float* to) {
  constexpr int lanes = avx2::kLanes;
  for (int p = 0; p < kKvBlock; p += 2 * lanes)
    for (int d = 0; d < dim; ++d)
      for (int i = 0; i < 2 * lanes; i += lanes)
        _mm256_store_ps(to + d * kKvBlock + p + i, Kv::load(from + int64_t{p + i} * dim + d * lanes));
}

template <class Kv>
void widen_values(const typename Kv::Stored* from, int dim, float* to) {
  for (int i = 0; i < kKvBlock * dim; i += kWide) _mm512_store_ps(to + i, Kv::load_wide(from + i));
}

// The loops over rows and registers below are unrolled by order: GCC 12 keeps the sums in registers inside the loop
// over d otherwise, but moves them there and back through memory, a fifth of the time.

// Scores of all 64 positions for R rows; those at or above a row's count are garbage that soften() leaves out.
template <int R>
void score_rows(const float* q, const float* keys, int dim, float* score) {
  __m512 acc[R][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) acc[r][i] = _mm512_setzero_ps();
#pragma GCC unroll 2
  for (int d = 0; d < dim; ++d) {
    __m512 kd[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      kd[i] = _mm512_load_ps(keys + d * kKvBlock + i * kWide);
      pin(kd[i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m512 qd = _mm512_set1_ps(q[int64_t{r} * dim + d]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) acc[r][i] = _mm512_fmadd_ps(qd, kd[i], acc[r][i]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) _mm512_store_ps(score + r * kKvBlock + i * kWide, acc[r][i]);
}

// All 16 floats at p, or the first 8: head dimensions are multiples of 8.
template <bool Whole>
inline __m512 load_floats(const float* p) {
  return Whole ? _mm512_loadu_ps(p) : _mm512_zextps256_ps512(_mm256_loadu_ps(p));
}

template <bool Whole>
inline void store_floats(float* p, __m512 x) {
  if (Whole)
    _mm512_storeu_ps(p, x);
  else
    _mm256_storeu_ps(p, _mm512_castps512_ps256(x));
}

// out[r][0, 16 N) = out * correction + sum over p of e[r][p] * v[p][0, 16 N), p ascending below count.
template <int R, int N, bool Whole = true>
inline void weigh(const float* e, const float* correction, const float* values, int count, int dim, float* out) {
  __m512 acc[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i)
      acc[r][i] = _mm512_mul_ps(load_floats<Whole>(out + int64_t{r} * dim + i * kWide), _mm512_set1_ps(correction[r]));
#pragma GCC unroll 2
  for (int p = 0; p < count; ++p) {
    __m512 vp[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      vp[i] = load_floats<Whole>(values + int64_t{p} * dim + i * kWide);
      pin(vp[i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m512 ep = _mm512_set1_ps(e[r * kKvBlock + p]);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) acc[r][i] = _mm512_fmadd_ps(ep, vp[i], acc[r][i]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) store_floats<Whole>(out + int64_t{r} * dim + i * kWide, acc[r][i]);
}

template <int R>
void weigh_rows(const float* e, const float* correction, const float* values, int count, int dim, float* out) {
  int d = 0;
  for (; d + 4 * kWide <= dim; d += 4 * kWide) weigh<R, 4>(e, correction, values + d, count, dim, out + d);
  for (; d + kWide <= dim; d += kWide) weigh<R, 1>(e, correction, values + d, count, dim, out + d);
  if (d < dim) weigh<R, 1, false>(e, correction, values + d, count, dim, out + d);
}

// R rows together as far as all of them attend, then each alone: near the diagonal their counts differ by a few.
template <int R>
void weigh_tile(const float* e, const float* correction, const float* values, const int* count, int dim, float* out) {
  int common = count[0];
  for (int r = 1; r < R; ++r) common = count[r] < common ? count[r] : common;
  weigh_rows<R>(e, correction, values, common, dim, out);
  constexpr float unchanged = 1.0f;
  for (int r = 0; r < R; ++r)
    if (count[r] > common)
      weigh_rows<1>(e + r * kKvBlock + common, &unchanged, values + int64_t{common} * dim, count[r] - common, dim,
                    out + int64_t{r} * dim);
}

constexpr decltype(&score_rows<1>) kScoreRows[kTile + 1] = {nullptr, score_rows<1>, score_rows<2>, score_rows<3>,
                                                            score_rows<4>};
constexpr decltype(&weigh_tile<1>) kWeighTile[kTile + 1] = {nullptr, weigh_tile<1>, weigh_tile<2>, weigh_tile<3>,
                                                            weigh_tile<4>};

// Fetches part `i` of `parts` of a plane into L2, where widening finds it: a block is read once, its order in memory
// tells the prefetchers little.
template <class Kv>
inline void fetch_part(const typename Kv::Stored* plane, int dim, int i, int parts) {
  constexpr int kPerLine = kCacheLine / static_cast<int>(sizeof(typename Kv::Stored));
  const int lines = ceil_div(kKvBlock * dim, kPerLine), step = ceil_div(lines, parts);
  for (int line = i * step; line < (i + 1) * step && line < lines; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(plane + line * kPerLine), _MM_HINT_T1);
}

// Up to kBatch rows: all scores first, then all sums of values, so that keys and values take turns in the same 32 KiB,
// which stay in L1.
template <class Kv>
void attend_batch(const float* q, const typename Kv::Stored* keys, const typename Kv::Stored* values,
                  const typename Kv::Stored* next_keys, const int* count, int n_rows, int dim, SoftmaxState* state,
                  float* out, float* wide) {
  alignas(64) float e[kBatch * kKvBlock];
  alignas(64) float correction[kBatch] = {};
  const int tiles = ceil_div(n_rows, kTile);
  widen_keys<Kv>(keys, dim, wide);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    fetch_part<Kv>(values, dim, row / kTile, tiles);
    kScoreRows[rows](q + int64_t{row} * dim, wide, dim, e + row * kKvBlock);
  }
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(keys, count[row], dim, e + row * kKvBlock);
  soften(e, count, n_rows, state, correction);
  for (int row = 0; row < n_rows; ++row) kv::scale_positions<Kv>(values, count[row], dim, e + row * kKvBlock);
  widen_values<Kv>(values, dim, wide);
  for (int row = 0; row < n_rows; row += kTile) {
    const int rows = n_rows - row < kTile ? n_rows - row : kTile;
    fetch_part<Kv>(next_keys, dim, row / kTile, tiles);
    kWeighTile[rows](e + row * kKvBlock, correction + row, wide, count + row, dim, out + int64_t{row} * dim);
  }
}

template <class Kv>
void attend_block(const float* q, const void* k, const void* v, const int* count, int n_rows, int dim,
                  SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto* keys = static_cast<const typename Kv::Stored*>(k);
  const auto* values = static_cast<const typename Kv::Stored*>(v);
  const auto* next_keys = static_cast<const typename Kv::Stored*>(next_k != nullptr ? next_k : k);
  for (int row = 0; row < n_rows; row += kBatch) {
    const int64_t offset = int64_t{row} * dim;
    attend_batch<Kv>(q + offset, keys, values, next_keys, count + row, n_rows - row < kBatch ? n_rows - row : kBatch,
                     dim, state + row, out + offset, reinterpret_cast<float*>(scratch));
  }
}

}  // namespace

void kv_f32::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f32::attend : attend_block<F32>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_f16::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                    SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_f16::attend : attend_block<F16>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

void kv_q8::attend(const float* q, const void* k, const void* v, const int* count, int n_rows, int head_dim_padded,
                   SoftmaxState* state, float* out, uint8_t* scratch, const void* next_k) {
  const auto attend = n_rows < kRowsToWiden ? avx2::kv_q8::attend : attend_block<Q8>;
  attend(q, k, v, count, n_rows, head_dim_padded, state, out, scratch, next_k);
}

}  // namespace qwen3cpu::avx512vnni
