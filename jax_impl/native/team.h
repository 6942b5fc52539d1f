// Threads that work on one call together, and the memory they work in.

#ifndef LSTM_ORACLE_TEAM_H_
#define LSTM_ORACLE_TEAM_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif
#include <unistd.h>

namespace lstm_oracle {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until ready() holds. Spins first: steps are microseconds apart. Then gives its core away
// each time: the thread waited for may need it, where there are more threads than cores. Returns
// whether it came to that.
template <class Ready>
inline bool spin_until(Ready ready) {
  constexpr int kSpins = 4096;
  int turn = 0;
  for (; !ready(); ++turn) {
    if (turn < kSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
  return turn > kSpins;
}

class Barrier {
 public:
  void set(int members) { members_ = members; }

  void wait() {
    if (members_ == 1) return;
    const unsigned round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == members_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    if (spin_until([&] { return round_.load(std::memory_order_acquire) != round; })) {
      long_waits_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  int long_waits() const { return long_waits_.load(std::memory_order_relaxed); }

 private:
  int members_ = 1;
  std::atomic<int> long_waits_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> round_{0};
};

// Cores that this process may use.
inline int schedulable_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// LSTM_ORACLE_THREADS, or 0 where it is not set to a positive number.
inline int threads_asked_for() {
  const char* text = std::getenv("LSTM_ORACLE_THREADS");
  return text == nullptr ? 0 : std::max(0, std::atoi(text));
}

// The process' threads besides the callers. One call at a time has them; a call that finds them
// taken works alone, so that concurrent executions never wait for one another. How many threads
// work changes no result: every sum is taken in one order.
class Team {
 public:
  // Never destroyed: its threads sleep until the process ends.
  static Team& instance() {
    static Team* team = new Team;
    return *team;
  }

  // Work with at most `limit` threads where LSTM_ORACLE_THREADS does not say how many.
  int size(int limit) const {
    if (asked_for_ > 0) return asked_for_;
    return limit > 0 ? std::min(limit, cores_) : cores_;
  }

  // Where others keep the cores busy, a thread that waits for another one every few microseconds
  // waits for the scheduler: a call that saw this lets the next ones work alone.
  bool resting() {
    int left = resting_.load(std::memory_order_relaxed);
    return left > 0 && resting_.compare_exchange_strong(left, left - 1, std::memory_order_relaxed);
  }
  void rest() { resting_.store(kCallsOfRest, std::memory_order_relaxed); }

  // work(rank, members) on every member at once; `members` is `wanted`, or 1: one thread works
  // alone where the others are taken, or do not come while they are worth waiting for. `flops` says
  // how much there is to do.
  template <class Work>
  void run(int wanted, double flops, Work&& work) {
    // A fork has this memory, but not the threads.
    if (wanted <= 1 || getpid() != process_ || !busy_.try_lock()) return work(0, 1);
    std::lock_guard<std::mutex> held(busy_, std::adopt_lock);
    call_ = [](void* w, int rank, int members) {
      (*static_cast<std::remove_reference_t<Work>*>(w))(rank, members);
    };
    work_ = &work;
    members_.store(kUndecided, std::memory_order_relaxed);
    here_.store(1, std::memory_order_relaxed);
    running_.store(wanted - 1, std::memory_order_relaxed);
    for (int rank = 1; rank < wanted; ++rank) call_helper(rank);
    const int members = all_come(wanted, flops) ? wanted : 1;
    members_.store(members, std::memory_order_release);
    if (members == 1) take_back(wanted);
    work(0, members);
    spin_until([&] { return running_.load(std::memory_order_acquire) == 0; });
  }

 private:
  struct Helper {
    std::atomic<bool> called{false};
    std::mutex sleep;
    std::condition_variable wake;
  };

  Team() = default;

  void call_helper(int rank) {
    while (int(helpers_.size()) < rank) {
      helpers_.push_back(std::make_unique<Helper>());
      Helper* helper = helpers_.back().get();
      std::thread([this, helper, own = rank] { serve(helper, own); }).detach();
    }
    Helper& helper = *helpers_[rank - 1];
    {
      std::lock_guard<std::mutex> lock(helper.sleep);
      helper.called.store(true, std::memory_order_release);
    }
    helper.wake.notify_one();
  }

  // Whether all helpers are at work before the work left undone costs more than they save. In a
  // training step other threads may hold their cores, and the scheduler then lets a helper wait
  // for a millisecond or more: longer than a small call takes. Whoever asked for a number of
  // threads has it.
  bool all_come(int wanted, double flops) const {
    constexpr double kFlopsPerNanosecond = 100, kShare = 0.15, kLeast = 20e3;
    const auto patience = std::chrono::nanoseconds(
        int64_t(std::max(kLeast, kShare * flops / kFlopsPerNanosecond)));
    const auto came = [&] { return here_.load(std::memory_order_acquire) == wanted; };
    const auto began = std::chrono::steady_clock::now();
    bool late = false;
    spin_until([&] {
      if (came()) return true;
      late = asked_for_ == 0 && std::chrono::steady_clock::now() - began > patience;
      return late;
    });
    return !late;
  }

  // Helpers that have not seen the call yet will not see it.
  void take_back(int wanted) {
    for (int rank = 1; rank < wanted; ++rank) {
      if (helpers_[rank - 1]->called.exchange(false, std::memory_order_acq_rel)) {
        running_.fetch_sub(1, std::memory_order_acq_rel);
      }
    }
  }

  void serve(Helper* helper, int rank) {
    const auto called = [&] { return helper->called.load(std::memory_order_acquire); };
    for (;;) {
      // The calls of one training step follow closely: for a while, waking up costs more.
      for (int turn = 0; turn < 2000 && !called(); ++turn) relax();
      // Then the core is for others, should any want it.
      for (int turn = 0; turn < 100 && !called(); ++turn) std::this_thread::yield();
      if (!called()) {
        std::unique_lock<std::mutex> lock(helper->sleep);
        helper->wake.wait(lock, called);
      }
      if (!helper->called.exchange(false, std::memory_order_acq_rel)) continue;
      here_.fetch_add(1, std::memory_order_acq_rel);
      int members = kUndecided;
      spin_until([&] {
        members = members_.load(std::memory_order_acquire);
        return members != kUndecided;
      });
      if (members > 1) call_(work_, rank, members);
      running_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  static constexpr int kUndecided = 0;
  static constexpr int kCallsOfRest = 32;
  std::atomic<int> resting_{0};
  const int asked_for_ = threads_asked_for();
  const int cores_ = schedulable_cores();
  const pid_t process_ = getpid();
  std::mutex busy_;
  std::vector<std::unique_ptr<Helper>> helpers_;
  void (*call_)(void*, int, int) = nullptr;
  void* work_ = nullptr;
  std::atomic<int> members_{1};
  std::atomic<int> here_{1};
  std::atomic<int> running_{0};
};

// --- memory --------------------------------------------------------------------------------------

constexpr size_t kHugePage = size_t(2) << 20;

// Large buffers are filled once per call: with pages of 4 KiB, faults cost more than the writing.
inline void prefer_huge_pages(void* start, size_t bytes) {
#if defined(__linux__)
  const uintptr_t first = (uintptr_t(start) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (uintptr_t(start) + bytes) / kHugePage * kHugePage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)start, (void)bytes;
#endif
}

// Memory for one call, kept for the next one.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes) {
    {
      std::lock_guard<std::mutex> lock(shelf().mutex);
      auto& kept = shelf().kept;
      for (auto at = kept.begin(); at != kept.end(); ++at) {
        if (at->second < bytes) continue;
        std::tie(start_, bytes_) = *at;
        kept.erase(at);
        return;
      }
    }
    const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
    bytes_ = (bytes + alignment - 1) / alignment * alignment;
    start_ = std::aligned_alloc(alignment, bytes_);
    if (start_ == nullptr) throw std::bad_alloc();
    prefer_huge_pages(start_, bytes_);
  }

  ~Scratch() {
    std::lock_guard<std::mutex> lock(shelf().mutex);
    auto& kept = shelf().kept;
    kept.emplace_back(start_, bytes_);
    // The newest fit the sizes in use; the oldest go.
    if (kept.size() <= kMostKept) return;
    std::free(kept.front().first);
    kept.erase(kept.begin());
  }

  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* take(size_t count) {
    T* taken = reinterpret_cast<T*>(static_cast<char*>(start_) + used_);
    used_ += room<T>(count);
    return taken;
  }

  // Bytes that take<T>(count) uses.
  template <class T>
  static size_t room(size_t count) {
    return (count * sizeof(T) + 63) / 64 * 64;
  }

 private:
  static constexpr size_t kMostKept = 8;
  struct Shelf {
    std::mutex mutex;
    std::vector<std::pair<void*, size_t>> kept;
  };
  static Shelf& shelf() {
    static Shelf* shelf = new Shelf;
    return *shelf;
  }

  void* start_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_TEAM_H_
