// Numbers for the distinct strings of a column.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "matfac/parallel.hpp"

namespace matfac {

// n strings, one after the other: string i is bytes[bounds[i]] to bytes[bounds[i + 1]].
struct StringsView {
    std::int64_t n;
    const std::int64_t* bounds;
    const char* bytes;

    std::string_view operator[](std::int64_t i) const {
        return {bytes + bounds[i], static_cast<std::size_t>(bounds[i + 1] - bounds[i])};
    }
};

// Writes each string's number, in the order in which they first occur; returns where they do.
// Throws std::length_error where there are more than 32 bits can number.
std::vector<std::int64_t> number_strings(const StringsView& strings, std::int32_t* numbers,
                                         Control& control);

}  // namespace matfac
