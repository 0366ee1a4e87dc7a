#include <algorithm>
#include <cmath>
#include <numeric>

#include "matfac/rng.hpp"
#include "matfac/sgd.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kMaxBands = 256;   // item_band_ is one byte
constexpr std::int64_t kLeastBands = 16;  // or half of them, where users have
constexpr std::int64_t kShortUser = 32;   // fewer entries than this: more would part them all
constexpr double kMostEntries = 500e3;    // of a block: so much work passes before Ctrl-C is seen
constexpr std::int64_t kLeastEntries = 200;  // of a block, where users take turns
constexpr std::int64_t kLook = 1 << 16;  // entries dealt out between looks at the clock

// Bands by the cache, but no fewer than give many threads work, nor so many that blocks are tiny.
std::int64_t choose_bands(std::int64_t n_users, std::int64_t n_items, std::int64_t nnz,
                          std::int64_t row_bytes, std::int64_t band_bytes) {
    const std::int64_t by_cache = (n_items * row_bytes + band_bytes - 1) / band_bytes;
    const auto by_work = static_cast<std::int64_t>(std::sqrt(static_cast<double>(nnz) / 1000.0));
    const auto by_patience =
        static_cast<std::int64_t>(std::sqrt(static_cast<double>(nnz) / kMostEntries)) + 1;
    const std::int64_t least = nnz < kShortUser * n_users ? kLeastBands / 2 : kLeastBands;
    const std::int64_t wanted = std::max({by_cache, by_patience, least});
    return std::clamp<std::int64_t>(std::min(wanted, by_work), 1, kMaxBands);
}

// As many as the users' rows ask for, but blocks are not tiny.
std::int64_t choose_turns(std::int64_t n_users, std::int64_t nnz, std::int64_t row_bytes,
                          std::int64_t bands) {
    const std::int64_t by_cache = (n_users * row_bytes + kTurnBytes - 1) / kTurnBytes;
    return std::clamp<std::int64_t>(nnz / (kLeastEntries * bands * bands), 1,
                                    std::max<std::int64_t>(by_cache, 1));
}

// Shuffled ids, cut where the running sum of their lengths passes each band's share.
template <class Length>
std::vector<std::int32_t> shuffled(std::int64_t n, std::uint64_t key, std::int64_t nnz,
                                   std::int64_t bands, Length length,
                                   std::vector<std::int64_t>& bounds) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
    std::iota(ids.begin(), ids.end(), 0);
    Stream stream(key);
    shuffle(ids.data(), n, stream);
    bounds.assign(1, 0);
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        sum += length(ids[i]);
        const auto cut = static_cast<std::int64_t>(bounds.size());
        if (cut < bands && sum >= (nnz / bands) * cut) bounds.push_back(i + 1);
    }
    bounds.resize(static_cast<std::size_t>(bands), n);
    bounds.push_back(n);
    return ids;
}

}  // namespace

template <class T>
SgdPlan<T>::SgdPlan(const CsrView<T>& ratings, std::int64_t factor_stride, std::uint64_t seed,
                    int n_threads, Control& control, std::int64_t band_bytes,
                    bool equal_items)
    : n_users_(ratings.n_rows),
      n_items_(ratings.n_cols),
      nnz_(ratings.nnz()),
      bands_(choose_bands(ratings.n_rows, ratings.n_cols, ratings.nnz(),
                          factor_stride * static_cast<std::int64_t>(sizeof(T)), band_bytes)),
      turns_(choose_turns(ratings.n_rows, ratings.nnz(),
                          factor_stride * static_cast<std::int64_t>(sizeof(T)), bands_)),
      seed_(seed) {
    deal(ratings, equal_items, control);
    if (control.stop) return;
    const std::int64_t blocks = this->blocks();
    block_runs_.assign(static_cast<std::size_t>(blocks + 1), 0);
    block_begin_.assign(static_cast<std::size_t>(blocks + 1), 0);
    for_chunks(n_threads, turns_ * bands_, control,
               [&](std::int64_t band, int thread) { count(ratings, band, control, thread); });
    if (control.stop) return;
    for (std::int64_t b = 0; b < blocks; ++b) {
        block_runs_[b + 1] += block_runs_[b];
        block_begin_[b + 1] += block_begin_[b];
    }
    run_user_ = Buffer<std::int32_t>(static_cast<std::size_t>(block_runs_[blocks]));
    run_start_ = Buffer<std::int64_t>(static_cast<std::size_t>(block_runs_[blocks] + 1));
    item_ = Buffer<std::int32_t>(static_cast<std::size_t>(nnz_));
    if (ratings.values != nullptr) value_ = Buffer<T>(static_cast<std::size_t>(nnz_));
    if (ratings.weights != nullptr) weight_ = Buffer<T>(static_cast<std::size_t>(nnz_));
    touch_pages(run_user_.data(), block_runs_[blocks], n_threads, control);
    touch_pages(run_start_.data(), block_runs_[blocks], n_threads, control);
    touch_pages(item_.data(), nnz_, n_threads, control);
    if (value_.data() != nullptr) touch_pages(value_.data(), nnz_, n_threads, control);
    if (weight_.data() != nullptr) touch_pages(weight_.data(), nnz_, n_threads, control);
    run_start_[block_runs_[blocks]] = nnz_;
    for_chunks(n_threads, turns_ * bands_, control,
               [&](std::int64_t band, int thread) { fill(ratings, band, control, thread); });
}

template <class T>
void SgdPlan<T>::deal(const CsrView<T>& ratings, bool equal_items, Control& control) {
    users_ = shuffled(
        n_users_, keyed(seed_, 1), nnz_, turns_ * bands_,
        [&](std::int64_t u) { return ratings.length(u); }, user_bands_);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(n_items_), equal_items ? 1 : 0);
    std::vector<std::int64_t> bounds;
    for (std::int64_t u = 0; !equal_items && u < n_users_ && !control.stopped(0); ++u)
        for (std::int64_t e = ratings.indptr[u]; e < ratings.indptr[u + 1]; ++e)
            ++counts[ratings.indices[e]];
    const auto items = shuffled(
        n_items_, keyed(seed_, 2), equal_items ? n_items_ : nnz_, bands_,
        [&](std::int64_t i) { return counts[i]; }, bounds);
    item_band_.resize(static_cast<std::size_t>(n_items_));
    for (std::int64_t band = 0; band < bands_; ++band)
        for (std::int64_t i = bounds[band]; i < bounds[band + 1]; ++i)
            item_band_[items[i]] = static_cast<std::uint8_t>(band);
}

// Entries and runs of a user band's blocks, left at the place after each block's own.
template <class T>
void SgdPlan<T>::count(const CsrView<T>& ratings, std::int64_t user_band, Control& control,
                       int thread) {
    std::vector<std::int64_t> seen(static_cast<std::size_t>(bands_), -1);
    std::int64_t* runs = block_runs_.data() + user_band * bands_ + 1;
    std::int64_t* entries = block_begin_.data() + user_band * bands_ + 1;
    std::int64_t work = 0;
    for (std::int64_t i = user_bands_[user_band]; i < user_bands_[user_band + 1]; ++i) {
        const std::int64_t u = users_[i];
        work += ratings.length(u);
        if (work > kLook) {
            if (control.stopped(thread)) return;
            work = 0;
        }
        for (std::int64_t e = ratings.indptr[u]; e < ratings.indptr[u + 1]; ++e) {
            const auto band = item_band_[ratings.indices[e]];
            ++entries[band];
            if (seen[band] != u) {
                seen[band] = u;
                ++runs[band];
            }
        }
    }
}

template <class T>
void SgdPlan<T>::fill(const CsrView<T>& ratings, std::int64_t user_band, Control& control,
                      int thread) {
    std::vector<std::int64_t> seen(static_cast<std::size_t>(bands_), -1);
    std::vector<std::int64_t> run(block_runs_.begin() + user_band * bands_,
                                  block_runs_.begin() + (user_band + 1) * bands_);
    std::vector<std::int64_t> entry(block_begin_.begin() + user_band * bands_,
                                    block_begin_.begin() + (user_band + 1) * bands_);
    std::int64_t work = 0;
    for (std::int64_t i = user_bands_[user_band]; i < user_bands_[user_band + 1]; ++i) {
        const std::int64_t u = users_[i];
        work += ratings.length(u);
        if (work > kLook) {
            if (control.stopped(thread)) return;
            work = 0;
        }
        for (std::int64_t e = ratings.indptr[u]; e < ratings.indptr[u + 1]; ++e) {
            const auto band = item_band_[ratings.indices[e]];
            if (seen[band] != u) {
                seen[band] = u;
                run_user_[run[band]] = static_cast<std::int32_t>(u);
                run_start_[run[band]++] = entry[band];
            }
            const std::int64_t at = entry[band]++;
            item_[at] = ratings.indices[e];
            if (ratings.values != nullptr) value_[at] = ratings.values[e];
            if (ratings.weights != nullptr) weight_[at] = ratings.weights[e];
        }
    }
}

template <class T>
SgdBlock<T> SgdPlan<T>::block(std::int64_t user_band, std::int64_t item_band) const {
    const std::int64_t b = user_band * bands_ + item_band;
    SgdBlock<T> block;
    block.n_runs = block_runs_[b + 1] - block_runs_[b];
    block.user = run_user_.data() + block_runs_[b];
    block.start = run_start_.data() + block_runs_[b];
    block.item = item_.data();
    block.value = value_.data();
    block.weight = weight_.data();
    return block;
}

template <class T>
SgdBlock<T> SgdPlan<T>::walked(std::int64_t user_band, std::int64_t item_band,
                               std::uint64_t epoch) const {
    SgdBlock<T> result = block(user_band, item_band);
    if (result.n_runs == 0) return result;
    Stream stream(keyed(seed_, epoch + 4, static_cast<std::uint64_t>(user_band * bands_ + item_band)));
    result.first_run = stream.below(static_cast<std::uint32_t>(result.n_runs));
    result.entry_shift = static_cast<std::uint32_t>(stream() >> 32);
    return result;
}

Strata::Strata(std::int64_t bands, std::int64_t turns, std::uint64_t seed, std::uint64_t epoch)
    : bands_(bands),
      items_(static_cast<std::size_t>(bands)),
      shift_(static_cast<std::size_t>(bands)),
      turns_(static_cast<std::size_t>(turns)) {
    std::iota(items_.begin(), items_.end(), std::int64_t{0});
    std::iota(shift_.begin(), shift_.end(), std::int64_t{0});
    Stream stream(keyed(seed, 3, epoch));
    shuffle(items_.data(), bands, stream);
    shuffle(shift_.data(), bands, stream);
    std::iota(turns_.begin(), turns_.end(), std::int64_t{0});
    shuffle(turns_.data(), turns, stream);
}

template class SgdPlan<float>;
template class SgdPlan<double>;

}  // namespace matfac
