"""Breaks in what reads tables, in what is remembered from call to call, and in hard rows."""

from __future__ import annotations

from mutants import Mutant

STRINGS, READERS, DERIVED = (
    "cpp/src/strings.cpp",
    "src/matfac/_readers.py",
    "src/matfac/_derived.py",
)

READING = (
    Mutant("strings: where", STRINGS, "firsts.push_back(«begin + i»);", "begin", "strings"),
    Mutant(
        "strings: more slots",
        STRINGS,
        "«slots_[at] = {static_cast<std::uint32_t>(again >> 32), number}»;",
        "slots_[at]",
        "strings",
    ),
    Mutant(
        "integers as written",
        READERS,
        "if «np.bincount(codes) @ lengths == written» else",
        "True",
        "readers",
    ),
    Mutant(
        "row of a wrong id",
        "src/matfac/_ids.py",
        "np.argmax(codes == «used[category]»)",
        "category",
        "frames",
    ),
)
REMEMBERED = (
    Mutant(
        "quota of a second",
        "src/matfac/_cores.py",
        "_least_quota(«int(time.monotonic())»)",
        "0",
        "cores",
    ),
    Mutant(
        "directions: scale",
        DERIVED,
        "rows = table / «np.where(largest > 0, largest, 1)»",
        "1",
        "derived",
    ),
    Mutant(
        "directions: rows of zeros",
        DERIVED,
        "rows / «np.where(lengths > 0, lengths, 1)»",
        "lengths",
        "derived",
    ),
)
SWEEP = "cpp/src/row_sweep.hpp"
HARD_ROWS = (
    Mutant("hard rows: alone", SWEEP, "«a.sound» ? a : solve_by_steps", "true", "ill_conditioned"),
    Mutant(
        "hard rows: side by side",
        "cpp/src/simd/side_by_side.inl",
        "a.sound = «missed[r] == 0»;",
        "true",
        "ill_conditioned",
    ),
    Mutant("hard rows: full", SWEEP, "if («!a.sound») a = solve", "false", "ill_conditioned"),
    Mutant("hard rows: squares", SWEEP, "squares[i] += «c[j] * y * y»;", "0", "numerics"),
)
