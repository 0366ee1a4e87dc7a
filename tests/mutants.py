"""What tests/mutations.py breaks of the solvers (mutants_*.py have the rest): a line of the
sources, the part in «» and what replaces it.

Native parts are expressions, so that one build can hold all of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One break, and the tests of which one has to fail."""

    name: str
    file: str
    line: str
    new: str
    tests: str


ROWS, DUAL, DESCENT = (f"cpp/src/simd/{name}.inl" for name in ("rows", "dual", "descent"))
SHORT, CG = "cpp/src/simd/short_rows.inl", "cpp/src/simd/cg.inl"
SGD, PAIRWISE, CHOLESKY = (f"cpp/src/simd/{name}.inl" for name in ("sgd", "pairwise", "cholesky"))
ALS, GRAM, EVALUATE = (f"cpp/src/{name}.cpp" for name in ("als", "gram", "evaluate"))
TERMS, PAIRS, STARTS = (
    "cpp/src/simd/terms.inl",
    "cpp/src/pair_table.cpp",
    "cpp/src/random_table.cpp",
)
NEGATIVES, BANDS = "cpp/include/matfac/negatives.hpp", "cpp/src/banded_cg.hpp"
SWEEP, STRATA = "cpp/src/row_sweep.hpp", "cpp/include/matfac/sgd.hpp"
GEMM, TERMS, SIDE = (f"cpp/src/simd/{name}.inl" for name in ("gemm", "terms", "side_by_side"))
EACH, PASSES = "cpp/src/sweep_rows.hpp", "cpp/src/passes.cpp"

SOLVERS = (
    Mutant(
        "cg step", CG, "const T alpha = «s.rz / curvature»;", "s.rz / curvature / 2", "half_sweep"
    ),
    Mutant("cg direction", CG, "const T beta = «next / s.rz»;", "T(0)", "half_sweep"),
    Mutant("cg relaxation", CG, "go = splat(«relaxation * alpha»);", "alpha", "half_sweep"),
    Mutant(
        "cg prior",
        CG,
        "store<T>(v.r + j, load(v.r + j) + «splat(p.ridge) * load(p.prior + j)»);",
        "V<T>{}",
        "feature_map features",
    ),
    Mutant(
        "exact: right side", ROWS, "++j) right[j] = «moments[j]»;", "moments[j] / 2", "half_sweep"
    ),
    Mutant("exact: weights", ROWS, "roots[i] = «root(p.c[t + i])»;", "p.c[t + i]", "half_sweep"),
    Mutant(
        "exact: halves",
        GEMM,
        "plus_product<INTO>(half[i], «ai - Part<T, H>{}», bh);",
        "Part<T, H>{}",
        "half_sweep",
    ),
    Mutant("exact: bias", ROWS, "right[j] -= «b * x[j]»;", "T(0)", "side_by_side"),
    Mutant(
        "exact: pivots",
        CHOLESKY,
        "scale = «root(inverses[i])» - zero;",
        "inverses[i]",
        "half_sweep",
    ),
    Mutant("exact: second pivot", CHOLESKY, "minor = «p * q - f * f»;", "p * q", "half_sweep"),
    Mutant(
        "exact: unit weights",
        EACH,
        "p.unit = «s.loss == Loss::ratings && e.weights == nullptr»;",
        "true",
        "half_sweep",
    ),
    Mutant("side by side: products", SIDE, "x[a][c] -= «l * y[c]»;", "y[c]", "side_by_side"),
    Mutant("side by side: bias", SIDE, "z[j] - «b * s[j]»", "V<T>{}", "side_by_side"),
    Mutant("side by side: value", SIDE, "value -= «z[j] * z[j]»;", "z[j]", "side_by_side"),
    Mutant("side by side: lanes", SIDE, "rows[r] = systems[«r < n ? r : 0»];", "0", "side_by_side"),
    Mutant(
        "side by side: left out",
        SIDE,
        "return «pivot > least» ?",
        "pivot == pivot",
        "side_by_side",
    ),
    Mutant("few entries: weights", TERMS, "g[j] = «w * r»;", "r", "short_rows"),
    Mutant("few entries: confidence", TERMS, "c[j] = w * («alpha * r»);", "alpha", "short_rows"),
    Mutant("preconditioner: sample", GEMM, "at = «(r + i) * step»,", "0", "short_rows"),
    Mutant("row's square", SIDE, "square += «z[j] * z[j]»;", "z[j]", "side_by_side half_sweep"),
    Mutant("descent: start", SWEEP, "p.starts = «!s_.descends()»;", "true", "descent"),
    Mutant("cg rows", ROWS, "(c < KEPT ? «kept[c][i]» :", "kept[0][i]", "half_sweep"),
    Mutant("exact: rounding", ROWS, "diagonal = «right[j] < least» ? T(0)", "false", "numerics"),
    Mutant("side by side: rounding", SIDE, "set(j, «own < least» ?", "own < own", "numerics"),
    Mutant("short rows", DUAL, "half[i] = «1 / root(half[i])»;", "1 / half[i]", "half_sweep"),
    Mutant("lanes: factor", SHORT, "pivot -= «l * t»;", "t", "short_rows"),
    Mutant("lanes: ridge", SHORT, "r > 0 && «p[r].ridge == p[r - 1].ridge»", "true", "short_rows"),
    Mutant("lanes: relaxation", SHORT, "from + «splat(relaxation) * way»", "way", "short_rows"),
    Mutant("lanes: value", SHORT, "answer.value += «past * past»", "past", "short_rows"),
    Mutant(
        "lanes: rounding",
        SHORT,
        "most[r] < «kMostKernel<T>»;",
        "kMostKernel<T> * 1e8",
        "short_rows",
    ),
    Mutant("basis stays", GRAM, "(!(off <= «kNearly» *", "1e9", "short_rows"),
    Mutant("faint entries", EACH, "p.faint |= «c[j] < kFaint<T> * g[j]»;", "false", "short_rows"),
    Mutant("cg rounding", CG, "static_cast<T>(«p.n + k»);", "0", "numerics"),
    Mutant(
        "basis given",
        ALS,
        "static_cast<T>(«std::max<std::int64_t>(1, basis.n_rows)»)",
        "1",
        "fold_in",
    ),
    Mutant(
        "mean without weights",
        GRAM,
        "loosely ? «static_cast<double>((table.n_rows + step - 1) / step)» : 1;",
        "1.0",
        "fold_in",
    ),
    Mutant(
        "indices of 64 bits",
        PASSES,
        "bits |= «static_cast<std::uint64_t>(from[i])»;",
        "0",
        "passes",
    ),
    Mutant(
        "long rows together",
        BANDS,
        "to = std::min(«to», p.n);",
        "to > 8 ? to - 8 : to",
        "half_sweep",
    ),
    Mutant("giant rows", SWEEP, "works[j] += «works[piece * size + j]»;", "T(0)", "half_sweep"),
    Mutant("full rows: pairs", PAIRS, "*product++ = y[a] * «y[b]»;", "y[a]", "lowrank"),
    Mutant(
        "full rows: places", PAIRS, "«a * fixed_.stride + b»", "b * fixed_.stride + a", "lowrank"
    ),
    Mutant(
        "full rows: ends",
        SWEEP,
        "pairs.add(c, depth, n, b, «end - b», sums.data());",
        "depth / 2",
        "lowrank",
    ),
    Mutant("starts: signs", STARTS, "nonnegative ? «std::abs(draw)» : draw", "draw", "descent"),
    Mutant("weights", TERMS, "«load(c + j + i)» * load(g + j + i)", "splat(T(1))", "half_sweep"),
    Mutant("implicit: weights", TERMS, "cw + «own * w»", "own", "half_sweep"),
    Mutant(
        "implicit: confidence", TERMS, "w * («alpha * load(g + j + i)»);", "alpha", "half_sweep"
    ),
    Mutant(
        "implicit: shared part",
        GRAM,
        "static_cast<T>(«j < k ? std::max(values[j], 0.0) / total : 0.0»);",
        "0.0",
        "half_sweep",
    ),
    Mutant(
        "exact: prior",
        EACH,
        "moments[j] += «p.ridge * p.prior[j]»;",
        "T(0)",
        "feature_map features",
    ),
    Mutant("descent: lasso", DESCENT, "return «(r - half_lasso) / a»;", "r / a", "descent"),
    Mutant(
        "descent: bound",
        DESCENT,
        "return «!nonnegative && r < -half_lasso»",
        "r < -half_lasso",
        "descent",
    ),
    Mutant(
        "descent: bias",
        DESCENT,
        "*answer.bias = share * («total - dot(cy, x, k)»);",
        "total",
        "descent",
    ),
    Mutant(
        "objective: all cells",
        EVALUATE,
        "sum += «users[i] * items[i]»;",
        "users[i]",
        "half_sweep reference descent estimators",
    ),
    Mutant(
        "objective: ridge",
        ROWS,
        "total += «static_cast<double>(weight[r])» * static_cast<double>(dot(",
        "1.0",
        "half_sweep reference descent estimators",
    ),
    Mutant(
        "features: maps turn",
        ALS,
        "const TableView<T>& table : «sweep.along»)",
        "std::vector<TableView<T>>{}",
        "features",
    ),
    Mutant(
        "features: product",
        ROWS,
        "scale[i] = splat(j + i < n ? «a[j + i]» : T(0));",
        "T(1)",
        "feature_map",
    ),
    Mutant(
        "sgd: factors",
        SGD,
        "x.step(y, keep_x, «rate_u * g», keep_y, rate_i * g);",
        "rate_u * g / 2",
        "sgd",
    ),
    Mutant(
        "sgd: decay", SGD, "const T keep_y = «positive(1 - rate_i * w * i.decay)»;", "T(1)", "sgd"
    ),
    Mutant("sgd: turns", STRATA, "{«turns_[turn]» * bands_ + n % bands_,", "turn", "sgd"),
    Mutant("sgd: strata", STRATA, "items_[«(n + shift_[stratum]) % bands_»]", "n % bands_", "sgd"),
    Mutant("sgd: biases", SGD, "(«g - w * i.decay * i.bias»);", "g", "sgd"),
    Mutant("sgd: step size", SGD, "i.gradient_sum += «g * g»;", "g", "sgd"),
    Mutant("sgd: bound", SGD, "return «v < V<T>{} ? V<T>{} : v»;", "v", "sgd"),
    Mutant(
        "bpr",
        PAIRWISE,
        "step(i, negatives[j], «sigmoid<T>(-margin(i, negatives[j]), softplus)»);",
        "T(0.5)",
        "pairwise",
    ),
    Mutant(
        "warp: margin",
        PAIRWISE,
        "const T violation = «1 - own + score(j)»;",
        "score(j) - own",
        "pairwise",
    ),
    Mutant("warp: rank", PAIRWISE, "const T w = «model.trial_weight[t]»;", "T(1)", "pairwise"),
    Mutant("logistic", PAIRWISE, "s[j] += «offset»;", "T(0)", "pairwise"),
    Mutant("softmax", PAIRWISE, "s[j] = «-s[j] / total»;", "-s[j]", "pairwise"),
    Mutant(
        "ranking: users",
        PAIRWISE,
        "x.set(c, splat(keep) * x.get(c) + «splat(rate) * d»);",
        "splat(rate / 2) * d",
        "pairwise",
    ),
    Mutant(
        "ranking: items",
        PAIRWISE,
        "step_j = g * «advance(model.sgd.item_rows[j], -g, keep_j)»",
        "T(0)",
        "pairwise",
    ),
    Mutant(
        "ranking: true negatives",
        NEGATIVES,
        "if («!owned.has(item)») return item;",
        "true",
        "pairwise",
    ),
    Mutant(
        "sgd: divergence",
        "src/matfac/_loop.py",
        "self._solver.step_factor *= «SHRINK»",
        "1.0",
        "numerics",
    ),
    Mutant(
        "values: the least",
        "cpp/src/simd/passes.inl",
        "low[i] = «v < low[i]» ? v : low[i];",
        "low[i] < v",
        "passes",
    ),
    Mutant(
        "values: what is not finite",
        "cpp/src/simd/passes.inl",
        "zero += «v - v»;",
        "V<T>{}",
        "passes",
    ),
    Mutant(
        "values: the rest of a row's sum",
        "cpp/src/simd/passes.inl",
        "for (; «at < n»; ++at)\n        total",
        "false",
        "passes",
    ),
    Mutant(
        "ctrl-c: brief epochs",
        "src/matfac/_loop.py",
        "with «held_back() if self._brief else nullcontext()»:",
        "nullcontext()",
        "loop",
    ),
    Mutant(
        "ctrl-c: half an epoch is no model",
        "src/matfac/_loop.py",
        "if not self.history or «(self._changing and not self._kept)»:",
        "False",
        "loop",
    ),
    Mutant(
        "sgd: epochs since the copy",
        "src/matfac/_loop.py",
        "self._solver.step_factor = «used»",
        "step_factor",
        "loop",
    ),
    Mutant(
        "early stopping",
        "src/matfac/_loop.py",
        "if «value > self._value»:",
        "value < self._value",
        "estimators",
    ),
    Mutant(
        "side features",
        "src/matfac/_features.py",
        "normal[np.diag_indices(p)] += «self.penalty»",
        "0",
        "feature_map",
    ),
    Mutant(
        "dense: start",
        "src/matfac/_dense_als.py",
        "root = «np.sqrt(found.singular)».astype(filled.dtype)",
        "found.singular",
        "lowrank compression",
    ),
    Mutant(
        "dense: codes",
        "src/matfac/lowrank.py",
        "inverse = («vectors[:, keep] / values[keep]») @ vectors[:, keep].T",
        "vectors[:, keep]",
        "lowrank",
    ),
    Mutant(
        "svd", "src/matfac/_truncated.py", "singular = «np.sqrt(values)»", "values", "compression"
    ),
    Mutant(
        "equal ridges",
        "src/matfac/_als.py",
        "(scale, «1 / scale»)",
        "1",
        "relaxation",
    ),
    Mutant(
        "weights of columns", "src/matfac/_metric.py", "scaled *= «self.column»", "1", "compression"
    ),
    Mutant(
        "weights of inputs",
        "src/matfac/_metric.py",
        "vectors * «np.sqrt»(np.maximum(values, 0)",
        "np.square",
        "compression",
    ),
    Mutant(
        "weighted svd",
        "src/matfac/_metric.py",
        "left, onto = left / self.row[:, None], «onto * self.row[:, None]»",
        "onto",
        "compression",
    ),
    Mutant(
        "partial_fit: new rows",
        "src/matfac/_growth.py",
        "longer[: len(array)] = «array»",
        "0",
        "partial_fit",
    ),
    Mutant(
        "explain",
        "src/matfac/_explain.py",
        "contributions = «linear» * (own @",
        "curvature",
        "explain",
    ),
    Mutant(
        "time decay",
        "src/matfac/weighting.py",
        "weights = np.exp2(«-age / half_life»)",
        "-age",
        "calibration",
    ),
    Mutant(
        "calibration",
        "src/matfac/calibration.py",
        "weight = np.where(label, 1.0, «n_other / len(other)»)",
        "1.0",
        "calibration",
    ),
)
