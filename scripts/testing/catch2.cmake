# Catch2::Catch2WithMain, written against version 3. Debian 12 has version 2: there the few v3 headers that the tests
# use forward to its single header.
find_package(Catch2 QUIET)
if(NOT TARGET Catch2::Catch2WithMain)
  include(FetchContent)
  FetchContent_Declare(Catch2 URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.8.1.tar.gz)
  FetchContent_MakeAvailable(Catch2)
elseif(Catch2_VERSION VERSION_LESS 3)
  set(catch2_v3 "${CMAKE_BINARY_DIR}/catch2_v3")
  foreach(header catch_test_macros catch_template_test_macros catch_approx catch_all
      generators/catch_generators generators/catch_generators_all generators/catch_generators_range
      matchers/catch_matchers matchers/catch_matchers_all matchers/catch_matchers_floating_point)
    file(CONFIGURE OUTPUT "${catch2_v3}/catch2/${header}.hpp" CONTENT "#pragma once\n#include <catch2/catch.hpp>\n")
  endforeach()
  target_include_directories(Catch2::Catch2WithMain INTERFACE "${catch2_v3}")
endif()
