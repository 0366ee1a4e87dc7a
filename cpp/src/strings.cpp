#include "matfac/strings.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>

#include "matfac/rng.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kAhead = 16;  // strings whose slots are fetched before they are looked at

// Distinct strings by open addressing. The bytes are kept here too: where a string first stood is
// far from where it stands again, and another miss of the caches.
class Numbering {
public:
    Numbering() : seed_(draw_seed()), slots_(1024), starts_{0} {}

    std::uint64_t hash(std::string_view text) const {
        std::uint64_t h = seed_ ^ text.size();
        const char* at = text.data();
        std::size_t left = text.size();
        for (; left >= 8; at += 8, left -= 8) {
            std::uint64_t word;
            std::memcpy(&word, at, 8);
            h = mix(h ^ word);
        }
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < left; ++i)
            word = word << 8 | static_cast<unsigned char>(at[i]);
        return mix(h ^ word);
    }

    void fetch(std::uint64_t hash) const {
#if defined(__GNUC__)
        __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
#else
        (void)hash;
#endif
    }

    std::int32_t size() const { return static_cast<std::int32_t>(starts_.size() - 1); }

    // The string's number; size() grows by one where it is new.
    std::int32_t find_or_add(std::string_view text, std::uint64_t hash) {
        const std::size_t mask = slots_.size() - 1;
        const auto tag = static_cast<std::uint32_t>(hash >> 32);
        std::size_t at = hash & mask;
        for (; slots_[at].number >= 0; at = (at + 1) & mask)
            if (slots_[at].tag == tag && known(slots_[at].number) == text)
                return slots_[at].number;
        if (size() == std::numeric_limits<std::int32_t>::max())
            throw std::length_error("more distinct strings than 2^31 - 1");
        const std::int32_t number = size();
        slots_[at] = {tag, number};
        bytes_.insert(bytes_.end(), text.begin(), text.end());
        starts_.push_back(bytes_.size());
        if (2 * starts_.size() > slots_.size()) grow();
        return number;
    }

private:
    struct Slot {
        std::uint32_t tag = 0;  // the hash's upper half
        std::int32_t number = -1;  // none
    };

    // Other in every call: no file can be made for which all strings meet in one slot.
    static std::uint64_t draw_seed() {
        std::random_device device;
        return (std::uint64_t{device()} << 32) | device();
    }

    std::string_view known(std::int32_t number) const {
        const auto i = static_cast<std::size_t>(number);
        return {bytes_.data() + starts_[i], starts_[i + 1] - starts_[i]};
    }

    void grow() {
        slots_.assign(2 * slots_.size(), Slot{});
        const std::size_t mask = slots_.size() - 1;
        for (std::int32_t number = 0; number < size(); ++number) {
            const std::uint64_t again = hash(known(number));
            std::size_t at = again & mask;
            while (slots_[at].number >= 0) at = (at + 1) & mask;
            slots_[at] = {static_cast<std::uint32_t>(again >> 32), number};
        }
    }

    std::uint64_t seed_;
    std::vector<Slot> slots_;  // a power of two, half of them free
    std::vector<char> bytes_;
    std::vector<std::size_t> starts_;
};

}  // namespace

std::vector<std::int64_t> number_strings(const StringsView& strings, std::int32_t* numbers,
                                         Control& control) {
    Numbering known;
    std::vector<std::int64_t> firsts;
    std::array<std::uint64_t, kAhead> hashes;
    for (std::int64_t begin = 0; begin < strings.n; begin += kAhead) {
        if (begin % 65536 == 0 && control.stopped(0)) break;
        const std::int64_t count = std::min(kAhead, strings.n - begin);
        for (std::int64_t i = 0; i < count; ++i) {
            hashes[static_cast<std::size_t>(i)] = known.hash(strings[begin + i]);
            known.fetch(hashes[static_cast<std::size_t>(i)]);
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int32_t before = known.size();
            numbers[begin + i] =
                known.find_or_add(strings[begin + i], hashes[static_cast<std::size_t>(i)]);
            if (known.size() != before) firsts.push_back(begin + i);
        }
    }
    return firsts;
}

}  // namespace matfac
