// What alternating least squares minimises, but for the ridge.
#pragma once

namespace matfac {

enum class Loss {
    ratings,  // sum over entries of w (r - mean - b_u - b_i - x.y)^2
    ials,     // sum over entries of w r (x.y - 1)^2 + alpha sum over all cells of (x.y)^2
    hu,       // sum over all cells of (x.y)^2 + over entries of w (c (x.y - 1)^2 - (x.y)^2),
              // c = 1 + alpha r
};

}  // namespace matfac
