// Reads vocabulary and merges from the text of a tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/bpe.h"

namespace qwen3cpu {

struct TokenizerJson {
  Bpe bpe;
  std::string rest;  // the file with an empty vocabulary and no merges
};

// Returns none for an unusual file: broken JSON in these two places, tokens that are not written in the byte alphabet,
// or ids that are not 0 to n - 1. A merge of unknown tokens and duplicates are unusual too. The rest of the file is not
// checked.
std::optional<TokenizerJson> read_tokenizer_json(std::string_view text);

}  // namespace qwen3cpu
