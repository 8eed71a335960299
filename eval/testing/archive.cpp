#include "eval/testing/archive.h"

#include <zip.h>

#include "harness/base/check.h"
#include "harness/base/sha256.h"

namespace quantref::testing {

std::string MakeZip(const std::map<std::string, std::string>& members) {
  zip_source_t* archive = zip_source_buffer_create(nullptr, 0, 0, nullptr);
  QR_CHECK(archive != nullptr);
  zip_source_keep(archive);  // zip_close gives its own reference up; the bytes are read after it
  zip_t* zip = zip_open_from_source(archive, ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  QR_CHECK(zip != nullptr);
  for (const auto& [name, content] : members) {
    zip_source_t* source = zip_source_buffer(zip, content.data(), content.size(), 0);
    QR_CHECK(source != nullptr);
    const zip_int64_t index = zip_file_add(zip, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    QR_CHECK_LE(0, index);
    QR_CHECK_EQ(zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), ZIP_CM_DEFLATE, 0),
                0);
  }
  QR_CHECK_EQ(zip_close(zip), 0);

  zip_stat_t stat;
  zip_stat_init(&stat);
  QR_CHECK_EQ(zip_source_stat(archive, &stat), 0);
  QR_CHECK_EQ(zip_source_open(archive), 0);
  std::string bytes(stat.size, '\0');
  QR_CHECK_EQ(zip_source_read(archive, bytes.data(), bytes.size()),
              static_cast<zip_int64_t>(bytes.size()));
  zip_source_close(archive);
  zip_source_free(archive);
  return bytes;
}

PublishedArchive MakePublishedArchive() {
  PublishedArchive made;
  made.test = " \n = A test = \n \n It has a line . \n";
  made.validation = " \n = Pelée = \n \n A mountain . \n";
  for (int i = 0; i < 500; ++i)
    made.train += " line " + std::to_string(i) + " of the training text . \n";
  made.zip = MakeZip({{"wikitext-2-raw/wiki.test.raw", made.test},
                      {"wikitext-2-raw/wiki.valid.raw", made.validation},
                      {"wikitext-2-raw/wiki.train.raw", made.train}});
  made.source = {
      .url = "",
      .bytes = made.zip.size(),
      .sha256 = Sha256Hex(made.zip),
      .folder = "wikitext-2-raw",
      .files = {{.split = "test",
                 .file = "wiki.test.raw",
                 .bytes = made.test.size(),
                 .sha256 = Sha256Hex(made.test)},
                {.split = "validation",
                 .file = "wiki.valid.raw",
                 .bytes = made.validation.size(),
                 .sha256 = Sha256Hex(made.validation)},
                {.split = "train", .file = "wiki.train.raw", .bytes = made.train.size()}}};
  return made;
}

}  // namespace quantref::testing
