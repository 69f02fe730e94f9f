// Mistake: a result that lies in an arena is used after reset(). The memory is still there, and somebody else's.
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "tenfold/arena.hpp"

namespace {

std::string_view copy_into(tenfold::arena& scratch, std::string_view text) {
    const std::span<char> copy = scratch.uninitialized_span<char>(text.size());
    text.copy(copy.data(), copy.size());
    return {copy.data(), copy.size()};
}

/// The longest of some words; each is a batch, whose scratch memory is forgotten after it.
template <class Kept>
std::string longest() {
    tenfold::arena scratch;
    Kept best{};
    for (const char* word : {"short", "longest of them", "small", "a"}) {
        const std::string_view here = copy_into(scratch, word);
        if (here.size() > best.size()) best = Kept(here);  // a std::string copies; a std::string_view points into the arena
        scratch.reset();
    }
    return best == "longest of them" ? "done" : "the longest word is '" + std::string(best) + "'";
}

}  // namespace

PYBIND11_MODULE(outlives_the_reset, m) {
    m.def("wrong", longest<std::string_view>);
    m.def("right", longest<std::string>);
}
