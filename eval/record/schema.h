#pragma once

namespace quantref {

inline constexpr int kRecordSchema = 1;

}  // namespace quantref
