// One file check_<area>.cpp per folder of the core, one function here for each. A check poisons the secrets of every
// kernel of its area, calls it, and expects the results to be secret.
#pragma once

namespace deepreduce::constant_time {

void check_base();
void check_gc();
void check_he();
void check_ot();
void check_ring();

// What the tools must catch: run by the test to see that they do.
void planted_branch();
void planted_index();
void planted_vector_index();  // an AVX-512 or AVX2 gather; an ordinary index where the path has neither
void planted_lost_secret();
void planted_nothing();  // secrets in arithmetic only: must pass

}  // namespace deepreduce::constant_time
