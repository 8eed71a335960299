#include "eval/record/stamps.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/record/reader_fields.h"

namespace quantref {
namespace {

// A stamp of every record in which this flag is true.
struct FlagStamp {
  const char* path;
  Stamp stamp;
};

const std::vector<FlagStamp>& FlagStamps() {
  static const std::vector<FlagStamp> kStamps = {
      {"calibration.contaminated", {'C', "CONTAMINATED calibration", false}},
      {"dataset.substituted_sample", {'N', "NOT WIKITEXT: the bundled text stood in", false}},
      {"calibration.substituted_sample", {'N', "NOT WIKITEXT: the bundled text stood in", false}},
      {"simulated_vs_kernel.failed",
       {'G', "GATE FAILED: kernels and decoded weights differ too much", false}},
      {"model.synthetic", {'R', "SYNTHETIC WEIGHTS, random: speed only", true}},
      {"throughput.busy", {'B', "timed on a BUSY machine", true}},
  };
  return kStamps;
}

// A calibration text that only the layer report read has no part in any figure that is stamped.
bool Concerns(const RecordFields& fields, const std::string& path) {
  return !path.starts_with("calibration.") || fields.Find("calibration.used_by") == nullptr ||
         fields.Text("calibration.used_by") == "method";
}

Stamp UnknownStamp(const RecordFields& fields, const std::string& section) {
  const double share = std::max(fields.NotNegative(section + ".unknown_share"),
                                fields.NotNegative(section + ".unknown_bytes_share"));
  return {'U',
          fmt::format("UNKNOWN TOKENS: {:.1f} % of the {}", 100 * share,
                      section == "protocol" ? "text" : "calibration text"),
          false};
}

// Of matrices whose codes are another method's than the one that was asked for.
void AddOtherMethods(const RecordFields& fields, std::vector<Stamp>& stamps) {
  for (const RecordFields& layer : fields.Maps("layers")) {
    if (layer.Find("asked") == nullptr) continue;
    stamps.push_back({'O',
                      fmt::format("{} has the codes of {}, not of {}", layer.Text("name"),
                                  layer.Text("method"), layer.Text("asked")),
                      false});
  }
}

void AddDecoding(const RecordFields& fields, std::vector<Stamp>& stamps) {
  const bool timed = !fields.Maps("throughput.prefill_tokens_s").empty() ||
                     !fields.Maps("throughput.decode_tokens_s").empty();
  const bool simulated = fields.Find("path") != nullptr && fields.Text("path") == "simulated";
  if (timed && (simulated || fields.Find("simulated_linears") != nullptr))
    stamps.push_back({'D', "DECODES codes for every product: not the format's speed", true});
}

}  // namespace

std::vector<Stamp> StampsOf(const RecordFields& fields) {
  std::vector<Stamp> stamps;
  for (const FlagStamp& flag : FlagStamps()) {
    if (fields.Flag(flag.path) && Concerns(fields, flag.path)) stamps.push_back(flag.stamp);
  }
  for (const std::string section : {"protocol", "calibration"}) {
    const std::string path = section + ".too_much_unknown";
    if (fields.Flag(path) && Concerns(fields, path))
      stamps.push_back(UnknownStamp(fields, section));
  }
  if (fields.Find("protocol.cut_from_windows") != nullptr) {
    stamps.push_back({'P',
                      fmt::format("partial: {} of {} windows", fields.Count("protocol.windows"),
                                  fields.Count("protocol.cut_from_windows")),
                      false});
  }
  AddOtherMethods(fields, stamps);
  AddDecoding(fields, stamps);
  std::sort(stamps.begin(), stamps.end());
  stamps.erase(std::unique(stamps.begin(), stamps.end()), stamps.end());
  return stamps;
}

}  // namespace quantref
