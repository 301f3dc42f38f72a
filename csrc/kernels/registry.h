// The kernel tables that were compiled in, and the one that this process uses.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace qwen3cpu {

// Every compiled table, best first.
const std::vector<const IsaTable*>& isa_tables();

// The table called `name`. Throws Error when it was not compiled in or this CPU cannot run it.
const IsaTable& isa_table(const std::string& name);

// The table for this process: the best supported one, or the one that QWEN3CPU_ISA names ("list" names none). It is
// chosen at the first call. Throws Error when QWEN3CPU_ISA names a table that was not compiled in or cannot run here.
const IsaTable& chosen_isa();

// A line for every compiled table: its name and "runs here, chosen", "runs here" or "not on this CPU".
std::string isa_list();

}  // namespace qwen3cpu
