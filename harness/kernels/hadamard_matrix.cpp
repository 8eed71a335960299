#include "harness/kernels/hadamard_matrix.h"

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "harness/base/check.h"

namespace quantref {
namespace {

constexpr size_t kLargestCore = 512;
constexpr size_t kMostDegree = 3;  // of a field over its prime: polynomials without roots suffice

// First rows of four symmetric circulant matrices whose squares sum to 4 m I.
struct WilliamsonRows {
  size_t size;
  std::array<std::string_view, 4> rows;
};
constexpr WilliamsonRows kWilliamson[] = {
    {23,
     {"+--+-+-++++++++++-+-+--", "+--+--+++------+++--+--", "+--++-+-+-++++-+-+-++--",
      "+++---++--++++--++---++"}},
    {43,
     {"+-+-+----++++-++++-++--++-++++-++++----+-+-", "+--++----+-+---+--++++++++--+---+-+----++--",
      "++-+--++-+++----+++-++++-+++----+++-++--+-+",
      "+--+++--+-+--+-+++++-++-+++++-+--+-+--+++--"}},
};

const WilliamsonRows* FindWilliamson(size_t order) {
  for (const WilliamsonRows& known : kWilliamson) {
    if (4 * known.size == order) return &known;
  }
  return nullptr;
}

// q = prime^degree.
struct PrimePower {
  size_t prime, degree;
};
std::optional<PrimePower> AsPrimePower(size_t q) {
  if (q < 2) return std::nullopt;
  size_t prime = 2;
  while (prime * prime <= q && q % prime != 0) ++prime;
  if (q % prime != 0) prime = q;
  size_t degree = 0;
  for (; q % prime == 0; q /= prime) ++degree;
  if (q != 1 || degree > kMostDegree) return std::nullopt;
  return PrimePower{prime, degree};
}

// The field of q elements: polynomials over the integers modulo the prime, as numbers whose digits
// to the base of the prime are the coefficients, modulo a polynomial that has no roots.
class Field {
 public:
  explicit Field(const PrimePower& q) : prime_(q.prime), degree_(q.degree), size_(1) {
    for (size_t i = 0; i < degree_; ++i) size_ *= prime_;
    if (degree_ > 1) {
      while (HasRoot()) ++modulus_;
    }
    square_.assign(size_, false);
    for (size_t a = 1; a < size_; ++a) square_[Multiply(a, a)] = true;
  }

  size_t size() const { return size_; }

  // 1 of a square, -1 of another, 0 of 0.
  int Character(size_t a) const { return a == 0 ? 0 : (square_[a] ? 1 : -1); }

  size_t Subtract(size_t a, size_t b) const {
    size_t result = 0;
    for (size_t place = 1; place < size_; place *= prime_, a /= prime_, b /= prime_)
      result += (a % prime_ + prime_ - b % prime_) % prime_ * place;
    return result;
  }

 private:
  using Digits = std::array<size_t, 2 * kMostDegree>;
  Digits DigitsOf(size_t a) const {
    Digits digits{};
    for (size_t i = 0; i < degree_; ++i, a /= prime_) digits[i] = a % prime_;
    return digits;
  }

  // Of x^degree + the polynomial `modulus_`.
  bool HasRoot() const {
    const Digits low = DigitsOf(modulus_);
    for (size_t x = 0; x < prime_; ++x) {
      size_t value = 1;
      for (size_t i = degree_; i-- > 0;) value = (value * x + low[i]) % prime_;
      if (value == 0) return true;
    }
    return false;
  }

  size_t Multiply(size_t a, size_t b) const {
    const Digits left = DigitsOf(a), right = DigitsOf(b), low = DigitsOf(modulus_);
    Digits product{};
    for (size_t i = 0; i < degree_; ++i) {
      for (size_t j = 0; j < degree_; ++j) product[i + j] += left[i] * right[j];
    }
    for (size_t i = 2 * degree_ - 1; i-- > degree_;) {
      const size_t top = product[i] % prime_;
      for (size_t j = 0; j < degree_; ++j)
        product[i - degree_ + j] += top * (prime_ - low[j]) % prime_;
    }
    size_t result = 0;
    for (size_t i = degree_; i-- > 0;) result = result * prime_ + product[i] % prime_;
    return result;
  }

  const size_t prime_, degree_;
  size_t size_, modulus_ = 0;
  std::vector<bool> square_;
};

std::optional<PrimePower> OfFirstKind(size_t order) {
  return order % 4 == 0 ? AsPrimePower(order - 1) : std::nullopt;
}
std::optional<PrimePower> OfSecondKind(size_t order) {
  return order % 4 == 0 && (order / 2 - 1) % 4 == 1 ? AsPrimePower(order / 2 - 1) : std::nullopt;
}

// The character of a_i - a_j, bordered by `top` above and `left` beside.
Matrix<float> Bordered(const Field& field, float top, float left) {
  const size_t n = field.size() + 1;
  Matrix<float> s(n, n);
  s(0, 0) = 0;
  for (size_t i = 1; i < n; ++i) {
    s(0, i) = top;
    s(i, 0) = left;
    for (size_t j = 1; j < n; ++j)
      s(i, j) = static_cast<float>(field.Character(field.Subtract(i - 1, j - 1)));
  }
  return s;
}

Matrix<float> PaleyFirst(const PrimePower& q) {
  Matrix<float> h = Bordered(Field(q), 1, -1);
  for (size_t i = 0; i < h.rows(); ++i) h(i, i) += 1;
  return h;
}

Matrix<float> PaleySecond(const PrimePower& q) {
  const Matrix<float> s = Bordered(Field(q), 1, 1);
  Matrix<float> h(2 * s.rows(), 2 * s.rows());
  for (size_t i = 0; i < s.rows(); ++i) {
    for (size_t j = 0; j < s.rows(); ++j) {
      const float one = i == j ? 1 : 0;
      h(2 * i, 2 * j) = s(i, j) + one;
      h(2 * i, 2 * j + 1) = h(2 * i + 1, 2 * j) = s(i, j) - one;
      h(2 * i + 1, 2 * j + 1) = -s(i, j) - one;
    }
  }
  return h;
}

Matrix<float> Williamson(const WilliamsonRows& known) {
  constexpr int kPart[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr float kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  const size_t m = known.size;
  Matrix<float> h(4 * m, 4 * m);
  for (size_t i = 0; i < 4 * m; ++i) {
    for (size_t j = 0; j < 4 * m; ++j) {
      const std::string_view row = known.rows[static_cast<size_t>(kPart[i / m][j / m])];
      const float entry = row[(j % m + m - i % m) % m] == '+' ? 1 : -1;
      h(i, j) = kSign[i / m][j / m] * entry;
    }
  }
  return h;
}

bool IsCore(size_t order) {
  return order <= kLargestCore &&
         (FindWilliamson(order) != nullptr || OfFirstKind(order) || OfSecondKind(order));
}

Matrix<float> MakeCore(size_t order) {
  if (const WilliamsonRows* known = FindWilliamson(order)) return Williamson(*known);
  if (const auto q = OfFirstKind(order)) return PaleyFirst(*q);
  const auto q = OfSecondKind(order);
  QR_CHECK(q.has_value());
  return PaleySecond(*q);
}

void CheckHadamard(const Matrix<float>& h) {
  const size_t n = h.rows();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      float product = 0;
      for (size_t k = 0; k < n; ++k) product += h(i, k) * h(j, k);
      QR_CHECK_EQ(product, i == j ? static_cast<float>(n) : 0.0f);
    }
    for (size_t k = 0; k < n; ++k) QR_CHECK(h(i, k) == 1 || h(i, k) == -1);
  }
}

}  // namespace

std::optional<size_t> HadamardCore(size_t order) {
  if (order == 0) return std::nullopt;
  size_t odd = order;
  while (odd % 2 == 0) odd /= 2;
  if (odd == 1) return 1;
  for (size_t core = 4 * odd; core <= order && order % core == 0; core *= 2) {
    if (IsCore(core)) return core;
  }
  return std::nullopt;
}

const Matrix<float>& HadamardCoreMatrix(size_t order) {
  static std::mutex mutex;
  static std::map<size_t, std::unique_ptr<const Matrix<float>>> made;
  const std::lock_guard lock(mutex);
  std::unique_ptr<const Matrix<float>>& core = made[order];
  if (core == nullptr) {
    Matrix<float> matrix = MakeCore(order);
    CheckHadamard(matrix);
    core = std::make_unique<const Matrix<float>>(std::move(matrix));
  }
  return *core;
}

}  // namespace quantref
