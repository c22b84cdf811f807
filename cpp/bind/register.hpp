// One function per C++ folder, called by module.cpp.
#pragma once

#include <nanobind/nanobind.h>

namespace deepreduce::bind {

void register_ring(nanobind::module_& m);

}  // namespace deepreduce::bind
