// The homomorphic phase in Python: shapes, lengths and ranges are checked here, so that the core may trust them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>

#include "bind/arrays.hpp"
#include "he/client.hpp"
#include "he/server.hpp"
#include "he/weights.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::bind {

using he::i64;
using he::u64;

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

// Any object with contiguous bytes: bytes, bytearray, memoryview.
class Buffer {
public:
    explicit Buffer(nb::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE)) throw nb::python_error();
    }
    ~Buffer() { PyBuffer_Release(&view_); }
    Buffer(const Buffer&) = delete;
    const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(view_.buf); }
    std::size_t size() const { return static_cast<std::size_t>(view_.len); }
    void expect(std::size_t bytes, const char* what) const {
        if (size() != bytes)
            refuse(std::string(what) + " has " + std::to_string(size()) + " bytes, expected " + std::to_string(bytes));
    }

private:
    Py_buffer view_;
};

// New bytes that `fill(pointer)` writes without the interpreter's lock.
template <class Fill>
nb::bytes make_bytes(std::size_t size, Fill fill) {
    auto result = nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (!result.is_valid()) throw nb::python_error();
    auto* out = reinterpret_cast<std::uint8_t*>(PyBytes_AsString(result.ptr()));
    const nb::gil_scoped_release release;
    fill(out);
    return result;
}

// positions int32 [k] cut by offsets int64 [responses + 1] into responses.
struct Cuts {
    const std::int32_t* positions;
    const i64* offsets;
    std::size_t responses, values;

    Cuts(const In<std::int32_t>& p, const In<i64>& o, const he::Parameters& ps)
        : positions(p.data()), offsets(o.data()) {
        if (p.ndim() != 1 || o.ndim() != 1 || o.size() < 1)
            refuse("positions and offsets must be one-dimensional, offsets not empty");
        responses = o.size() - 1;
        values = p.size();
        if (offsets[0] != 0 || offsets[responses] != static_cast<i64>(values)) {
            refuse("offsets run from " + std::to_string(offsets[0]) + " to " + std::to_string(offsets[responses]) +
                   ", must run from 0 to len(positions) = " + std::to_string(values));
        }
        for (std::size_t i = 0; i < responses; ++i) {
            const i64 useful = offsets[i + 1] - offsets[i];
            if (useful < 0 || useful > static_cast<i64>(ps.degree)) {
                refuse("response " + std::to_string(i) + " has " + std::to_string(useful) +
                       " positions, must be 0 to N = " + std::to_string(ps.degree));
            }
        }
        for (std::size_t i = 0; i < values; ++i) {
            if (positions[i] < 0 || positions[i] >= static_cast<std::int32_t>(ps.degree)) {
                refuse("position " + std::to_string(positions[i]) +
                       " must be at least 0 and below N = " + std::to_string(ps.degree));
            }
        }
    }
    std::size_t bytes(const he::Parameters& ps) const {
        std::size_t total = 0;
        for (std::size_t i = 0; i < responses; ++i)
            total += ps.response_bytes(static_cast<std::size_t>(offsets[i + 1] - offsets[i]));
        return total;
    }
};

nb::dict parameters(unsigned ring_bits) {
    const auto ps = he::parameters(ring_bits);
    nb::list primes;
    for (std::size_t i = 0; i < ps->primes; ++i) primes.append(lattice::primes[i]);
    nb::dict d;
    d["name"] = ps->set.name;
    d["ring_bits"] = ring_bits;
    d["degree"] = ps->degree;
    d["primes"] = primes;
    d["prime_bits"] = lattice::prime_bits;
    d["response_primes"] = ps->kept;
    d["secret"] = "uniform ternary";
    d["error_sd"] = lattice::error_sd;
    d["flood_sd_log2"] = std::log2(lattice::flood_sd(ps->set));
    d["max_log2_norm"] = ps->set.max_log2_norm;
    d["log2_distance"] = lattice::log2_distance(ps->set, ps->set.max_log2_norm);
    d["classical_bits"] = ps->set.classical_bits;
    d["block_size"] = ps->set.block_size;
    d["upload_bytes"] = ps->upload_bytes();
    d["public_key_bytes"] = ps->public_key_bytes();
    d["packing_key_bytes"] = ps->packing_key_bytes();
    d["response_c1_bits"] = ps->c1_width;
    d["response_c0_bits"] = ps->c0_width;
    return d;
}

nb::bytes encrypt(const he::Client& client, const In<u64>& polynomials, unsigned threads) {
    const he::Parameters& ps = client.parameters();
    if (polynomials.ndim() != 2 || polynomials.shape(1) != ps.degree)
        refuse("polynomials must be [n, " + std::to_string(ps.degree) + "]");
    const std::size_t count = polynomials.shape(0);
    return make_bytes(count * ps.upload_bytes(),
                      [&](std::uint8_t* out) { client.encrypt(out, polynomials.data(), count, threads); });
}

// What the client reads out of responses, by `take` (he::Client::decrypt or ::noise): one number per position.
template <class T, class Take>
Result<T> opened(const he::Client& client, nb::handle responses, const In<std::int32_t>& positions, const In<i64>& offsets,
                 unsigned threads, Take take) {
    const Cuts cuts(positions, offsets, client.parameters());
    const Buffer data(responses);
    data.expect(cuts.bytes(client.parameters()), "responses");
    auto values = make<T>({cuts.values});
    {
        const nb::gil_scoped_release release;
        (client.*take)(values.data(), data.data(), cuts.positions, cuts.offsets, cuts.responses, threads);
    }
    return values;
}

Result<u64> decrypt_many(const he::Client& client, nb::handle responses, const In<std::int32_t>& positions,
                         const In<i64>& offsets, unsigned threads) {
    return opened<u64>(client, responses, positions, offsets, threads, &he::Client::decrypt);
}

Result<u64> decrypt(const he::Client& client, nb::handle response, const In<std::int32_t>& positions) {
    const i64 offsets[2] = {0, static_cast<i64>(positions.size())};
    return decrypt_many(client, response, positions, In<i64>(offsets, {2}, nb::handle()), 1);
}

Result<double> noise(const he::Client& client, nb::handle responses, const In<std::int32_t>& positions,
                     const In<i64>& offsets, unsigned threads) {
    return opened<double>(client, responses, positions, offsets, threads, &he::Client::noise);
}

void new_weights(he::Weights* self, unsigned ring_bits, const In<std::int16_t>& w, std::size_t groups,
                 std::size_t area_h, std::size_t area_w, std::size_t block_channels, std::size_t block_outputs,
                 std::size_t packed, unsigned threads, bool cached) {
    if (w.ndim() != 4)
        refuse("weights must be [outputs, inputs / groups, kernel_h, kernel_w], not " + std::to_string(w.ndim()) +
               "-dimensional");
    if (groups > (1u << 20)) refuse("groups is " + std::to_string(groups) + ", must be at most 2^20");
    const he::Shape shape = {w.shape(0), w.shape(1) * groups, groups,        w.shape(2), w.shape(3), area_h,
                             area_w,     block_channels,      block_outputs, packed};
    const nb::gil_scoped_release release;
    new (self) he::Weights(ring_bits, shape, w.data(), threads, cached);
}

nb::bytes packing_keys(const he::Client& client, const std::vector<unsigned>& levels) {
    const he::Parameters& ps = client.parameters();
    for (unsigned level : levels) {
        if (level > 63 || (ps.degree >> level) < 2)
            refuse("level " + std::to_string(level) + " must be below log2 N, N = " + std::to_string(ps.degree));
    }
    return make_bytes(levels.size() * ps.packing_key_bytes(),
                      [&](std::uint8_t* out) { client.packing_keys(out, levels); });
}

void new_server(he::Server* self, unsigned ring_bits, nb::handle keys, const std::vector<unsigned>& levels) {
    const Buffer data(keys);
    const auto ps = he::parameters(ring_bits);
    data.expect(ps->public_key_bytes() + levels.size() * ps->packing_key_bytes(), "keys");
    const nb::gil_scoped_release release;
    new (self) he::Server(ring_bits, data.data(), levels);
}

void new_upload(he::Upload* self, unsigned ring_bits, std::size_t blocks) {
    if (blocks < 1 || blocks > ring::max_dot_terms - 1)
        refuse("blocks is " + std::to_string(blocks) + ", must be 1 to " + std::to_string(ring::max_dot_terms - 1));
    const nb::gil_scoped_release release;
    new (self) he::Upload(ring_bits, blocks);
}

void add(he::Upload& upload, nb::handle uploads, unsigned threads) {
    const Buffer data(uploads);
    const std::size_t each = upload.parameters().upload_bytes();
    if (data.size() % each)
        refuse("uploads have " + std::to_string(data.size()) + " bytes, must be a multiple of " + std::to_string(each));
    const nb::gil_scoped_release release;
    upload.add(data.data(), data.size() / each, threads);
}

nb::bytes respond(const he::Server& server, const he::Weights& weights, const he::Upload& upload,
                  std::size_t first, std::size_t count, const In<std::int32_t>& positions,
                  const In<i64>& offsets, const In<u64>& masks, unsigned threads) {
    const he::Parameters& ps = server.parameters();
    if (weights.parameters().ring_bits != ps.ring_bits || upload.parameters().ring_bits != ps.ring_bits) {
        refuse("server, weights and upload have rings of " + std::to_string(ps.ring_bits) + ", " +
               std::to_string(weights.parameters().ring_bits) + " and " +
               std::to_string(upload.parameters().ring_bits) + " bits, must be the same");
    }
    const std::size_t responses = weights.shape().responses();
    if (first > responses || count > responses - first) {
        refuse("responses " + std::to_string(first) + " + " + std::to_string(count) + " must be within the " +
               std::to_string(responses) + " of the weights");
    }
    if (!server.can_pack(weights)) refuse("the client has sent no packing keys for these weights");
    if (upload.blocks() != weights.shape().blocks_in()) {
        refuse("the upload has " + std::to_string(upload.blocks()) + " blocks, the weights " +
               std::to_string(weights.shape().blocks_in()));
    }
    const Cuts cuts(positions, offsets, ps);
    if (cuts.responses != count) refuse("offsets must have count + 1 = " + std::to_string(count + 1) + " entries");
    if (masks.ndim() != 1 || masks.size() != cuts.values)
        refuse("masks must be [" + std::to_string(cuts.values) + "] like positions");
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t r = first + i, packed = weights.shape().packed;
        const std::size_t b = std::min((r + 1) * packed, weights.shape().blocks_out()) - 1;  // groups are in order
        const std::size_t needed = weights.first_input(b) + weights.inputs(b);
        if (upload.received() < needed) {
            refuse("response " + std::to_string(r) + " needs " + std::to_string(needed) + " uploads, " +
                   std::to_string(upload.received()) + " have arrived");
        }
        for (i64 k = cuts.offsets[i]; k < cuts.offsets[i + 1]; ++k) {
            const auto position = static_cast<std::size_t>(cuts.positions[k]);
            if (!weights.is_output(r, position) ||
                (k > cuts.offsets[i] && cuts.positions[k] <= cuts.positions[k - 1])) {
                refuse("position " + std::to_string(position) + " of response " + std::to_string(r) +
                       " is not an output, or not above the one before; other coefficients would leak weights");
            }
        }
    }
    return make_bytes(cuts.bytes(ps), [&](std::uint8_t* out) {
        server.respond(out, weights, upload, first, count, cuts.positions, cuts.offsets, masks.data(), threads);
    });
}

// A product in Z_p[X] / (X^N + 1), for comparisons with other libraries.
Result<u64> negacyclic_product(u64 prime, const In<u64>& a, const In<u64>& b) {
    const std::size_t n = a.size();
    if (a.ndim() != 1 || b.ndim() != 1 || b.size() != n || n < 64 || n > 32768 || (n & (n - 1)))
        refuse("a and b must be of one length N, a power of two from 64 to 32768");
    if (std::find(lattice::primes.begin(), lattice::primes.end(), prime) == lattice::primes.end() ||
        (prime - 1) % (2 * n)) {
        refuse("prime " + std::to_string(prime) + " must be one of he_parameters()['primes'] and 1 mod 2N");
    }
    auto product = make<u64>({n});
    const nb::gil_scoped_release release;
    const ring::Ntt ntt(n, prime);
    const auto& poly = ring::polynomial_kernels();
    AlignedVector<u64> other(n);
    for (std::size_t i = 0; i < n; ++i) {
        product.data()[i] = a.data()[i] % prime;
        other[i] = b.data()[i] % prime;
    }
    poly.forward(product.data(), ntt);
    poly.forward(other.data(), ntt);
    poly.scale(other.data(), ntt.prime.r, n, ntt.prime);
    poly.multiply(product.data(), product.data(), other.data(), n, ntt.prime);
    poly.inverse(product.data(), ntt);
    return product;
}

}  // namespace

void register_he(nb::module_& m) {
    m.def("he_parameters", &parameters, nb::arg("ring_bits"),
          nb::sig("def he_parameters(ring_bits: int) -> dict[str, typing.Any]"),
          "Sizes (bytes), distributions and security figures of the homomorphic parameter set of the ring "
          "Z_2^ring_bits.");
    m.def(
        "he_response_bytes",
        [](unsigned ring_bits, std::size_t useful) {
            const auto ps = he::parameters(ring_bits);
            if (useful > ps->degree)
                refuse("useful is " + std::to_string(useful) + ", must be at most N = " + std::to_string(ps->degree));
            return ps->response_bytes(useful);
        },
        nb::arg("ring_bits"), nb::arg("useful"), "Bytes of one response that carries `useful` coefficients.");
    m.def("he_check_norm", &he::check_norm, nb::arg("ring_bits"), nb::arg("norm_squared"), nb::arg("outputs"),
          "ValueError if B = sum over all outputs of one inference of ||w_j||^2 is too large for the flood to hide.");
    m.def("he_negacyclic_product", &negacyclic_product, nb::arg("prime"), nb::arg("a"), nb::arg("b"),
          "a * b modulo X^N + 1 and the prime, uint64 [N] each, by the transform of the current CPU path.");

    nb::class_<he::Client>(m, "HeClient", "The client of the homomorphic phase, with fresh keys; wiped when it goes.")
        .def(nb::init<unsigned>(), nb::arg("ring_bits"))
        .def(
            "public_key", [](const he::Client& c) { return nb::bytes(c.public_key().data(), c.public_key().size()); },
            "The message that opens a session: bytes [public_key_bytes].")
        .def("packing_keys", &packing_keys, nb::arg("levels"),
             "What merges at odd multiples of 2^level coefficients need: bytes [len(levels) * packing_key_bytes]. Fresh "
             "randomness every time.")
        .def("encrypt", &encrypt, nb::arg("polynomials"), nb::arg("threads") = 1,
             "polynomials: uint64 [n, N], modulo 2^l. Returns n uploads, bytes [n * upload_bytes].")
        .def("decrypt", &decrypt, nb::arg("response"), nb::arg("positions"),
             "One response with the coefficients positions (int32 [k]). Returns uint64 [k], modulo 2^l.")
        .def("decrypt_many", &decrypt_many, nb::arg("responses"), nb::arg("positions"), nb::arg("offsets"),
             nb::arg("threads") = 1,
             "Responses one after the other; response i has positions[offsets[i]:offsets[i + 1]] (int32 [k], int64 [n "
             "+ 1]). "
             "Returns uint64 [k], modulo 2^l.")
        .def("noise", &noise, nb::arg("responses"), nb::arg("positions"), nb::arg("offsets"), nb::arg("threads") = 1,
             "The noise of each value as a part of what decryption bears: float64 [k] in [-1, 1].");

    nb::class_<he::Weights>(
        m, "HeWeights",
        "A linear operation's weight polynomials (cpp/he/weights.hpp has the layout).")
        .def("__init__", &new_weights, nb::arg("ring_bits"), nb::arg("w"), nb::arg("groups"), nb::arg("area_h"),
             nb::arg("area_w"), nb::arg("block_channels"), nb::arg("block_outputs"), nb::arg("packed") = 1,
             nb::arg("threads") = 1, nb::arg("cached") = true,
             "w: int16 [outputs, inputs / groups, kernel_h, kernel_w]. cached: evaluations are kept, else computed for "
             "every response. ValueError if it does not fit or its noise could be too large.")
        .def_prop_ro("norm_squared", &he::Weights::norm_squared, "Sum over the outputs of one whole tile of the squared norm of their block's weights.")
        .def_prop_ro("worst_noise", &he::Weights::worst_noise,
                     "Bound of the noise as a part of what decryption bears, below 1.")
        .def_prop_ro("memory_bytes", &he::Weights::memory_bytes)
        .def_prop_ro("blocks_in", [](const he::Weights& w) { return w.shape().blocks_in(); })
        .def_prop_ro("blocks_out", [](const he::Weights& w) { return w.shape().blocks_out(); })
        .def_prop_ro("responses", [](const he::Weights& w) { return w.shape().responses(); });

    nb::class_<he::Upload>(m, "HeUpload",
                           "The uploads of one tile as the server multiplies by them. Add from one thread at a time.")
        .def("__init__", &new_upload, nb::arg("ring_bits"), nb::arg("blocks"))
        .def("add", &add, nb::arg("uploads"), nb::arg("threads") = 1,
             "The next whole uploads, in the order of channel blocks.")
        .def_prop_ro("received", &he::Upload::received)
        .def_prop_ro("blocks", &he::Upload::blocks);

    nb::class_<he::Server>(m, "HeServer", "The server of the homomorphic phase for one client's keys.")
        .def("__init__", &new_server, nb::arg("ring_bits"), nb::arg("keys"),
             nb::arg("levels") = std::vector<unsigned>{},
             "keys: the public key, then the packing keys of these levels.")
        .def("respond", &respond, nb::arg("weights"), nb::arg("upload"), nb::arg("first"), nb::arg("count"),
             nb::arg("positions"), nb::arg("offsets"), nb::arg("masks"), nb::arg("threads") = 1,
             "Responses first to first + count - 1, bytes. Response i carries the outputs at "
             "positions[offsets[i]:offsets[i + 1]] (int32 [k] strictly increasing within a response, int64 [count + "
             "1]) less masks (uint64 [k]), modulo 2^l. Fresh randomness every time.");
}

}  // namespace deepreduce::bind
