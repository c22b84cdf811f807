// The generator: its seed and its stream are secret.
#include "base/aes.hpp"
#include "checks.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {

void check_base() {
    const auto seed = secret<Seed>();
    for (std::size_t count : {1, 15, 32, 100}) {
        std::vector<Block> stream(count);
        aes_ctr(seed, 7, 3, stream.data(), count);
        expect_secrets(stream, "aes_ctr");
    }
}

}  // namespace deepreduce::constant_time
