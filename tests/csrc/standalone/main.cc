// kernel_check: compares the kernels of every instruction set that this CPU can run with their scalar twins.
//
//   kernel_check list          lists compiled instruction sets, those that this CPU can run, and the chosen one
//   kernel_check twins         compares the scalar kernels and all others on this machine, by ==
//   kernel_check write FILE    writes packed matrices, inputs and the results of the scalar kernels
//   kernel_check read FILE     compares every kernel, also scalar ones, with a file from another machine
#include <cstdio>
#include <map>
#include <tuple>

#include "case.h"
#include "system/error.h"
#include "system/parallel.h"

namespace qwen3cpu::check {
namespace {

float float_at(const Bytes& bytes, size_t i) {
  float x;
  std::memcpy(&x, bytes.data() + 4 * i, sizeof(x));
  return x;
}

// Describes the first difference of the outputs; "" when they are equal.
std::string difference(const Output& found, const Output& expected) {
  if (found.bytes.size() != expected.bytes.size()) return "has another length";
  if (found.bytes == expected.bytes) return "";
  const size_t size = found.floats ? 4 : 1;
  for (size_t i = 0; i * size < found.bytes.size(); ++i) {
    if (std::memcmp(found.bytes.data() + i * size, expected.bytes.data() + i * size, size) == 0) continue;
    if (!found.floats)
      return "byte " + std::to_string(i) + ": " + std::to_string(found.bytes[i]) + ", not " +
             std::to_string(expected.bytes[i]);
    const float a = float_at(found.bytes, i), b = float_at(expected.bytes, i);
    if (a != a && b != b) continue;
    char text[96];
    std::snprintf(text, sizeof(text), "float %zu: %a, not %a", i, static_cast<double>(a), static_cast<double>(b));
    return text;
  }
  return "";
}

std::string describe(const Case& c) {
  std::string text = c.kind + " " + c.name + " [";
  for (const int64_t n : c.shape) text += (text.back() == '[' ? "" : ", ") + std::to_string(n);
  return text + "]";
}

// Compares outputs, and counts cases per instruction set and kernel.
class Report {
 public:
  void compare(const IsaTable& isa, const Case& c, const std::vector<Output>& expected) {
    const std::vector<Output> found = run(isa, c);
    auto& [cases, wrong] = rows_[{isa.name, c.kind, c.name}];
    ++cases;
    std::string problem = found.size() == expected.size() ? "" : "has another number of outputs";
    for (size_t i = 0; i < found.size() && problem.empty(); ++i) problem = difference(found[i], expected[i]);
    if (problem.empty()) return;
    if (wrong++ < 3) std::printf("DIFFERENT %s %s: %s\n", isa.name, describe(c).c_str(), problem.c_str());
  }

  // Prints a line for each kernel. Returns the exit status.
  int finish() const {
    int all = 0, all_wrong = 0;
    for (const auto& [row, counts] : rows_) {
      const auto& [isa, kind, name] = row;
      std::printf("%s %s %s: %d cases, %d different\n", isa.c_str(), kind.c_str(), name.c_str(), counts.first,
                  counts.second);
      all += counts.first;
      all_wrong += counts.second;
    }
    std::printf("%d cases, %d different\n", all, all_wrong);
    return all > 0 && all_wrong == 0 ? 0 : 1;
  }

 private:
  std::map<std::tuple<std::string, std::string, std::string>, std::pair<int, int>> rows_;  // cases, of them different
};

int check_twins() {
  Report report;
  const IsaTable& scalar = isa_table("scalar");
  for (const Case& c : all_cases()) {
    const std::vector<Output> expected = run(scalar, c);
    for (const IsaTable* isa : isa_tables())
      if (isa->supported() && isa != &scalar) report.compare(*isa, c, expected);
  }
  return report.finish();
}

int write(const std::string& path) {
  std::vector<Case> cases = all_cases();
  for (Case& c : pack_cases()) cases.push_back(std::move(c));
  std::vector<std::vector<Output>> outputs;
  for (const Case& c : cases) outputs.push_back(run(isa_table("scalar"), c));
  write_vectors(path, cases, outputs);
  std::printf("%zu cases written\n", cases.size());
  return 0;
}

int read(const std::string& path) {
  Report report;
  std::vector<Case> cases;
  std::vector<std::vector<Output>> outputs;
  read_vectors(path, cases, outputs);
  for (size_t i = 0; i < cases.size(); ++i)
    for (const IsaTable* isa : isa_tables())
      if (isa->supported() && (cases[i].kind != "pack" || isa == isa_tables().back()))
        report.compare(*isa, cases[i], outputs[i]);
  return report.finish();
}

int execute(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "list" && arguments.size() == 1) {
    std::fputs(isa_list().c_str(), stdout);
    return 0;
  }
  if (command == "twins" && arguments.size() == 1) return check_twins();
  if (command == "write" && arguments.size() == 2) return write(arguments[1]);
  if (command == "read" && arguments.size() == 2) return read(arguments[1]);
  std::fputs("usage: kernel_check list | twins | write FILE | read FILE\n", stderr);
  return 2;
}

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto make : {product_cases, adversarial_cases, kv_cases, op_cases, round_cases})
    for (Case& c : make()) all.push_back(std::move(c));
  return all;
}

}  // namespace qwen3cpu::check

int main(int argc, char** argv) {
  int status = 1;
  qwen3cpu::run_team(1, [&](qwen3cpu::Team&) {  // denormals flushed, as kernels run
    try {
      status = qwen3cpu::check::execute({argv + 1, argv + argc});
    } catch (const qwen3cpu::Error& error) {
      std::fprintf(stderr, "kernel_check: %s\n", error.what());
    }
  });
  return status;
}
