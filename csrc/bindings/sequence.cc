// pybind11: `_native.Sequence` and `_native.Block`, the KV cache in Python. Conversion and the GIL. No logic.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/parts.h"
#include "engine/kv_cache.h"

namespace py = pybind11;

namespace qwen3cpu {

void bind_sequence(py::module_& m) {
  using NoGil = py::call_guard<py::gil_scoped_release>;
  // Destructors keep the GIL, because they take no lock that a pass holds.
  py::class_<HeldBlock, std::shared_ptr<HeldBlock>>(m, "Block").def_property_readonly("shared", &HeldBlock::shared);
  py::class_<Sequence, std::shared_ptr<Sequence>>(m, "Sequence")
      .def_property_readonly("length", &Sequence::length)
      .def("truncate", &Sequence::truncate, py::arg("length"), NoGil())
      .def("fork", &Sequence::fork, NoGil())
      .def("release", &Sequence::release, NoGil())
      .def("hold", &Sequence::hold, py::arg("index"), NoGil())
      .def(
          "read",
          [](Sequence& self, int index) {
            Bytes block(self.pool().block_bytes());
            uint8_t* out = block.mutable_data();
            const py::gil_scoped_release release;
            self.read(index, out);
            return block;
          },
          py::arg("index"))
      .def(
          "append",
          [](Sequence& self, const Bytes& block, int positions) {
            if (block.size() != self.pool().block_bytes())
              throw Error("append: expected a block of " + std::to_string(self.pool().block_bytes()) +
                          " bytes, found " + std::to_string(block.size()));
            const uint8_t* data = block.data();
            const py::gil_scoped_release release;
            self.append(data, positions);
          },
          py::arg("block").noconvert(), py::arg("positions"))
      .def(
          "block_ids",
          [](Sequence& self) {
            std::vector<uintptr_t> ids;
            for (const KvPool::Block* block : self.block_list()) ids.push_back(reinterpret_cast<uintptr_t>(block));
            return ids;
          },
          NoGil());
}

}  // namespace qwen3cpu
