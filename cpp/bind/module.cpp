// The Python module deepreduce._core: one function per C++ folder registers what the folder offers.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/cpu.hpp"
#include "bind/register.hpp"

namespace nb = nanobind;

namespace deepreduce::bind {

static void register_cpu(nb::module_& m) {
    m.def("cpu_paths", [] {
        std::vector<std::string> names;
        for (auto path : cpu::available()) names.emplace_back(cpu::name(path));
        return names;
    }, "Kernel paths that this CPU can run, slowest first.");
    m.def("cpu_path", [] { return std::string(cpu::name(cpu::current())); }, "The kernel path in use.");
    m.def("select_cpu_path", [](const std::string& name) { cpu::select(cpu::parse(name)); }, nb::arg("name"),
          "Use one kernel path from now on (ValueError where the CPU lacks it).");
}

}  // namespace deepreduce::bind

NB_MODULE(_core, m) {
    // Sessions end in threads that Python may abandon at exit; what they hold is no leak.
    nb::set_leak_warnings(false);
    m.doc() = "The compiled half of deepreduce: bytes in, bytes out, no sockets.";
    deepreduce::bind::register_cpu(m);
    deepreduce::bind::register_base(m);
    deepreduce::bind::register_ot(m);
    deepreduce::bind::register_comparison(m);
    deepreduce::bind::register_gc(m);
    deepreduce::bind::register_he(m);
    deepreduce::bind::register_ring(m);
}
