// Reduced inputs, and the terms that adapters add to products.
#include "engine/adapter_runs.h"

#include <algorithm>

#include "packing/pack.h"

namespace qwen3cpu {
namespace {

// A piece of a reduction. Its rows stay in L2 while they are multiplied by all tokens, and several threads share a
// prompt's tokens. With few tokens the latency of the chains of additions is the limit, so more chains run side by
// side.
constexpr int kReducedTiles = 4, kReducedTilesOfFew = 8;
constexpr int kReducedTokens = 48;
constexpr int reduced_tiles(int tokens) {
  return tokens <= AdapterRuns::kFewTokens ? kReducedTilesOfFew : kReducedTiles;
}
// A piece of b u. It is added while it is in L1, by the thread that computed it.
constexpr int kAddedTiles = 32;
constexpr int kAddedTokens = 24;

void product(const IsaTable& isa, const Matrix& w, int first_tile, int tiles, InputRows x, int first_token, int tokens,
             float* y, int64_t ldy) {
  Activations a;
  a.f32 = x.data;
  a.stride = static_cast<int>(x.stride);
  isa.formats[static_cast<int>(w.format)].matmul(w, first_tile, tiles, a, first_token, tokens, y, ldy, nullptr);
}

const Matrix* reduction_of(const Adapter& adapter, const Readers& readers) {
  for (const Matrix* reader : readers) {
    const MatrixChange* change = adapter.change_of(*reader);
    if (change != nullptr && change->reduction != nullptr) return change->reduction;
  }
  return nullptr;
}

// Prefetches the part of b that is needed after a piece of W x, because products of few tokens are limited by memory.
// always_inline: GCC drops calls of functions that only prefetch.
inline __attribute__((always_inline)) void fetch_ahead(const Matrix& b, const Pieces::Piece& piece) {
  const uint8_t* from = b.tile(piece.first_tile);
  const int64_t bytes = piece.tiles * tile_bytes(b.format, b.cols);
  for (int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(from + i);
}

// For tokens [first, end) of a piece.
void add_low_rank(const IsaTable& isa, const MatrixChange& change, const Pieces::Piece& piece, int first, int end,
                  TokenRows u, TokenRows y, float* low) {
  const InputRows reduced = {u.data + change.first, u.stride};
  for (int i = 0; i < piece.tiles; i += kAddedTiles) {
    const int tile = piece.first_tile + i, tiles = std::min(kAddedTiles, piece.tiles - i);
    const int row = tile * kTileRows, rows = std::min(tiles * kTileRows, change.b.rows - row);
    const float* factor = change.factor == nullptr ? nullptr : change.factor + row;
    for (int t = first; t < end; t += kAddedTokens) {
      const int tokens = std::min(kAddedTokens, end - t);
      product(isa, change.b, tile, tiles, reduced, t, tokens, low, tiles * kTileRows);
      for (int j = 0; j < tokens; ++j)
        isa.ops.add(low + j * tiles * kTileRows, factor, rows, y.data + (t + j) * y.stride + row);
    }
  }
}

}  // namespace

int64_t AdapterRuns::scratch_bytes(int hidden) {
  const int64_t added = int64_t{kAddedTokens} * kAddedTiles * kTileRows, embedded = kMostRank + padded_rows(hidden);
  return std::max(added, embedded) * int64_t{sizeof(float)};
}

void AdapterRuns::add_token(const Adapter* adapter) {
  const int token = tokens_++;
  if (adapter == nullptr) return;
  if (!runs_.empty() && runs_.back().adapter == adapter && runs_.back().end == token)
    ++runs_.back().end;
  else
    runs_.push_back({adapter, token, token + 1});
  reduced_rows_ = std::max(reduced_rows_, adapter->reduced_rows());
  has_whole_matrices_ |= adapter->has_whole_matrices();
}

int AdapterRuns::reduction_pieces(const Readers& readers) const {
  int n = 0;
  for (const Run& run : runs_)
    if (const Matrix* a = reduction_of(*run.adapter, readers))
      n += ceil_div(a->tiles(), reduced_tiles(run.tokens())) * ceil_div(run.tokens(), kReducedTokens);
  return n;
}

AdapterRuns::Reduction AdapterRuns::reduction(const Readers& readers, int piece) const {
  for (const Run& run : runs_) {
    const Matrix* a = reduction_of(*run.adapter, readers);
    if (a == nullptr) continue;
    const int most = reduced_tiles(run.tokens()), blocks = ceil_div(run.tokens(), kReducedTokens);
    const int pieces = ceil_div(a->tiles(), most) * blocks;
    if (piece < pieces) {
      const int tile = piece / blocks * most, token = run.first_token + piece % blocks * kReducedTokens;
      return {a, tile, std::min(most, a->tiles() - tile), token, std::min(kReducedTokens, run.end - token)};
    }
    piece -= pieces;
  }
  return {};
}

void reduce(const IsaTable& isa, const AdapterRuns::Reduction& piece, InputRows x, TokenRows u) {
  float* to = u.data + piece.first_token * u.stride + piece.first_tile * kTileRows;
  product(isa, *piece.a, piece.first_tile, piece.tiles, x, 0, piece.tokens, to, u.stride);
}

// Calls body(change, first, end) for each run of tokens of the piece whose adapter changes w.
template <class Body>
void AdapterRuns::for_changes(const Matrix& w, const Pieces::Piece& piece, Body&& body) const {
  for (const Run& run : runs_) {
    const int first = std::max(run.first_token, piece.first_token);
    const int end = std::min(run.end, piece.first_token + piece.tokens);
    if (first >= end) continue;
    if (const MatrixChange* change = run.adapter->change_of(w)) body(*change, first, end);
  }
}

void AdapterRuns::multiply(const IsaTable& isa, const Matrix& w, const PreparedInput& x, const Pieces::Piece& piece,
                           float* y, int64_t ldy, uint8_t* scratch) const {
  const int end = piece.first_token + piece.tokens;
  if (piece.tokens <= kFewTokens)
    for_changes(w, piece, [&](const MatrixChange& change, int, int) {
      if (change.reduction != nullptr) fetch_ahead(change.b, piece);
    });
  int done = piece.first_token;
  const auto multiply_until = [&](const Matrix& matrix, int stop) {
    if (stop > done)
      qwen3cpu::multiply(isa, matrix, x, {piece.first_tile, piece.tiles, done, stop - done}, y, ldy, scratch);
    done = stop;
  };
  if (has_whole_matrices_) {
    for_changes(w, piece, [&](const MatrixChange& change, int first, int stop) {
      if (change.whole.data == nullptr) return;
      multiply_until(w, first);
      multiply_until(change.whole, stop);
    });
  }
  multiply_until(w, end);
}

void AdapterRuns::add(const IsaTable& isa, const Matrix& w, const Pieces::Piece& piece, TokenRows u, float* y,
                      int64_t ldy, uint8_t* scratch) const {
  for_changes(w, piece, [&](const MatrixChange& change, int first, int stop) {
    if (change.reduction != nullptr)
      add_low_rank(isa, change, piece, first, stop, u, {y, ldy}, reinterpret_cast<float*>(scratch));
  });
}

void embed_token(const IsaTable& isa, const Matrix& w, const Adapter* adapter, int token, float* x, uint8_t* scratch) {
  if (adapter == nullptr) return row_to_float(w, token, x);
  const EmbeddingChange& change = adapter->embedding();
  row_to_float(change.whole.data == nullptr ? w : change.whole, token, x);
  if (change.a.data == nullptr) return;
  auto* u = reinterpret_cast<float*>(scratch);
  float* low = u + kMostRank;
  row_to_float(change.a, token, u);
  product(isa, change.b, 0, change.b.tiles(), {u, kMostRank}, 0, 1, low, 0);
  isa.ops.add(low, change.factor, w.cols, x);
}

}  // namespace qwen3cpu
