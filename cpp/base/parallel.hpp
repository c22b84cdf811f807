// Splits independent work over threads: no queues, no shared state, the caller works too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace deepreduce {

// Calls work(first, last) on disjoint ranges that cover [0, count), on at most `threads` threads. An exception thrown by
// any part is thrown again here, after all parts have ended.
template <class Work>
void parallel_for(std::size_t count, unsigned threads, Work&& work) {
    const std::size_t parts = std::min<std::size_t>(std::max(1u, threads), count);
    if (parts <= 1) {
        if (count) work(std::size_t{0}, count);
        return;
    }
    std::exception_ptr failure;
    std::mutex guard;
    const auto run = [&](std::size_t part) {
        try {
            work(count * part / parts, count * (part + 1) / parts);
        } catch (...) {
            const std::lock_guard lock(guard);
            failure = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> others;  // joined at the end of the block, also when one cannot be started
        others.reserve(parts - 1);
        for (std::size_t part = 1; part < parts; ++part) others.emplace_back(run, part);
        run(0);
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace deepreduce
