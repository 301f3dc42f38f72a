// Takes vocabulary and merges out of the text of a tokenizer.json.
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

// None for a file that is not the usual kind: broken JSON in these two places, tokens that are not written in the byte
// alphabet, ids that are not 0 to n - 1, a merge of unknown tokens, anything twice. What stands elsewhere is not
// checked.
std::optional<TokenizerJson> read_tokenizer_json(std::string_view text);

}  // namespace qwen3cpu
