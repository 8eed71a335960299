#include "harness/kernels/amx_tiles.h"
#include "harness/kernels/probes_avx512.inc"

namespace quantref {
namespace {

constexpr size_t kRows = 16, kRowBytes = 64, kTileBytes = kRows * kRowBytes;
constexpr size_t kTileProducts = kRows * (kRowBytes / 4) * kRowBytes;

int64_t DotOp(size_t rounds, uint8_t a, int8_t b) {
  alignas(64) uint8_t left[kTileBytes];
  alignas(64) int8_t right[kTileBytes];
  alignas(64) int32_t sums[kTileBytes / sizeof(int32_t)];
  for (size_t i = 0; i < kTileBytes; ++i) {
    left[i] = a;
    right[i] = b;
  }
  UseFullTiles();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, right, kRowBytes);
  _tile_loadd(5, right, kRowBytes);
  _tile_loadd(6, left, kRowBytes);
  _tile_loadd(7, left, kRowBytes);
  for (size_t r = 0; r < rounds; ++r) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  int64_t total = 0;
  _tile_stored(0, sums, kRowBytes);
  total += SumOf(sums, kTileBytes / sizeof(int32_t));
  _tile_stored(1, sums, kRowBytes);
  total += SumOf(sums, kTileBytes / sizeof(int32_t));
  _tile_stored(2, sums, kRowBytes);
  total += SumOf(sums, kTileBytes / sizeof(int32_t));
  _tile_stored(3, sums, kRowBytes);
  total += SumOf(sums, kTileBytes / sizeof(int32_t));
  _tile_release();
  return total;
}

}  // namespace

const ProbeOps kAmxProbes = {"amx", ReadOp, 2 * kChains* kFloats, FmaOp, 2 * 4 * kTileProducts,
                             DotOp};

}  // namespace quantref
