#include "eval/support/markup.h"

#include <openssl/evp.h>

#include "eval/support/text_table.h"

namespace quantref {

namespace {

// Of a character that means something to HTML; nullptr: of none.
const char* Entity(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    default:
      return nullptr;
  }
}

}  // namespace

std::string MarkupText(const std::string& text) {
  std::string escaped;
  for (const char c : Printable(text)) {
    if (const char* entity = c == '"' ? "&quot;" : Entity(c)) {
      escaped += entity;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string MarkdownText(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (const char* entity = Entity(c)) {
      escaped += entity;
      continue;
    }
    if (std::string_view("\\|*_`[]~").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c == '\n' ? ' ' : c;
  }
  return escaped;
}

std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string Base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '\0');  // and OpenSSL's end of a C string
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()),
                  static_cast<int>(bytes.size()));
  return text;
}

}  // namespace quantref
