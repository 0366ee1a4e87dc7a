"""Breaks in what reads tables, and in what is remembered from call to call."""

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
