#include "eval/table/headline.h"

#include <fmt/format.h>

#include "eval/support/text_table.h"

namespace quantref {

std::string OutliersText(double scale, double channels) {
  return fmt::format(" with outliers x{:g} in {:.1f} % of channels", scale, 100 * channels);
}

std::string HeadlineText(const MeasuredOn& on) {
  return fmt::format("{}{} · {} · {} · {}, {} · {}, {}, {}\n{}", on.model, on.outliers, on.text,
                     on.protocol, Plural(on.windows, "window"), Plural(on.scored, "scored token"),
                     Plural(on.threads, "thread"), on.isa, on.blas, on.notice);
}

}  // namespace quantref
