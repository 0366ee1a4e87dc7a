"""What tests/mutations.py breaks: a line of the sources, the part in «» and what replaces it.

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
SGD, PAIRWISE, CHOLESKY = (f"cpp/src/simd/{name}.inl" for name in ("sgd", "pairwise", "cholesky"))
ALS, GRAM, EVALUATE = (f"cpp/src/{name}.cpp" for name in ("als", "gram", "evaluate"))
METRICS, TOPK = "cpp/src/metrics.cpp", "cpp/src/topk.cpp"
PANELS, NEGATIVES = "cpp/include/matfac/panels.hpp", "cpp/include/matfac/negatives.hpp"

SOLVERS = (
    Mutant(
        "cg step", ROWS, "const T alpha = «rz / curvature»;", "rz / curvature / 2", "half_sweep"
    ),
    Mutant("cg direction", ROWS, "const T beta = «next / rz»;", "T(0)", "half_sweep"),
    Mutant("cg relaxation", ROWS, "go = splat(«relaxation * alpha»);", "alpha", "half_sweep"),
    Mutant(
        "cg prior",
        ROWS,
        "store<T>(r + j, load(r + j) + «splat(p.ridge) * load(p.prior + j)»);",
        "V<T>{}",
        "feature_map features",
    ),
    Mutant(
        "exact: right side", ROWS, "++j) right[j] = «moments[j]»;", "moments[j] / 2", "half_sweep"
    ),
    Mutant("exact: weights", ROWS, "roots[i] = «root(cs[i])»;", "cs[i]", "half_sweep"),
    Mutant("exact: bias", ROWS, "right[j] -= «b * x[j]»;", "T(0)", "half_sweep"),
    Mutant(
        "exact: pivots",
        CHOLESKY,
        "pivot > kTiny<T> * original[i] ? «1 / root(pivot)»",
        "1 / pivot",
        "half_sweep",
    ),
    Mutant("short rows", DUAL, "half[i] = «1 / root(half[i])»;", "1 / half[i]", "half_sweep"),
    Mutant("giant rows", ALS, "works[j] += «works[piece * size + j]»;", "T(0)", "half_sweep"),
    Mutant("weights", ALS, "g[j + i] *= «c[j + i]»;", "T(1)", "half_sweep"),
    Mutant("implicit: weights", ALS, "g[j] = c[j] + (hu ? «w» : T(0));", "T(1)", "half_sweep"),
    Mutant("implicit: confidence", ALS, "c[j] = w * («alpha * g[j]»);", "alpha", "half_sweep"),
    Mutant(
        "implicit: shared part",
        GRAM,
        "static_cast<T>(«j < k ? std::max(values[j], 0.0) / total : 0.0»);",
        "0.0",
        "half_sweep",
    ),
    Mutant(
        "exact: prior", ALS, "moments[j] += «p.ridge * p.prior[j]»;", "T(0)", "feature_map features"
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
        EVALUATE,
        "sum += «static_cast<double>(ridge[i]) * norm»;",
        "norm",
        "half_sweep reference descent estimators",
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

FILTERS = (
    Mutant(
        "seen and excluded, few queries",
        TOPK,
        "!excluded[0].holds(item) && «!excluded[1].holds(item)»)",
        "true",
        "topk",
    ),
    Mutant(
        "seen and excluded, panels",
        PANELS,
        "row[at - begin] = «std::numeric_limits<T>::quiet_NaN()»;",
        "row[at - begin]",
        "topk",
    ),
    Mutant(
        "include and candidates", TOPK, "if («positions.of(item) >= 0» && !excluded", "true", "topk"
    ),
    Mutant("include, panels", TOPK, "best[i].offer(«row[at - begin]», item);", "row[0]", "topk"),
    Mutant("bias, few queries", TOPK, "scores[j] += «q.item_bias[index[j]]»;", "T(0)", "topk"),
    Mutant(
        "bias, candidates",
        PANELS,
        "chosen.push_back(«q.item_bias[positions.item(p)]»);",
        "q.item_bias[p]",
        "topk",
    ),
    Mutant("ties", TOPK, "(score == other.score && «id < other.id»);", "id > other.id", "topk"),
    Mutant("padding", TOPK, "ids[i] = i < heap_.size() ? heap_[i].id : «-1»;", "0", "topk"),
    Mutant("only", "src/matfac/_filters.py", "allowed[only] = «True»", "False", "topk"),
    Mutant("never", "src/matfac/_filters.py", "allowed[never] = «False»", "True", "topk"),
    Mutant(
        "masks by ids",
        "src/matfac/_filters.py",
        'at = columns.lookup(names, argument, "ignore")«[indices]»',
        "[indices[::-1]]",
        "topk",
    ),
    Mutant(
        "users of an item",
        "src/matfac/_filters.py",
        "order = np.argsort(«indices[entries]»,",
        "-indices[entries]",
        "topk",
    ),
    Mutant(
        "unknown ids", "src/matfac/_known.py", "return index[«index >= 0»]", "index >= -1", "topk"
    ),
    Mutant(
        "itself",
        "src/matfac/_serving.py",
        "itself = (np.arange(len(index) + 1, dtype=np.int64), «index»)",
        "0 * index",
        "estimators",
    ),
    Mutant(
        "clip",
        "src/matfac/explicit.py",
        "else np.clip(ratings, «*limits»)",
        "0, 100",
        "estimators calibration",
    ),
    Mutant(
        "held-out entries",
        "src/matfac/splits.py",
        "last = behind «<=» counts[rows]",
        "<",
        "splits",
    ),
    Mutant("held-out times", "src/matfac/splits.py", "held_out = times «>=» first", ">", "splits"),
)

LIST_METRICS = (
    Mutant("hit_rate", METRICS, "out[hit_rate] = «hits > 0 ? 1 : 0»;", "1", "metrics"),
    Mutant(
        "precision",
        METRICS,
        "out[precision] = found_items / «static_cast<double>(k)»;",
        "static_cast<double>(reachable)",
        "metrics",
    ),
    Mutant(
        "recall",
        METRICS,
        "out[recall] = found_items / «static_cast<double>(n_relevant)»;",
        "static_cast<double>(reachable)",
        "metrics",
    ),
    Mutant(
        "recall_capped",
        METRICS,
        "out[recall_capped] = found_items / «static_cast<double>(reachable)»;",
        "static_cast<double>(n_relevant)",
        "metrics",
    ),
    Mutant("ndcg", METRICS, "gain += 1 / std::log2(«place + 1»);", "place + 2", "metrics"),
    Mutant("ndcg: ideal", METRICS, "out[ndcg] = gain / «ideal[reachable]»;", "ideal[1]", "metrics"),
    Mutant(
        "map",
        METRICS,
        "out[average_precision] = precisions / «static_cast<double>(reachable)»;",
        "static_cast<double>(k)",
        "metrics",
    ),
    Mutant("mrr", METRICS, "if («hits++ == 0») first = 1 / place;", "hits++ >= 0", "metrics"),
    Mutant(
        "auc: ties",
        METRICS,
        "return 2 * (sorted.end() - above) + «(above - equal)»;",
        "0",
        "metrics",
    ),
    Mutant("auc: few", METRICS, "twice += «2 * below + equal»;", "2 * below", "metrics"),
    Mutant("auc: own pairs", METRICS, "twice -= «twice_won(sorted, found[j])»;", "0", "metrics"),
    Mutant(
        "rmse", "src/matfac/metrics.py", "np.sqrt(«np.mean»(_errors(truth", "np.median", "metrics"
    ),
    Mutant(
        "mae", "src/matfac/metrics.py", "np.mean(«np.abs»(_errors(truth", "np.square", "metrics"
    ),
    Mutant(
        "coverage",
        "src/matfac/_evaluate.py",
        "np.unique(lists[«lists >= 0»])",
        "lists >= -1",
        "metrics",
    ),
    Mutant(
        "novelty",
        "src/matfac/_evaluate.py",
        "np.log2(n_users) - «np.log2»(np.maximum",
        "np.log10",
        "metrics",
    ),
    Mutant(
        "novelty of lists",
        "src/matfac/_evaluate.py",
        "np.divide(sums, «listed.sum(axis=1)»,",
        "lists.shape[1]",
        "metrics",
    ),
    Mutant(
        "mean over users",
        "src/matfac/_evaluate.py",
        "[«~np.isnan(values)»]",
        "np.ones(len(values), bool)",
        "metrics",
    ),
    Mutant(
        "entries seen",
        "src/matfac/_evaluate.py",
        "np.minimum(at, len(keys[1]) - 1)] «==» keys[0]",
        "!=",
        "metrics",
    ),
)

MUTANTS = (*SOLVERS, *FILTERS, *LIST_METRICS)
