// Words with spaces between them: a name, then its values. Lists begin with their length. Floats are written as the
// integers of their bits.
#include "description.h"

#include <cstring>
#include <fstream>
#include <functional>

#include "layout/format_names.h"
#include "system/error.h"

namespace qwen3cpu::check {
namespace {

class Words {
 public:
  explicit Words(const std::string& path) : in_(path), path_(path) {}

  bool next(std::string& word) { return static_cast<bool>(in_ >> word); }
  std::string text() {
    std::string word;
    if (!next(word)) throw Error(path_ + " ends too early");
    return word;
  }
  int64_t number() { return std::stoll(text()); }
  int integer() { return static_cast<int>(number()); }
  float real() {
    const auto bits = static_cast<uint32_t>(number());
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  template <class Element>
  auto list(Element element) {
    std::vector<decltype(element())> values(static_cast<size_t>(number()));
    for (auto& value : values) value = element();
    return values;
  }
  std::vector<int> integers() {
    return list([&] { return integer(); });
  }

 private:
  std::ifstream in_;
  std::string path_;
};

}  // namespace

Description read_description(const std::string& path) {
  Description d;
  Config& c = d.config;
  Words in(path);
  const std::map<std::string, std::function<void()>> readers = {
      {"hidden_size", [&] { c.hidden_size = in.integer(); }},
      {"intermediate_size", [&] { c.intermediate_size = in.integer(); }},
      {"num_hidden_layers", [&] { c.num_hidden_layers = in.integer(); }},
      {"num_attention_heads", [&] { c.num_attention_heads = in.integer(); }},
      {"num_key_value_heads", [&] { c.num_key_value_heads = in.integer(); }},
      {"head_dim", [&] { c.head_dim = in.integer(); }},
      {"vocab_size", [&] { c.vocab_size = in.integer(); }},
      {"tokens", [&] { c.tokens = in.integer(); }},
      {"context", [&] { c.context = in.integer(); }},
      {"rms_norm_eps", [&] { c.rms_norm_eps = in.real(); }},
      {"rope_scale", [&] { c.rope_scale = in.real(); }},
      {"int16_inputs", [&] { c.int16_inputs = in.integer() != 0; }},
      {"inv_freq", [&] { c.inv_freq = in.list([&] { return in.real(); }); }},
      {"experts.count", [&] { c.experts.count = in.integer(); }},
      {"experts.chosen", [&] { c.experts.chosen = in.integer(); }},
      {"experts.width", [&] { c.experts.width = in.integer(); }},
      {"experts.normalised", [&] { c.experts.normalised = in.integer() != 0; }},
      {"experts.fetched", [&] { c.experts.fetched = in.integer() != 0; }},
      {"experts.dense_layers", [&] { c.experts.dense_layers = in.integers(); }},
      {"prompt", [&] { d.prompts.push_back(in.integers()); }},
      {"answer", [&] { d.answer = in.integer(); }},
      {"matrix",
       [&] {
         MatrixPlace& m = d.matrices[in.text()];
         m.format = parse_format(in.text());
         m.rows = in.integer();
         m.cols = in.integer();
         m.offset = in.number();
       }},
      {"vector",
       [&] {
         VectorPlace& v = d.vectors[in.text()];
         v.size = in.number();
         v.offset = in.number();
       }},
  };
  for (std::string word; in.next(word);) {
    const auto reader = readers.find(word);
    if (reader == readers.end()) throw Error(path + ": unknown word " + word);
    reader->second();
  }
  validate(c);
  return d;
}

}  // namespace qwen3cpu::check
