// The tables of a byte-pair encoding, and the merging.
#include "tokenizer/bpe.h"

#include <functional>
#include <queue>

#include "system/error.h"

namespace qwen3cpu {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kLetters = 0x144;  // the alphabet's last letter is U+0143

std::array<int16_t, kLetters> make_alphabet() {
  std::array<int16_t, kLetters> bytes;
  bytes.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte < 0x7F) || (byte >= 0xA1 && byte < 0xAD) || (byte >= 0xAE && byte < 0x100);
    bytes[printable ? byte : next++] = static_cast<int16_t>(byte);
  }
  return bytes;
}

// Slots for n entries: a power of two, at least half of it free.
size_t slots_for(size_t n) {
  size_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  return slots;
}

size_t hash_pair(uint32_t left, uint32_t right) {
  const uint64_t key =
      (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u;  // Fibonacci hashing: the top bits mix well
  return static_cast<size_t>(key >> 32);
}

// Neighbours that may be merged: `left` and `right` were the ids at `position` and after it.
struct Candidate {
  uint32_t rank, position, left, right, merged;
  bool operator<(const Candidate& other) const {  // the queue takes the largest
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

struct Symbol {
  uint32_t id;
  uint32_t before, after;  // kNone at the ends
};

}  // namespace

int byte_of_letter(uint32_t code_point) {
  static const std::array<int16_t, kLetters> alphabet = make_alphabet();
  return code_point < kLetters ? alphabet[code_point] : -1;
}

int take_byte_letter(std::string_view& text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) {
    text.remove_prefix(1);
    return byte_of_letter(first);
  }
  const auto second = text.size() > 1 ? static_cast<uint8_t>(text[1]) : 0;
  if ((first & 0xE0) == 0xC0 && (second & 0xC0) == 0x80) {
    text.remove_prefix(2);
    // C0 and C1 begin overlong forms of ASCII, which are not valid UTF-8.
    return first < 0xC2 ? -1 : byte_of_letter((first & 0x1Fu) << 6 | (second & 0x3Fu));
  }
  do text.remove_prefix(1);
  while (!text.empty() && (static_cast<uint8_t>(text[0]) & 0xC0) == 0x80);
  return -1;
}

std::optional<Bpe> Bpe::make(std::string bytes, std::vector<Token> tokens) {
  Bpe bpe;
  bpe.bytes_ = std::move(bytes);
  bpe.tokens_ = std::move(tokens);
  bpe.id_slots_.assign(slots_for(bpe.tokens_.size()), kNone);
  for (uint32_t id = 0; id < bpe.size(); ++id) {
    uint32_t& slot = bpe.id_slots_[bpe.id_slot(bpe.token(id))];
    if (slot != kNone) return std::nullopt;
    slot = id;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    bpe.byte_ids_[byte] = bpe.find({&c, 1}).value_or(kNone);
  }
  bpe.set_merges({});
  return bpe;
}

bool Bpe::set_merges(const std::vector<Pair>& merges) {
  merge_slots_.assign(slots_for(merges.size()), Merge{kNone, kNone, 0, 0});
  std::string whole;
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = merges[rank];
    whole.assign(token(left)).append(token(right));
    const auto merged = find(whole);
    Merge& slot = merge_slots_[merge_slot(left, right)];
    if (!merged || slot.left != kNone) return false;
    slot = {left, right, rank, *merged};
  }
  return true;
}

std::optional<uint32_t> Bpe::find(std::string_view bytes) const {
  const uint32_t id = id_slots_[id_slot(bytes)];
  return id == kNone ? std::nullopt : std::optional<uint32_t>(id);
}

size_t Bpe::id_slot(std::string_view bytes) const {
  const size_t mask = id_slots_.size() - 1;
  size_t slot = std::hash<std::string_view>()(bytes) & mask;
  while (id_slots_[slot] != kNone && token(id_slots_[slot]) != bytes) slot = (slot + 1) & mask;
  return slot;
}

size_t Bpe::merge_slot(uint32_t left, uint32_t right) const {
  const size_t mask = merge_slots_.size() - 1;
  size_t slot = hash_pair(left, right) & mask;
  while (merge_slots_[slot].left != kNone && (merge_slots_[slot].left != left || merge_slots_[slot].right != right))
    slot = (slot + 1) & mask;
  return slot;
}

void Bpe::encode(std::string_view word, std::vector<uint32_t>& ids) const {
  if (word.size() >= size_t{1} << 31) throw Error("tokenizer: a word of " + std::to_string(word.size()) + " bytes");
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const uint32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id == kNone) continue;
    const auto n = static_cast<uint32_t>(symbols.size());
    if (n > 0) symbols[n - 1].after = n;
    symbols.push_back({id, n > 0 ? n - 1 : kNone, kNone});
  }
  std::priority_queue<Candidate> queue;
  const auto consider = [&](uint32_t position) {
    if (position == kNone || symbols[position].after == kNone) return;
    const Merge& merge = merge_slots_[merge_slot(symbols[position].id, symbols[symbols[position].after].id)];
    if (merge.left != kNone) queue.push({merge.rank, position, merge.left, merge.right, merge.merged});
  };
  for (uint32_t position = 0; position < symbols.size(); ++position) consider(position);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.id != best.left || left.after == kNone || symbols[left.after].id != best.right) continue;
    Symbol& right = symbols[left.after];
    left.id = best.merged;
    left.after = right.after;
    right.id = kNone;  // merged away: no candidate has this id
    if (left.after != kNone) symbols[left.after].before = best.position;
    consider(left.before);
    consider(best.position);
  }
  for (uint32_t at = symbols.empty() ? kNone : 0; at != kNone; at = symbols[at].after) ids.push_back(symbols[at].id);
}

}  // namespace qwen3cpu
