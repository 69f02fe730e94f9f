// tenfold/par.hpp: parallel pipelines over ranges. This header brings all of it.
//
//     double heating = tenfold::par(fahrenheit)
//                    | tenfold::map([](double f) { return (f - 32) * 5 / 9; })
//                    | tenfold::filter([](double c) { return c < 18; })
//                    | tenfold::map([](double c) { return 18 - c; })
//                    | tenfold::sum();
//
// Why: four loops with three temporary arrays read and write memory seven times; this reads it once. The stages are lazy (nothing
// runs before the sink), fused (one loop, compiled as one), ordered, and give the same bits at every thread count. The first error
// in index order cancels the rest and carries its index (par_error.hpp). Searches stop early. Any executor runs them
// (par_executor.hpp); how work is cut up and shared out is in par_run.hpp.
//
// stages   map filter filter_map flat_map inspect enumerate zip zip_with chain windows chunks        (par_stages.hpp, par_filter.hpp)
// sinks    into collect gather for_each fold count find_first find_value any all none                (par_sinks.hpp)
//          sum min max sum_min_max reduce (par_reduce.hpp)   inclusive_scan exclusive_scan (par_scan.hpp)   partition group_by (par_group.hpp)
// more     moving_average transpose (par_window.hpp)
//
// Copy: par*.hpp.   #include <tenfold/par.hpp>   C++20, -fopenmp; -ffp-contract=off where the same bits matter across
// machines; -fno-trapping-math lets GCC compare several numbers at once behind a filter (par_sieve.hpp).
#pragma once

#include "tenfold/par_error.hpp"
#include "tenfold/par_executor.hpp"
#include "tenfold/par_filter.hpp"
#include "tenfold/par_group.hpp"
#include "tenfold/par_items.hpp"
#include "tenfold/par_lanes.hpp"
#include "tenfold/par_reduce.hpp"
#include "tenfold/par_run.hpp"
#include "tenfold/par_scan.hpp"
#include "tenfold/par_scan_whole.hpp"
#include "tenfold/par_sieve.hpp"
#include "tenfold/par_sinks.hpp"
#include "tenfold/par_source.hpp"
#include "tenfold/par_stages.hpp"
#include "tenfold/par_stream.hpp"
#include "tenfold/par_window.hpp"
