// The list of compiled kernel tables and the choice among them.
#include "kernels/registry.h"

#include <cstdlib>

#include "system/error.h"

namespace qwen3cpu {

#define ISA(name)          \
  namespace name {         \
  const IsaTable& table(); \
  }
#include "layout/isas.inc"
#undef ISA

namespace {

std::string isa_names(bool supported_only) {
  std::string names;
  for (const IsaTable* table : isa_tables()) {
    if (supported_only && !table->supported()) continue;
    if (!names.empty()) names += ", ";
    names += table->name;
  }
  return names;
}

const IsaTable& choose_isa() {
  const char* forced = std::getenv("QWEN3CPU_ISA");
  if (forced != nullptr && *forced != '\0' && std::string(forced) != "list") {
    try {
      return isa_table(forced);
    } catch (const Error& error) {
      throw Error(std::string("QWEN3CPU_ISA: ") + error.what());
    }
  }
  for (const IsaTable* table : isa_tables())
    if (table->supported()) return *table;
  throw Error("this CPU can run none of the compiled instruction sets: " + isa_names(false));
}

}  // namespace

const std::vector<const IsaTable*>& isa_tables() {
  static const std::vector<const IsaTable*> tables = {
#define ISA(name) &name::table(),
#include "layout/isas.inc"
#undef ISA
  };
  return tables;
}

const IsaTable& isa_table(const std::string& name) {
  for (const IsaTable* table : isa_tables()) {
    if (name != table->name) continue;
    if (table->supported()) return *table;
    throw Error("instruction set \"" + name + "\" cannot run on this CPU; it can run: " + isa_names(true));
  }
  throw Error("unknown instruction set \"" + name + "\"; compiled in: " + isa_names(false) +
              "; this CPU can run: " + isa_names(true));
}

const IsaTable& chosen_isa() {
  static const IsaTable& chosen = choose_isa();  // an exception leaves it unset: the next call tries again
  return chosen;
}

std::string isa_list() {
  std::string list;
  for (const IsaTable* table : isa_tables()) {
    const char* state = table == &chosen_isa() ? "runs here, chosen"
                        : table->supported()   ? "runs here"
                                               : "not on this CPU";
    list += std::string(table->name) + ": " + state + "\n";
  }
  return list;
}

}  // namespace qwen3cpu
