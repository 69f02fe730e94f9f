// mimalloc, called by its own names. The tasks are in peer_tasks.hpp.
#include <mimalloc.h>

#include "peer_tasks.hpp"

namespace {
void* take(std::size_t bytes) { return mi_malloc(bytes); }
void give(void* block) { mi_free(block); }
}  // namespace

int main() { return peer::serve_functions<take, give>(); }
