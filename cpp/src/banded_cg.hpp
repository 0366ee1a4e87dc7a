// Conjugate gradient of many long rows together, a band of the fixed table at a time.
//
// A row of more entries than kCgTile gathers its part of the table anew in every pass, from memory
// where no cache holds the table. When a batch of such rows goes through the table together, band by
// band, a band comes from memory once a pass for all of them. A row's own entries keep their order,
// and its answer its bits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "matfac/kernels.hpp"

namespace matfac {

constexpr std::int64_t kBandTiles = 8;  // kCgTiles to a band: fewer give a row too few entries there
constexpr std::size_t kRowsAhead = 2;   // rows between a prefetch and its use

// Entries from `first` on lie where no cache holds them, and the processor does not see them coming.
template <class T>
void prefetch_terms(const RowProblem<T>& p, std::int64_t first) {
    constexpr std::int64_t line = 64 / sizeof(T);
    for (const std::int64_t j : {first, first + line}) {
        __builtin_prefetch(p.index + j);
        __builtin_prefetch(p.c + j);
        __builtin_prefetch(p.g + j);
    }
}

// Solves rows[0..n); false: stopped() said to give up. Any order of a row's entries is right, a
// rising one is fast.
template <class T, class Stopped>
bool solve_in_bands(const KernelTable<T>& kernel, CgRow<T>* rows, std::int64_t n, int steps,
                    T tolerance, T relaxation, Stopped stopped) {
    const TableView<const T> table = rows[0].problem.table;
    const std::int64_t band = kBandTiles * kCgTile(table.stride);
    std::vector<std::int64_t> at;
    std::vector<CgRow<T>*> active;
    for (std::int64_t i = 0; i < n; ++i) {
        kernel.row_cg_begin(rows[i]);
        active.push_back(rows + i);
    }
    while (!active.empty()) {
        at.assign(active.size(), 0);
        for (std::int64_t end = band; end < table.n_rows + band; end += band) {
            if (stopped()) return false;
            for (std::size_t i = 0; i < active.size(); ++i) {
                const std::size_t next = i + kRowsAhead;
                if (next < active.size()) prefetch_terms(active[next]->problem, at[next]);
                const RowProblem<T>& p = active[i]->problem;
                std::int64_t to = at[i];
                // By whole groups, of which the last may reach into the next band.
                while (to < p.n && p.index[to] < end) to += kMostGroup;
                to = std::min(to, p.n);
                if (to > at[i]) kernel.row_cg_entries(*active[i], at[i], to);
                at[i] = to;
            }
        }
        std::erase_if(active, [&](CgRow<T>* row) {
            return !kernel.row_cg_turn(*row, steps, tolerance, relaxation);
        });
    }
    return true;
}

}  // namespace matfac
