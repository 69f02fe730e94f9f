// tenfold/simd-targets-inl.hpp: the list of kernel families that simd.hpp compiles once per instruction set.
// No include guard: foreach_target.h includes this file again and again, and each family guards itself.
#if __has_include("tenfold/arrays-inl.hpp")
#include "tenfold/arrays-inl.hpp"
#endif
#if __has_include("tenfold/sort-inl.hpp")
#include "tenfold/sort-inl.hpp"
#endif
#if __has_include("tenfold/matrix-inl.hpp")
#include "tenfold/matrix-inl.hpp"
#endif
#if __has_include("tenfold/mandelbrot-inl.hpp")
#include "tenfold/mandelbrot-inl.hpp"
#endif
