// jemalloc, called by its own names, so that nothing depends on the order of linking. The tasks are in peer_tasks.hpp.
#include <jemalloc/jemalloc.h>

#include "peer_tasks.hpp"

namespace {
void* take(std::size_t bytes) { return mallocx(bytes, 0); }
void give(void* block) { dallocx(block, 0); }
}  // namespace

int main() { return peer::serve_functions<take, give>(); }
