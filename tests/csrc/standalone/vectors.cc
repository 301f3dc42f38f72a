// The file of cases and expected outputs: strings, numbers and byte arrays one after another, little endian.
#include <fstream>

#include "case.h"
#include "system/error.h"

namespace qwen3cpu::check {
namespace {

constexpr char kMagic[] = "qwen3cpu kernel vectors 1";

class Writer {
 public:
  explicit Writer(const std::string& path) : out_(path, std::ios::binary), path_(path) {}
  void number(int64_t n) { out_.write(reinterpret_cast<const char*>(&n), sizeof(n)); }
  void bytes(const void* data, size_t n) {
    number(static_cast<int64_t>(n));
    out_.write(static_cast<const char*>(data), static_cast<std::streamsize>(n));
  }
  void finish() {
    out_.close();
    if (!out_) throw Error("cannot write " + path_);
  }

 private:
  std::ofstream out_;
  std::string path_;
};

class Reader {
 public:
  explicit Reader(const std::string& path) : in_(path, std::ios::binary), path_(path) {}
  int64_t number() {
    int64_t n = 0;
    in_.read(reinterpret_cast<char*>(&n), sizeof(n));
    if (!in_) throw Error(path_ + " ends too early");
    return n;
  }
  Bytes bytes() {
    const int64_t n = number();
    if (n < 0 || n > int64_t{1} << 30) throw Error(path_ + " is damaged");
    Bytes bytes(static_cast<size_t>(n));
    in_.read(reinterpret_cast<char*>(bytes.data()), n);
    if (!in_) throw Error(path_ + " ends too early");
    return bytes;
  }
  std::string text() {
    const Bytes b = bytes();
    return std::string(b.begin(), b.end());
  }

 private:
  std::ifstream in_;
  std::string path_;
};

}  // namespace

void write_vectors(const std::string& path, const std::vector<Case>& cases,
                   const std::vector<std::vector<Output>>& outputs) {
  Writer out(path);
  out.bytes(kMagic, sizeof(kMagic) - 1);
  out.number(static_cast<int64_t>(cases.size()));
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    out.bytes(c.kind.data(), c.kind.size());
    out.bytes(c.name.data(), c.name.size());
    out.bytes(c.shape.data(), c.shape.size() * sizeof(int64_t));
    out.number(static_cast<int64_t>(c.inputs.size()));
    for (const Bytes& input : c.inputs) out.bytes(input.data(), input.size());
    out.number(static_cast<int64_t>(outputs[i].size()));
    for (const Output& output : outputs[i]) {
      out.number(output.floats);
      out.bytes(output.bytes.data(), output.bytes.size());
    }
  }
  out.finish();
}

void read_vectors(const std::string& path, std::vector<Case>& cases, std::vector<std::vector<Output>>& outputs) {
  Reader in(path);
  if (in.text() != kMagic) throw Error(path + " is no file of kernel vectors");
  const int64_t n = in.number();
  for (int64_t i = 0; i < n; ++i) {
    Case c;
    c.kind = in.text();
    c.name = in.text();
    c.shape = from_bytes<int64_t>(in.bytes());
    for (int64_t left = in.number(); left > 0; --left) c.inputs.push_back(in.bytes());
    std::vector<Output> expected;
    for (int64_t left = in.number(); left > 0; --left) {
      const bool floats = in.number() != 0;
      expected.push_back({floats, in.bytes()});
    }
    cases.push_back(std::move(c));
    outputs.push_back(std::move(expected));
  }
}

}  // namespace qwen3cpu::check
