// Byte-pair encoding over bytes: tokens by id, merges by rank. Text and pre-tokenizer are in qwen3cpu/text/bpe.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwen3cpu {

// Removes the first character of `text` (UTF-8) and returns the byte that it stands for in byte-level BPE. In this
// alphabet printable Latin-1 characters are themselves, and the other bytes are written from U+0100 on. Returns -1 for
// a character that is not in the alphabet, which is removed too.
int take_byte_letter(std::string_view& text);
// The same for one code point.
int byte_of_letter(uint32_t code_point);

class Bpe {
 public:
  struct Token {
    uint32_t begin, size;  // in the bytes of all tokens
  };
  using Pair = std::pair<uint32_t, uint32_t>;  // ids, left and right

  // tokens[id] is a range of `bytes`. None when two tokens are equal.
  static std::optional<Bpe> make(std::string bytes, std::vector<Token> tokens);
  // Sets the merges, ordered by rank; a new Bpe has none. False when two merges are equal, or the result of one is not
  // a token.
  bool set_merges(const std::vector<Pair>& merges);

  uint32_t size() const { return static_cast<uint32_t>(tokens_.size()); }
  // id < size()
  std::string_view token(uint32_t id) const { return view(tokens_[id]); }
  std::optional<uint32_t> find(std::string_view bytes) const;

  // Appends the ids of one word. As long as any neighbours are a merge, the leftmost merge of the lowest rank is
  // applied. Bytes without a token are left out. Throws Error for words of 2 GiB or more.
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
  // Open addressing, at most half full. An unordered_map would take three times the memory and three times the time to
  // fill.
  std::vector<uint32_t> id_slots_;
  std::vector<Merge> merge_slots_;
};

}  // namespace qwen3cpu
