#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

// What the AMX kernels share. Only files compiled for AMX include this; its functions are static,
// so that no other file can be given a copy of them.

namespace quantref {

inline constexpr size_t kTileRows = 16;  // the most; of up to 64 bytes
inline constexpr size_t kTileRowBytes = 64;

// The shapes of the eight tiles, as LDTILECFG reads them.
struct TileShapes {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

static inline void SetTile(TileShapes& shapes, int tile, size_t rows, size_t row_bytes) {
  shapes.rows[tile] = static_cast<uint8_t>(rows);
  shapes.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
}

static inline void UseTiles(const TileShapes& shapes) {
  // GCC 12 believes that only the first 8 bytes are read, and drops other stores.
  asm volatile("" ::"r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

// All eight tiles at their full size.
static inline void UseFullTiles() {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) SetTile(shapes, tile, kTileRows, kTileRowBytes);
  UseTiles(shapes);
}

}  // namespace quantref
