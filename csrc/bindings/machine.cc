// pybind11: instruction sets, cores and memory of this machine; the end of the process.
#include <pybind11/stl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "kernels/registry.h"
#include "system/cores.h"
#include "system/memory.h"
#include "system/process_end.h"

namespace py = pybind11;

namespace qwen3cpu {

void bind_machine(py::module_& m) {
  m.def("isas", [] {
    std::vector<std::pair<std::string, bool>> rows;
    for (const IsaTable* table : isa_tables()) rows.emplace_back(table->name, table->supported());
    return rows;
  });
  m.def("chosen_isa", [] { return chosen_isa().name; });
  const char* isa = std::getenv("QWEN3CPU_ISA");
  if (isa != nullptr && std::strcmp(isa, "list") == 0) std::fputs(isa_list().c_str(), stderr);
  m.def("physical_cores", &physical_cores);
  m.def(
      "touch_pages",
      [](const Bytes& array) {
        const uint8_t* data = array.data();
        const auto bytes = array.nbytes();
        py::gil_scoped_release release;
        touch_pages(data, bytes);
      },
      py::arg("array").noconvert());
  m.def("hold_threads_that_end", &hold_threads_that_end);
}

}  // namespace qwen3cpu
