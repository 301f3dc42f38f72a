// Names of formats, from the rows of formats.inc and kv_formats.inc.
#include "layout/format_names.h"

#include "system/error.h"

namespace qwen3cpu {
namespace {

// Indexed by Format.
const char* const kFormatNames[] = {
#define FORMAT(name, ...) #name,
#include "layout/formats.inc"
#undef FORMAT
};

// Indexed by KvFormat.
const char* const kKvFormatNames[] = {
#define KV_FORMAT(name, ...) #name,
#include "layout/kv_formats.inc"
#undef KV_FORMAT
};

template <int N>
int find(const std::string& name, const char* const (&names)[N], const char* kind) {
  std::string known;
  for (int i = 0; i < N; ++i) {
    if (name == names[i]) return i;
    known += (i ? ", " : "") + std::string(names[i]);
  }
  throw Error("unknown " + std::string(kind) + " format \"" + name + "\"; expected one of: " + known);
}

}  // namespace

const char* format_name(Format format) { return kFormatNames[static_cast<int>(format)]; }

const char* kv_format_name(KvFormat format) { return kKvFormatNames[static_cast<int>(format)]; }

Format parse_format(const std::string& name) { return static_cast<Format>(find(name, kFormatNames, "weight")); }

KvFormat parse_kv_format(const std::string& name) { return static_cast<KvFormat>(find(name, kKvFormatNames, "KV")); }

}  // namespace qwen3cpu
