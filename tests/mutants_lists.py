"""Breaks in what makes and judges lists: filters and metrics."""

from __future__ import annotations

from mutants import Mutant

METRICS = "cpp/src/metrics.cpp"
TOPK, BEST, BY_NORM = "cpp/src/topk.cpp", "cpp/src/best.hpp", "cpp/src/by_norm.hpp"
PANELS = "cpp/include/matfac/panels.hpp"

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
    Mutant(
        "seen and excluded, by norm",
        TOPK,
        "struck.place[e] - begin] = «std::numeric_limits<T>::quiet_NaN()»;",
        "T(0)",
        "topk",
    ),
    Mutant(
        "by norm: most",
        BY_NORM,
        "known[at.shorter] + «at.share * (known[at.shorter + 1] - known[at.shorter])»;",
        "0.0",
        "topk",
    ),
    Mutant(
        "by norm: equal scores",
        BEST,
        "threshold = «std::nextafter(heap_.front().score, -std::numeric_limits<T>::infinity())»;",
        "heap_.front().score",
        "topk",
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
    Mutant("ties", BEST, "(score == other.score && «id < other.id»);", "id > other.id", "topk"),
    Mutant("padding", BEST, "ids[i] = i < heap_.size() ? heap_[i].id : «-1»;", "0", "topk"),
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
