// Cuts new tokens into pieces, sorts the pieces by their blocks, and bundles neighbours.
#include "engine/attention_plan.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace qwen3cpu {
namespace {

const KvPool::Block* block_at(const AttentionPiece& piece, int index) {
  const auto i = static_cast<size_t>(index);
  const std::vector<KvPool::Block*>& blocks = piece.sequence->blocks();
  return i < blocks.size() ? blocks[i] : nullptr;
}

}  // namespace

void AttentionPlan::add(const Sequence* sequence, int position) {
  const int row = tokens_++;
  if (AttentionPiece* piece = pieces_.empty() ? nullptr : &pieces_.back();
      piece != nullptr && piece->sequence == sequence && piece->tokens < shape_.most_tokens() &&
      piece->first_position + piece->tokens == position)
    ++piece->tokens;
  else
    pieces_.push_back({sequence, row, position, 1});
}

void AttentionPlan::finish(int threads) {
  if (pieces_.empty()) return;
  sort_by_blocks();
  bundles_ = bundle(shape_.most_tokens());
  int64_t least = estimated_time(bundles_, threads);
  for (int most = shape_.most_tokens() / 2; most > 0 && bundles_.size() < pieces_.size(); most /= 2) {
    std::vector<AttentionBundle> smaller = bundle(most);
    const int64_t time = estimated_time(smaller, threads);
    if (time >= least) continue;
    least = time;
    bundles_ = std::move(smaller);
  }
  std::stable_sort(bundles_.begin(), bundles_.end(), [](const auto& a, const auto& b) { return a.cost > b.cost; });
  for (AttentionBundle& each : bundles_) add_steps(each);
}

// Sorts pieces so that those with the same leading blocks are neighbours, for any number of shared blocks.
void AttentionPlan::sort_by_blocks() {
  std::stable_sort(pieces_.begin(), pieces_.end(), [](const AttentionPiece& a, const AttentionPiece& b) {
    const auto &left = a.sequence->blocks(), &right = b.sequence->blocks();
    return a.sequence != b.sequence &&
           std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(), std::less<>());
  });
  for (size_t i = 1; i < pieces_.size(); ++i) {
    const auto &before = pieces_[i - 1].sequence->blocks(), &own = pieces_[i].sequence->blocks();
    const auto end = std::mismatch(own.begin(), own.end(), before.begin(), before.end()).first;
    pieces_[i].shared =
        std::min(static_cast<int>(end - own.begin()), std::min(pieces_[i].blocks(), pieces_[i - 1].blocks()));
  }
}

std::vector<AttentionBundle> AttentionPlan::bundle(int most_tokens) const {
  std::vector<AttentionBundle> bundles;
  for (const AttentionPiece& piece : pieces_) {
    const int64_t blocks = piece.blocks(), met = blocks * piece.tokens;
    if (AttentionBundle* last = bundles.empty() ? nullptr : &bundles.back();
        last != nullptr && piece.shared > 0 && last->tokens + piece.tokens <= most_tokens) {
      ++last->n_pieces;
      last->tokens += piece.tokens;
      last->cost += blocks - piece.shared + met;
    } else {
      bundles.push_back({&piece, 1, piece.tokens, blocks + met, {}, {}});
    }
  }
  return bundles;
}

// The time of a pass, in units of cost, on the assumption that all bundles take equally long.
int64_t AttentionPlan::estimated_time(const std::vector<AttentionBundle>& bundles, int threads) const {
  int64_t cost = 0;
  for (const AttentionBundle& each : bundles) cost += each.cost;
  const auto n = static_cast<int>(bundles.size());
  return ceil_div(n * shape_.kv_heads, threads) * cost / n;
}

// Adds steps block by block. A step has the rows of neighbouring pieces with the same block at this index.
void AttentionPlan::add_steps(AttentionBundle& bundle) const {
  const AttentionPiece* const end = bundle.pieces + bundle.n_pieces;
  int blocks = 0;
  for (const AttentionPiece* piece = bundle.pieces; piece != end; ++piece) blocks = std::max(blocks, piece->blocks());
  for (int index = 0; index < blocks; ++index) {
    int row = 0;
    for (const AttentionPiece* piece = bundle.pieces; piece != end;) {
      const KvPool::Block* block = block_at(*piece, index);
      AttentionStep step{block, row, 0, static_cast<int>(bundle.counts.size())};
      bool full = true;
      for (; piece != end && block_at(*piece, index) == block; ++piece)
        for (int t = 0; t < piece->tokens; ++t) {
          const int count = std::clamp(piece->first_position + t + 1 - index * kKvBlock, 0, kKvBlock);
          bundle.counts.insert(bundle.counts.end(), static_cast<size_t>(shape_.group()), count);
          full = full && count == kKvBlock;
        }
      step.rows = static_cast<int>(bundle.counts.size()) - step.counts;
      row += step.rows;
      if (full || block == nullptr) {
        bundle.counts.resize(static_cast<size_t>(step.counts));
        step.counts = AttentionStep::kFull;
      }
      if (block != nullptr) bundle.steps.push_back(step);
    }
  }
}

}  // namespace qwen3cpu
