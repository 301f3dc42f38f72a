// A reader for two places of a tokenizer.json, model.vocab and model.merges, which are nearly all of its 11 MB.
//
// The `tokenizers` library reads the rest of the file. For the released models its parser takes 0.3 s of CPU time and
// 125 MB at its peak; this one takes 0.06 s and 17 MB.
#include "tokenizer/tokenizer_json.h"

#include <cstring>
#include <vector>

namespace qwen3cpu {
namespace {

struct Unusual {};  // thrown and caught in this file

class Json {
 public:
  explicit Json(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  const char* position() {
    skip_space();
    return at_;
  }
  bool at_end() {
    skip_space();
    return at_ == end_;
  }
  bool next_is(char c) {
    skip_space();
    return at_ != end_ && *at_ == c;
  }
  bool accept(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) throw Unusual{};
  }

  // Calls member() before each key; it must consume key and value.
  template <class F>
  void object(F member) {
    expect('{');
    if (accept('}')) return;
    do {
      member();
    } while (accept(','));
    expect('}');
  }
  template <class F>
  void array(F element) {
    expect('[');
    if (accept(']')) return;
    do {
      element();
    } while (accept(','));
    expect(']');
  }

  // A key without escapes, and the colon.
  std::string_view key() {
    expect('"');
    const char* from = at_;
    skip_to_quote();
    const std::string_view key(from, static_cast<size_t>(at_ - 1 - from));
    if (key.find('\\') != key.npos) throw Unusual{};
    expect(':');
    return key;
  }

  // Appends the bytes that a string stands for in the byte alphabet to `out`.
  void letters(std::string& out) {
    expect('"');
    while (at_ != end_ && *at_ != '"') out += static_cast<char>(*at_ == '\\' ? escaped() : letter());
    expect('"');
  }

  // The same for two words with one space between them, which is left out. Returns the place in `out` where the second
  // word begins.
  size_t two_words(std::string& out) {
    expect('"');
    size_t first = std::string::npos;
    while (at_ != end_ && *at_ != '"') {
      if (*at_ == ' ') {
        if (first != std::string::npos) throw Unusual{};
        first = out.size();
        ++at_;
      } else {
        out += static_cast<char>(*at_ == '\\' ? escaped() : letter());
      }
    }
    expect('"');
    if (first == std::string::npos) throw Unusual{};
    return first;
  }

  uint32_t id() {
    skip_space();
    uint32_t value = 0;
    const char* from = at_;
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
      if (at_ - from == 9) throw Unusual{};
      value = value * 10 + static_cast<uint32_t>(*at_ - '0');
    }
    if (at_ == from || (*from == '0' && at_ - from > 1)) throw Unusual{};
    return value;
  }

  // Skips any value without checking it: only strings and brackets are followed.
  void skip_value() {
    int64_t depth = 0;
    do {
      skip_space();
      if (at_ == end_) throw Unusual{};
      const char c = *at_;
      if (c == '"') {
        ++at_;
        skip_to_quote();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (depth > 0 && (c == '}' || c == ']')) {
        --depth;
        ++at_;
      } else if (depth > 0 && (c == ',' || c == ':')) {
        ++at_;
      } else {
        skip_word();
      }
    } while (depth > 0);
  }

 private:
  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }

  // Skips to after the quote that ends a string; `at_` is inside the string.
  void skip_to_quote() {
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ == '\\' && ++at_ == end_) throw Unusual{};
    }
    if (at_ == end_) throw Unusual{};
    ++at_;
  }

  // Skips a number, true, false or null.
  void skip_word() {
    const char* from = at_;
    while (at_ != end_ && std::strchr(" \n\t\r,:]}[{\"", *at_) == nullptr) ++at_;
    if (at_ == from) throw Unusual{};
  }

  int checked(int byte) {
    if (byte < 0) throw Unusual{};
    return byte;
  }

  int letter() {
    if (*at_ > ' ' && *at_ < '\x7F') return *at_++;  // most of a file: printable ASCII is itself
    std::string_view text(at_, static_cast<size_t>(end_ - at_));
    const int byte = take_byte_letter(text);
    at_ = text.data();
    return checked(byte);
  }

  int escaped() {
    if (end_ - at_ < 2) throw Unusual{};
    const char c = at_[1];
    at_ += 2;
    if (c != 'u') {
      if (c != '"' && c != '\\' && c != '/') throw Unusual{};  // \n and the like are not of the alphabet
      return checked(byte_of_letter(static_cast<uint8_t>(c)));
    }
    if (end_ - at_ < 4) throw Unusual{};
    uint32_t code_point = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char digit = *at_;
      const bool decimal = digit >= '0' && digit <= '9';
      const char lower = static_cast<char>(digit | 0x20);
      if (!decimal && (lower < 'a' || lower > 'f')) throw Unusual{};
      code_point = code_point << 4 | static_cast<uint32_t>(decimal ? digit - '0' : lower - 'a' + 10);
    }
    return checked(byte_of_letter(code_point));
  }

  const char* at_;
  const char* end_;
};

// The place of a value in the text.
struct Place {
  const char* begin = nullptr;
  const char* end = nullptr;
};

// `length`: of the whole text.
Bpe read_vocab(Json& json, size_t length) {
  constexpr uint32_t kUnset = UINT32_MAX;
  std::string bytes;
  std::vector<Bpe::Token> tokens;
  uint32_t count = 0;
  json.object([&] {
    const size_t begin = bytes.size();
    json.letters(bytes);
    json.expect(':');
    const uint32_t id = json.id();
    // Ids beyond the length of the text cannot be 0 to n - 1.
    if (id >= length || bytes.size() >= kUnset) throw Unusual{};
    if (id >= tokens.size()) tokens.resize(id + 1, {0, kUnset});
    if (tokens[id].size != kUnset) throw Unusual{};
    tokens[id] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(bytes.size() - begin)};
    ++count;
  });
  if (count != tokens.size()) throw Unusual{};
  bytes.shrink_to_fit();
  tokens.shrink_to_fit();
  auto bpe = Bpe::make(std::move(bytes), std::move(tokens));
  if (!bpe) throw Unusual{};
  return *std::move(bpe);
}

void read_merges(Json& json, Bpe& bpe) {
  std::vector<Bpe::Pair> merges;
  std::string both;
  json.array([&] {
    both.clear();
    size_t first;
    if (json.next_is('[')) {
      json.expect('[');
      json.letters(both);
      first = both.size();
      json.expect(',');
      json.letters(both);
      json.expect(']');
    } else {
      first = json.two_words(both);
    }
    const auto left = bpe.find(std::string_view(both).substr(0, first));
    const auto right = bpe.find(std::string_view(both).substr(first));
    if (!left || !right) throw Unusual{};
    merges.emplace_back(*left, *right);
  });
  if (!bpe.set_merges(merges)) throw Unusual{};
}

// Reads the members of `model`. Merges that come before the vocabulary are read after it.
Bpe read_model(Json& json, size_t length, Place& vocab, Place& merges) {
  std::optional<Bpe> bpe;
  Json early = json;
  json.object([&] {
    const std::string_view key = json.key();
    if (key != "vocab" && key != "merges") return json.skip_value();
    Place& place = key == "vocab" ? vocab : merges;
    if (place.begin != nullptr) throw Unusual{};
    place.begin = json.position();
    if (key == "vocab") {
      bpe = read_vocab(json, length);
    } else if (bpe) {
      read_merges(json, *bpe);
    } else {
      early = json;
      json.skip_value();
    }
    place.end = json.position();
  });
  if (!bpe || merges.begin == nullptr) throw Unusual{};
  if (merges.begin < vocab.begin) read_merges(early, *bpe);
  return *std::move(bpe);
}

TokenizerJson read(std::string_view text) {
  Place vocab, merges;
  std::optional<Bpe> bpe;
  Json json(text);
  json.object([&] {
    if (json.key() != "model") return json.skip_value();
    if (bpe) throw Unusual{};
    bpe = read_model(json, text.size(), vocab, merges);
  });
  if (!json.at_end() || !bpe) throw Unusual{};
  TokenizerJson found{*std::move(bpe), {}};
  const bool vocab_first = vocab.begin < merges.begin;
  const Place &first = vocab_first ? vocab : merges, &second = vocab_first ? merges : vocab;
  found.rest.append(text.data(), first.begin).append(vocab_first ? "{}" : "[]");
  found.rest.append(first.end, second.begin).append(vocab_first ? "[]" : "{}");
  found.rest.append(second.end, text.data() + text.size());
  return found;
}

}  // namespace

std::optional<TokenizerJson> read_tokenizer_json(std::string_view text) {
  try {
    return read(text);
  } catch (const Unusual&) {
    return std::nullopt;
  }
}

}  // namespace qwen3cpu
