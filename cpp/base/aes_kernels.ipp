// AES-CTR over Lanes, and the rate of AES itself; included once per CPU path, inside the path's namespace.

static void ctr(Block key, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count) {
    Block keys[8] = {key};
    RoundKeys schedule[8];
    expand_keys(keys, schedule);
    std::size_t done = 0;
    for (; done + 2 * group_size <= count; done += 2 * group_size) {
        Lanes x = Lanes::count(first + done, high), y = Lanes::count(first + done + group_size, high);
        aes_pair(x, schedule[0], y, schedule[0]);
        x.store(out + done);
        y.store(out + done + group_size);
    }
    while (done < count) {
        const std::size_t part = count - done < group_size ? count - done : group_size;
        Lanes x = Lanes::count(first + done, high);
        aes(x, schedule[0]);
        Block tail[group_size];
        x.store(tail);
        std::memcpy(static_cast<void*>(out + done), tail, part * sizeof(Block));
        done += part;
    }
    wipe(schedule, sizeof schedule);
    wipe(keys, sizeof keys);
}

static Block chains(Block key, std::size_t calls) {
    Block keys[8] = {key};
    RoundKeys schedule[8];
    expand_keys(keys, schedule);
    Lanes x = Lanes::count(0, 0), y = Lanes::count(group_size, 0);
    for (std::size_t i = 0; i < calls; ++i) aes_pair(x, schedule[0], y, schedule[0]);
    Block ends[group_size];
    (x ^ y).store(ends);
    Block sum{0, 0};
    for (const Block& end : ends) sum = {sum.lo ^ end.lo, sum.hi ^ end.hi};
    return sum;
}
