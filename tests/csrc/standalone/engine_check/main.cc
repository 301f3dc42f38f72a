// engine_check: answers prompts with a packed file and no Python, and writes every logit and every token to a file.
//
//   engine_check MODEL DESCRIPTION {KV THREADS CHUNK OUT}...
//
// The prompts are answered side by side, CHUNK tokens of a prompt at a time. OUT gets for each prompt the logits of all
// positions, float32, and then the tokens of its answer, int32. The arguments in braces may be repeated for more runs.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "description.h"
#include "engine/model.h"
#include "kernels/registry.h"
#include "layout/format_names.h"
#include "mapped_file.h"
#include "system/cores.h"
#include "system/error.h"
#include "system/memory.h"
#include "system/process_end.h"

namespace qwen3cpu::check {
namespace {

// A model with the matrices of a mapped file.
class CheckedModel {
 public:
  CheckedModel(const Description& d, const MappedFile& file, KvFormat kv, int threads) {
    std::map<std::string, Matrix> matrices;
    for (const auto& [name, m] : d.matrices)
      matrices.emplace(
          name, Matrix{m.format, m.rows, m.cols, inside(file, name, m.offset, matrix_bytes(m.format, m.rows, m.cols))});
    std::map<std::string, Vector> vectors;
    for (const auto& [name, v] : d.vectors) {
      std::vector<float>& values = vectors_[name];  // values in the file may be unaligned
      values.resize(static_cast<size_t>(v.size));
      std::memcpy(values.data(), inside(file, name, v.offset, 4 * v.size), 4 * values.size());
      vectors.emplace(name, Vector{values.data(), v.size});
    }
    model_ = std::make_unique<Model>(d.config, collect_weights(d.config, Tensors(matrices, vectors)), kv, threads);
  }
  Model& model() { return *model_; }

 private:
  static const uint8_t* inside(const MappedFile& file, const std::string& name, int64_t offset, int64_t bytes) {
    if (offset < 0 || offset + bytes > file.size()) throw Error(name + " lies outside of the file");
    return file.data() + offset;
  }

  std::map<std::string, std::vector<float>> vectors_;
  std::unique_ptr<Model> model_;
};

// The state of one prompt.
struct Answer {
  std::shared_ptr<Sequence> sequence;
  std::vector<int> waiting;  // tokens that the model has not processed
  std::vector<float> logits;
  std::vector<int> ids;
};

std::vector<Answer> answer(Model& model, const Description& d, int chunk) {
  std::vector<Answer> answers;
  for (const auto& prompt : d.prompts) answers.push_back({std::make_shared<Sequence>(model.pool()), prompt, {}, {}});
  const int vocab = model.config().vocab_size;
  while (true) {
    std::vector<BatchItem> batch;
    std::vector<Answer*> members;
    size_t rows = 0;
    for (Answer& each : answers) {
      if (each.waiting.empty()) continue;
      const auto last = each.waiting.begin() + std::min<int64_t>(chunk, static_cast<int64_t>(each.waiting.size()));
      BatchItem& item = batch.emplace_back(BatchItem{each.sequence, {each.waiting.begin(), last}, {}});
      each.waiting.erase(each.waiting.begin(), last);
      for (size_t i = 0; i < item.tokens.size(); ++i) item.wanted.push_back(static_cast<int>(i));
      members.push_back(&each);
      rows += item.tokens.size();
    }
    if (batch.empty()) return answers;
    std::vector<float> logits(rows * static_cast<size_t>(model.logits_stride()));
    OutputRows to;
    to.logits = logits.data();
    model.forward(batch, to);
    const float* row = logits.data();
    for (size_t i = 0; i < batch.size(); ++i) {
      Answer& each = *members[i];
      for (size_t n = 0; n < batch[i].tokens.size(); ++n, row += model.logits_stride())
        each.logits.insert(each.logits.end(), row, row + vocab);
      if (!each.waiting.empty() || each.ids.size() == static_cast<size_t>(d.answer)) continue;
      const auto best = std::max_element(each.logits.end() - vocab, each.logits.end());
      each.ids.push_back(static_cast<int>(best - (each.logits.end() - vocab)));
      each.waiting = {each.ids.back()};
    }
  }
}

template <class T>
void write(std::ofstream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

int execute(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2 || arguments.size() % 4 != 2) {
    std::fputs("usage: engine_check MODEL DESCRIPTION {KV THREADS CHUNK OUT}...\n", stderr);
    return 2;
  }
  const MappedFile file(arguments[0]);
  touch_pages(file.data(), file.size());
  const Description description = read_description(arguments[1]);
  for (size_t i = 2; i < arguments.size(); i += 4) {
    CheckedModel checked(description, file, parse_kv_format(arguments[i]), std::stoi(arguments[i + 1]));
    std::ofstream out(arguments[i + 3], std::ios::binary);
    for (const Answer& each : answer(checked.model(), description, std::stoi(arguments[i + 2]))) {
      write(out, each.logits);
      write(out, each.ids);
    }
    out.close();
    if (!out) throw Error("cannot write " + arguments[i + 3]);
  }
  std::printf("%s kernels, %d cores\n", chosen_isa().name, physical_cores());
  return 0;
}

}  // namespace
}  // namespace qwen3cpu::check

int main(int argc, char** argv) {
  qwen3cpu::hold_threads_that_end();
  try {
    return qwen3cpu::check::execute({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine_check: %s\n", error.what());
    return 1;
  }
}
