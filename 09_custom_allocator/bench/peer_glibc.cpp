// The C library's malloc: what a program has when it does nothing. The tasks are in peer_tasks.hpp.
#include <cstdlib>

#include "peer_tasks.hpp"

int main() { return peer::serve_functions<std::malloc, std::free>(); }
