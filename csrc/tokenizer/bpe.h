// Byte-pair encoding over bytes: tokens by id, merges by rank. No text and no pre-tokenizer: see qwen3cpu/text/bpe.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwen3cpu {

// The byte that the next character of `text` (UTF-8) stands for in byte-level BPE, which moves `text` past it:
// printable Latin-1 is itself, the other bytes are written from U+0100 on. -1: not of that alphabet; `text` still
// moves.
int take_byte_letter(std::string_view& text);
// The same for one code point.
int byte_of_letter(uint32_t code_point);

class Bpe {
 public:
  struct Token {
    uint32_t begin, size;  // in the bytes of all tokens
  };
  using Pair = std::pair<uint32_t, uint32_t>;  // ids, left and right

  // tokens[id] lies in `bytes`. None when two tokens are equal.
  static std::optional<Bpe> make(std::string bytes, std::vector<Token> tokens);
  // By rank; before this there are none. False when two merges are equal, or when one gives no token.
  bool set_merges(const std::vector<Pair>& merges);

  uint32_t size() const { return static_cast<uint32_t>(tokens_.size()); }
  // id < size()
  std::string_view token(uint32_t id) const { return view(tokens_[id]); }
  std::optional<uint32_t> find(std::string_view bytes) const;

  // Appends the ids of one word: of all neighbours that are a merge, the one of the lowest rank, leftmost, is merged,
  // until none is left. Bytes without a token are left out. Throws Error for words of 2 GiB.
  void encode(std::string_view word, std::vector<uint32_t>& ids) const;

 private:
  struct Merge {
    uint32_t left, right, rank, merged;
  };

  std::string_view view(Token token) const { return {bytes_.data() + token.begin, token.size}; }
  size_t id_slot(std::string_view bytes) const;
  size_t merge_slot(uint32_t left, uint32_t right) const;

  std::string bytes_;
  std::vector<Token> tokens_;           // by id
  std::array<uint32_t, 256> byte_ids_;  // of single bytes; kNone where there is no token
  // Open addressing, at most half full: an unordered_map takes three times the memory and the time to fill.
  std::vector<uint32_t> id_slots_;
  std::vector<Merge> merge_slots_;
};

}  // namespace qwen3cpu
